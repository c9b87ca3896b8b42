package store

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset/sqlite"
	"github.com/patinadb/patina/changeset/sqlite/faultdisk"
)

// outsideReaderEnv names the database in which this process, started by readOutside,
// holds a read transaction until its standard input ends.
const outsideReaderEnv = "PATINA_STORE_READER"

func outsideReader(path string) error {
	c, err := sqlite.Open(sqlite.Config{Path: path, ReadOnly: true})
	if err != nil {
		return err
	}
	if err := c.Each("BEGIN", nil, nil); err != nil {
		return err
	}
	if err := c.Each("SELECT count(*) FROM item", nil, func(*sqlite.Stmt) error { return nil }); err != nil {
		return err
	}
	fmt.Println("reading")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	return errors.Join(c.Each("COMMIT", nil, nil), c.Close())
}

// readOutside starts a process that reads until the returned function is called.
func readOutside(t *testing.T, path string) (end func()) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), outsideReaderEnv+"="+path)
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != "reading\n" {
		t.Error(line, err)
	}
	ended := false
	end = func() {
		if ended {
			return
		}
		ended = true
		if err := errors.Join(in.Close(), child.Wait()); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(end)
	return end
}

// grow writes a row of 100,000 bytes and returns why that failed.
func (n *node) grow() error {
	results, _, err := n.Transact(context.Background(), []sqlite.Statement{text("INSERT OR REPLACE INTO item(id, a) VALUES(1, hex(randomblob(50000)))")})
	if err == nil {
		err = results[0].Err
	}
	return err
}

// growUntil writes until a condition holds. Every write must succeed.
func (n *node) growUntil(what string, condition func() bool) {
	n.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); {
		if err := n.grow(); err != nil {
			n.t.Fatal(err)
		}
		if time.Now().After(deadline) {
			n.t.Fatalf("did not happen: %s; %+v", what, n.WAL())
		}
	}
}

// unavailable reports whether the API answers err with 503.
func unavailable(err error) bool {
	var u interface{ Unavailable() bool }
	return errors.As(err, &u) && u.Unavailable()
}

const smallWAL = 1 << 20

// lineCount counts lines of a log.
type lineCount struct {
	errors, warnings atomic.Int64
}

func (c *lineCount) Write(line []byte) (int, error) {
	switch {
	case bytes.Contains(line, []byte("level=ERROR")):
		c.errors.Add(1)
	case bytes.Contains(line, []byte("level=WARN")):
		c.warnings.Add(1)
	}
	return len(line), nil
}

// TestOutsideReaderIsReportedAndThenRefusesWrites until it is gone; what the store
// does unasked waits too.
func TestOutsideReaderIsReportedAndThenRefusesWrites(t *testing.T) {
	var lines lineCount
	n := start(t, Config{Schema: schemaOf(itemsSchema), MaxWALBytes: smallWAL, Log: slog.New(slog.NewTextHandler(&lines, nil))})
	n.exec("INSERT INTO item(id) VALUES(7)")
	begun := time.Now()
	end := readOutside(t, n.cfg.Path)
	var err error
	eventually(t, "a write is refused", func() bool { err = n.grow(); return err != nil })
	refused := time.Now()
	if !unavailable(err) || !strings.Contains(err.Error(), "another process reads an old state") || !strings.Contains(err.Error(), "db.max_wal_bytes is 1048576") {
		t.Error(err)
	}
	eventually(t, "the read is old enough to be told of", func() bool { return !n.WAL().OutsideSince.IsZero() })
	w := n.WAL()
	if w.Refused == nil || w.Bytes < smallWAL || w.Bytes > 2*smallWAL {
		t.Errorf("%+v", w)
	}
	if w.OutsideSince.Before(begun) || w.OutsideSince.After(refused) {
		t.Errorf("the read began between %v and %v, and is said to have begun until %v", begun, refused, w.OutsideSince)
	}
	if err := n.RenewActor(t.Context(), n.Actor()); !unavailable(err) {
		t.Error("every transaction is refused:", err)
	}
	if got := n.query("SELECT id FROM item WHERE id = 7"); got != "7" {
		t.Errorf("reads go on: %s", got)
	}
	outside(t, n.cfg.Path, "ALTER TABLE item ADD COLUMN d TEXT")
	refusal := func() (e error) { n.onWriter(func(w *writer) { e = w.refused }); return e }
	for range 3 { // ticks, each of which tries and refuses anew
		last := refusal()
		eventually(t, "the writer looks again", func() bool { return n.grow() != nil && refusal() != last })
	}
	if e, w := lines.errors.Load(), lines.warnings.Load(); e != 1 || w != 1 {
		t.Errorf("%d errors and %d warnings were logged", e, w)
	}
	if n.ReadsEnded() != 0 {
		t.Errorf("%d reads of ours were ended, and none was at fault", n.ReadsEnded())
	}
	end()
	eventually(t, "writes are taken again", func() bool { return n.grow() == nil })
	if w := n.WAL(); w.Refused != nil || !w.OutsideSince.IsZero() || w.Bytes > smallWAL/2 {
		t.Errorf("%+v", w)
	}
}

