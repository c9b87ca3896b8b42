package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestKilledNodeKeepsWhatItAcknowledged: kill -9 in the middle of a stream of
// writes, twice, while the others are written to as well.
func TestKilledNodeKeepsWhatItAcknowledged(t *testing.T) {
	program(t)
	agents := cluster(t, 3, "CREATE TABLE t(id TEXT NOT NULL PRIMARY KEY, a TEXT);")
	var acknowledged sync.Map
	for round := range 2 {
		ctx, stop := context.WithCancel(t.Context())
		var writers sync.WaitGroup
		for i, a := range agents {
			writers.Go(func() { a.writer(ctx, fmt.Sprintf("r%d-n%d", round, i), &acknowledged) })
		}
		victim := agents[1+round]
		mark := fmt.Sprintf("r%d-n%d-%d", round, 1+round, 100)
		wait(t, 30*time.Second, "far enough to be killed", func() error {
			if _, ok := acknowledged.Load(mark); !ok {
				return fmt.Errorf("%s is not written", mark)
			}
			return nil
		})
		victim.kill()
		stop()
		writers.Wait()
		victim.start()
	}
	waitEqual(t, 5*time.Second, agents...)
	count := 0
	acknowledged.Range(func(any, any) bool { count++; return true })
	for i, a := range agents {
		present := map[string]bool{}
		for _, line := range strings.Split(a.fileRows("SELECT id FROM t"), "\n") {
			present[strings.Trim(line, "'")] = true
		}
		lost := 0
		acknowledged.Range(func(id, _ any) bool {
			if !present[id.(string)] {
				lost++
			}
			return true
		})
		if lost > 0 || count < 200 {
			t.Errorf("node %d lost %d of %d acknowledged rows", i, lost, count)
		}
	}
	t.Logf("%d acknowledged rows are in all three files", count)
}

// TestStoppedNodeMergesWhenItGoesOn: SIGSTOP for 30 s of one node, which had
// just changed rows that the others update, delete and re-insert meanwhile.
func TestStoppedNodeMergesWhenItGoesOn(t *testing.T) {
	program(t)
	t.Parallel()
	agents := cluster(t, 3, "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b TEXT, c TEXT);")
	a, b, c := agents[0], agents[1], agents[2]
	a.exec("INSERT INTO t SELECT value, 'a0', 'b0', 'c0' FROM json_each('[1,2,3,4,5]')")
	waitEqual(t, 10*time.Second, agents...)

	// c changes a column of each row and stops before others can answer.
	c.exec("UPDATE t SET a = 'c-' || id")
	c.signal(syscall.SIGSTOP)
	stopped := time.Now()
	a.exec("UPDATE t SET b = 'a-' || id WHERE id IN (1, 2)") // other column: both stay
	b.exec("UPDATE t SET a = 'b-' || id WHERE id = 2")       // same column, later: wins
	b.exec("DELETE FROM t WHERE id = 3")                     // deleted: beats the update
	a.exec("DELETE FROM t WHERE id = 4")
	a.exec("INSERT INTO t(id, a) VALUES(4, 'again')") // a new life
	waitEqual(t, 10*time.Second, a, b)
	hold := time.NewTimer(30*time.Second - time.Since(stopped))
	defer hold.Stop()
	<-hold.C
	a.exec("UPDATE t SET c = 'late' WHERE id = 1")
	c.signal(syscall.SIGCONT)
	waitEqual(t, 15*time.Second, agents...)
	want := strings.Join([]string{"1|'c-1'|'a-1'|'late'", "2|'b-2'|'a-2'|'c0'", "4|'again'|NULL|NULL", "5|'c-5'|'b0'|'c0'"}, "\n")
	for i, n := range agents {
		if got := n.fileRows("SELECT * FROM t ORDER BY id"); got != want {
			t.Errorf("node %d has\n%s\nwant\n%s", i, got, want)
		}
	}
}
