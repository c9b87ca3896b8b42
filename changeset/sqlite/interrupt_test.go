package sqlite

import (
	"context"
	"errors"
	"testing"
	"time"
)

// endless never returns a row and never ends.
const endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"

// clock is a clock that moves by a step each time it is read.
type clock struct {
	now  time.Time
	step time.Duration
	read int
}

func (k *clock) Now() time.Time {
	k.read++
	k.now = k.now.Add(k.step)
	return k.now
}

func TestDeadlineEndsStatement(t *testing.T) {
	c := openMemory(t, "CREATE TABLE t(a)")
	k := &clock{now: time.Unix(0, 0), step: time.Millisecond}
	c.SetDeadline(time.Unix(0, 0).Add(50*time.Millisecond), k.Now)
	err := c.Exec(endless)
	if !errors.Is(err, ErrInterrupt) || err.Error() != "statement time limit exceeded" {
		t.Fatal(err)
	}
	if k.read != 50 {
		t.Errorf("the clock was read %d times, not 50", k.read)
	}
	// Short statements run after it, longer ones do not.
	mustExec(t, c, "INSERT INTO t VALUES(1)")
	if err := c.Exec(endless); !errors.Is(err, ErrInterrupt) {
		t.Error(err)
	}
	c.SetDeadline(time.Time{}, nil)
	want(t, query(t, c, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 5000) SELECT count(*) FROM n"), "5000")
}

func TestDeadlineInRealTime(t *testing.T) {
	c := openMemory(t)
	start := time.Now()
	c.SetDeadline(start.Add(20*time.Millisecond), nil)
	if err := c.Exec(endless); !errors.Is(err, ErrInterrupt) {
		t.Fatal(err)
	}
	if d := time.Since(start); d < 20*time.Millisecond || d > time.Second {
		t.Errorf("ended after %v", d)
	}
}

// A write that is ended takes the transaction with it; the connection goes on.
func TestDeadlineEndsTransaction(t *testing.T) {
	c := openMemory(t, "CREATE TABLE t(a)", "BEGIN; INSERT INTO t VALUES(0)")
	k := &clock{now: time.Unix(0, 0), step: time.Second}
	c.SetDeadline(time.Unix(10, 0), k.Now)
	err := c.Exec("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) INSERT INTO t SELECT i FROM n")
	if !errors.Is(err, ErrInterrupt) {
		t.Fatal(err)
	}
	if !c.Autocommit() {
		t.Error("the transaction is still there")
	}
	c.SetDeadline(time.Time{}, nil)
	want(t, query(t, c, "SELECT count(*) FROM t"), "0")
	mustExec(t, c, "INSERT INTO t VALUES(1)")
}

func TestInterruptOn(t *testing.T) {
	c := openMemory(t)
	ctx, cancel := context.WithCancel(context.Background())
	stop := c.InterruptOn(ctx)
	// The statement itself says when it runs.
	err := c.CreateFunction("running", 0, func([]Value) (Value, error) { cancel(); return integers(1)[0], nil })
	if err != nil {
		t.Fatal(err)
	}
	err = c.Exec("WITH RECURSIVE n(i) AS (SELECT running() UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n")
	if !errors.Is(err, ErrInterrupt) || err.Error() != "interrupted" {
		t.Error(err)
	}
	// Also what begins later, until stop.
	if err := c.Exec("SELECT 1"); !errors.Is(err, ErrInterrupt) {
		t.Error("a statement began after the context was done:", err)
	}
	stop()
	want(t, query(t, c, "SELECT 1"), "1")
}

func TestInterruptOnDoneContext(t *testing.T) {
	c := openMemory(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	stop := c.InterruptOn(ctx)
	if err := c.Exec(endless); !errors.Is(err, ErrInterrupt) {
		t.Error(err)
	}
	stop()
	stop = c.InterruptOn(context.Background())
	want(t, query(t, c, "SELECT 1"), "1")
	stop()
}

// However cancel and stop race, the statement after stop is not hit.
func TestInterruptNeverHitsTheNext(t *testing.T) {
	c := openMemory(t, "CREATE TABLE t(a); INSERT INTO t VALUES(1), (2), (3)")
	hits := 0
	for i := range 2000 {
		ctx, cancel := context.WithCancel(context.Background())
		stop := c.InterruptOn(ctx)
		done := make(chan struct{})
		go func() { defer close(done); cancel() }()
		if i%2 == 0 {
			if err := c.Each("SELECT * FROM t", nil, nil); errors.Is(err, ErrInterrupt) {
				hits++
			} else if err != nil {
				t.Fatal(err)
			}
		}
		stop()
		if got := query(t, c, "SELECT sum(a) FROM t"); got != "6" {
			t.Fatal(got)
		}
		<-done
	}
	// Here the interrupt is on its way when stop is called.
	for range 200 {
		ctx, cancel := context.WithCancel(context.Background())
		stop := c.InterruptOn(ctx)
		cancel()
		stop()
		if got := query(t, c, "SELECT sum(a) FROM t"); got != "6" {
			t.Fatal(got)
		}
	}
	t.Logf("%d of 1000 were interrupted", hits)
}