// TestOutsideReaderIsReportedBelowTheBound, and its end too.
func TestOutsideReaderIsReportedBelowTheBound(t *testing.T) {
	n := start(t, Config{Schema: schemaOf(itemsSchema), MaxWALBytes: 16 << 20})
	n.onWriter(func(*writer) { n.wal.outsideAge = 0 })
	n.exec("INSERT INTO item(id) VALUES(7)")
	end := readOutside(t, n.cfg.Path)
	n.growUntil("it is pinned", func() bool { return n.WAL().Bytes > walForce })
	eventually(t, "the read is told of", func() bool { return !n.WAL().OutsideSince.IsZero() })
	end()
	eventually(t, "its end is noticed without a write", func() bool { return n.WAL() == WAL{} })
}

// blockedSink holds its read until it is told to go on or to abort.
type blockedSink struct {
	rows
	begun, release chan struct{}
	abort          chan struct{}
}

func newBlockedSink() *blockedSink {
	return &blockedSink{begun: make(chan struct{}, 1), release: make(chan struct{}), abort: make(chan struct{})}
}

func (s *blockedSink) Row([]sqlite.Value) error {
	select {
	case s.begun <- struct{}{}:
	default:
	}
	select {
	case <-s.release:
		return nil
	case <-s.abort:
		return errAborted
	}
}

func (s *blockedSink) Abort() { close(s.abort) }

var errAborted = errors.New("aborted")

// hold starts a read of two rows that is held in its sink.
func (n *node) hold(sink *blockedSink) (result <-chan error) {
	done := make(chan error, 1)
	go func() { done <- n.Query(context.Background(), text("SELECT id FROM item LIMIT 2"), sink) }()
	<-sink.begun
	return done
}

// TestOldReadsOfOursEndAtTheBound, and no write fails for them. A read that is not
// at fault goes on.
func TestOldReadsOfOursEndAtTheBound(t *testing.T) {
	n := start(t, Config{Schema: schemaOf(itemsSchema), MaxWALBytes: smallWAL})
	n.exec("INSERT INTO item(id) VALUES(7), (8)")
	sinks := []*blockedSink{newBlockedSink(), newBlockedSink()}
	var results []<-chan error
	for _, s := range sinks {
		results = append(results, n.hold(s))
	}
	n.growUntil("reads were ended and the log began again", func() bool { return n.ReadsEnded() == 2 && n.WAL().Bytes < smallWAL/2 })
	for _, r := range results {
		err := <-r
		if !unavailable(err) || !strings.Contains(err.Error(), "db.max_wal_bytes is 1048576") {
			t.Error(err)
		}
	}
	if w := n.WAL(); w.Refused != nil || !w.OutsideSince.IsZero() {
		t.Errorf("%+v", w)
	}
	young := newBlockedSink()
	result := n.hold(young)
	n.growUntil("the log grows a little", func() bool { return n.WAL().Bytes > smallWAL/4 })
	close(young.release)
	if err := <-result; err != nil {
		t.Error(err)
	}
}

// TestAnswersDoNotWaitForReaders: the writer waits for those that pin the log after
// the answer to who wrote.
func TestAnswersDoNotWaitForReaders(t *testing.T) {
	const patience = 5 * time.Second
	n := start(t, Config{Schema: schemaOf(itemsSchema), MaxWALBytes: 8 * smallWAL})
	n.exec("INSERT INTO item(id) VALUES(7), (8)")
	n.onWriter(func(*writer) { n.wal.patience = patience })
	sink := newBlockedSink()
	result := n.hold(sink)
	force := n.wal.forceAtFirst()
	n.growUntil("the log is nearly where readers are waited for", func() bool {
		n.onWriter(func(*writer) {}) // it has noted the last write
		return n.WAL().Bytes > force-smallWAL/2
	})
	began := time.Now()
	n.exec("INSERT INTO item(id, a) VALUES(2, hex(randomblob(500000)))")
	if took := time.Since(began); took >= patience || n.WAL().Bytes < force {
		t.Errorf("the answer came after %v, at %+v", took, n.WAL())
	}
	close(sink.release)
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	eventually(t, "the log starts over", func() bool { return n.WAL().Bytes == 0 })
}

// TestReadOfOursIsNotTakenForAnother, however old it is.
func TestReadOfOursIsNotTakenForAnother(t *testing.T) {
	n := start(t, Config{Schema: schemaOf(itemsSchema), MaxWALBytes: 8 * smallWAL})
	n.onWriter(func(*writer) { n.wal.outsideAge = 0 })
	n.exec("INSERT INTO item(id) VALUES(7), (8)")
	sink := newBlockedSink()
	result := n.hold(sink)
	pin := func() (p walPin) { n.onWriter(func(*writer) { p = n.wal.pin }); return p }
	n.growUntil("the log is pinned", func() bool { return pin().holds })
	if p := pin(); p.outside || !n.WAL().OutsideSince.IsZero() {
		t.Errorf("%+v, %+v", p, n.WAL())
	}
	end := readOutside(t, n.cfg.Path)
	close(sink.release)
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	if err := n.grow(); err != nil { // now there is what the other one does not see
		t.Fatal(err)
	}
	eventually(t, "the other one is told of", func() bool { return !n.WAL().OutsideSince.IsZero() })
	end()
	eventually(t, "its end is noticed", func() bool { return n.WAL().OutsideSince.IsZero() && n.WAL().Bytes < smallWAL })
}

// TestCheckpointOfAnotherProcessRefusesWrites only if it is in the way for long.
func TestCheckpointOfAnotherProcessRefusesWrites(t *testing.T) {
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	n.onWriter(func(w *writer) {
		now := time.Now()
		n.wal.pinned(w, -1, now)
		n.wal.pinned(w, -1, now.Add(time.Second))
		if n.wal.refuse(w); w.refused != nil || !n.wal.pin.before.Equal(now) {
			t.Error(w.refused, n.wal.pin)
		}
		n.wal.pin.before = now.Add(-2 * outsideAge)
		if n.wal.refuse(w); w.refused == nil || !strings.Contains(w.refused.Error(), "another process runs a checkpoint of its own, for 2") {
			t.Error(w.refused)
		}
	})
	eventually(t, "it is over", func() bool { return n.WAL().Refused == nil })
	n.exec("INSERT INTO item(id) VALUES(1)")
}

// TestMarksNeverTellTooEarly: however many were forgotten.
func TestMarksNeverTellTooEarly(t *testing.T) {
	var m walMarks
	begin := time.Now()
	at := func(i int) time.Time { return begin.Add(time.Duration(i) * 7 * time.Millisecond) }
	const commits = 200_000 // more than 20 minutes of them
	for i := range commits {
		m.add(10*(i+1), at(i))
	}
	if len(m.list) > marksMost {
		t.Errorf("%d marks", len(m.list))
	}
	for i := 0; i < commits; i += 97 {
		told := m.firstAbove(10 * i) // commit i made the first frame above
		if told.IsZero() && i < commits-commits/50 || !told.IsZero() && (told.Before(at(i)) || told.Sub(at(i)) > at(commits).Sub(begin)/50) {
			t.Fatalf("frame %d was made %v after the begin, told is %v", 10*i+1, at(i).Sub(begin), told.Sub(begin))
		}
	}
}

// TestReadsOfEveryPoolHaveAnAge, also those whose sink waits.
func TestReadsOfEveryPoolHaveAnAge(t *testing.T) {
	n := start(t, Config{Schema: schemaOf(itemsSchema), Readers: 1, QueryMaxAge: 100 * time.Millisecond})
	n.exec("INSERT INTO item(id) VALUES(1), (2)")
	sink := newBlockedSink()
	result := n.hold(sink)
	if err := <-result; !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "longer than 100ms") {
		t.Error(err)
	}
	forever := "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n WHERE i < 0"
	for name, p := range map[string]*readerPool{"clients": n.readers, "peers": n.serving} {
		err := p.use(t.Context(), sqlite.ModeInternal, func(c *sqlite.Conn) error { return c.Each(forever, nil, nil) })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("pool of %s: %v", name, err)
		}
	}
}

// TestFailingCheckpoints: writes go on in the WAL to its bound, with the failure
// in the status, and are refused there with the reason. When the fault is gone so
// is the refusal, and nothing was lost.
func TestFailingCheckpoints(t *testing.T) {
	for _, op := range []faultdisk.Op{faultdisk.Write, faultdisk.Sync} {
		for _, full := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v,full=%v", op, full), func(t *testing.T) { failCheckpoints(t, op, full) })
		}
	}
}

func failCheckpoints(t *testing.T, op faultdisk.Op, full bool) {
	d := newDisk(t, faultdisk.Image{})
	n := start(t, onDisk(Config{Path: t.TempDir() + "/n.db", Schema: schemaOf(itemsSchema), MaxWALBytes: smallWAL}, d))
	d.Fail(faultdisk.Fault{Op: op, Name: n.cfg.Path, Nth: 1, Full: full, Lasting: true})
	if err := n.grow(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the keeper notices", func() bool { return n.WAL().Failure != nil })
	want := sqlite.ErrIOErr
	if full {
		want = sqlite.ErrFull
	}
	written := 1
	var err error
	for ; err == nil && written < 100; written++ {
		err = n.grow()
	}
	if !unavailable(err) || !errors.Is(err, want) || !strings.Contains(err.Error(), "checkpoints fail") || written < 5 {
		t.Errorf("after %d writes: %v", written, err)
	}
	if w := n.WAL(); w.Bytes < smallWAL || w.Refused == nil || !errors.Is(w.Failure, want) {
		t.Errorf("%+v", w)
	}
	if got := n.query("SELECT length(a) FROM item"); got != "100000" {
		t.Errorf("reads go on: %s", got)
	}
	if d.Clear() == 0 {
		t.Error("nothing failed")
	}
	eventually(t, "writes are taken again", func() bool { return n.grow() == nil })
	if w := n.WAL(); w.Failure != nil || w.Refused != nil {
		t.Errorf("%+v", w)
	}
	if got := n.query("PRAGMA quick_check"); got != "'ok'" {
		t.Error(got)
	}
	if err := errors.Join(n.stop(), d.Close()); err != nil {
		t.Error(err)
	}
}
