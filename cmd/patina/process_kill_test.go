package main

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"
)

// reach waits until every counter is acknowledged at n or above.
func reach(t *testing.T, acknowledged *sync.Map, n int, ids ...int) {
	t.Helper()
	wait(t, 30*time.Second, "written", func() error {
		for _, id := range ids {
			if v, ok := acknowledged.Load(id); !ok || v.(int) < n {
				return fmt.Errorf("counter %d is at %v, want %d", id, v, n)
			}
		}
		return nil
	})
}

func at(acknowledged *sync.Map, id int) int {
	v, _ := acknowledged.Load(id)
	n, _ := v.(int)
	return n
}

// TestOthersGoOnWhileTheFirstIsKilledTwice: the node that the others met at is
// killed twice in the middle of its writes, while the others go on writing all
// the time, also while it is away and while it comes back.
func TestOthersGoOnWhileTheFirstIsKilledTwice(t *testing.T) {
	program(t)
	agents := cluster(t, 3, apiSchema)
	var acknowledged sync.Map
	var writers sync.WaitGroup
	defer writers.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for i, a := range agents[1:] {
		writers.Go(func() { a.counter(ctx, i+1, &acknowledged) })
	}
	victim := agents[0]
	for round := range 2 {
		own := []int{100 + 10*round, 101 + 10*round}
		for _, id := range own {
			writers.Go(func() { victim.counter(ctx, id, &acknowledged) })
		}
		reach(t, &acknowledged, 40, append(own, 1, 2)...)
		victim.kill()
		for id := 1; id <= 2; id++ {
			reach(t, &acknowledged, at(&acknowledged, id)+40, id)
		}
		victim.start()
	}
	cancel()
	writers.Wait()
	begin := time.Now()
	waitEqual(t, 5*time.Second, agents...)
	equal := time.Since(begin)
	want := agents[0].fileRows("SELECT * FROM t ORDER BY id")
	for i, a := range agents {
		sum := a.checkCounters(&acknowledged)
		a.checkFile()
		if got := a.fileRows("SELECT * FROM t ORDER BY id"); got != want {
			t.Errorf("node %d has\n%s\nnode 0 has\n%s", i, got, want)
		}
		t.Logf("node %d has all of %d acknowledged writes", i, sum)
	}
	t.Logf("equal %v after the last write", equal.Round(time.Millisecond))
}

// TestCutOffNodeBringsItsOwnChanges: a node writes while both others are down,
// so that nothing of it can have left, and is stopped until its links are long
// dead; the others come back and write the same rows without knowing. Its clock is an hour ahead, so
// that by stamp it is the last writer of every column that both wrote; deletions
// and new lives win by causal length, whatever the clock.
func TestCutOffNodeBringsItsOwnChanges(t *testing.T) {
	program(t)
	chaos, err := chaosBuilt()
	if err != nil {
		t.Fatal(err)
	}
	t.Parallel()
	agents := cluster(t, 2, "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b TEXT, c TEXT);")
	c := newAgent(t, "gossip: {addr: 127.0.0.1:0, bootstrap: ["+agents[0].facts["gossip"]+"]}")
	c.write("schema/schema.sql", "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b TEXT, c TEXT);")
	c.command, c.env = []string{chaos}, []string{"PATINA_TEST_CLOCK_OFFSET=1h"}
	c.start()
	a, b := agents[0], agents[1]
	agents = append(agents, c)
	a.exec("INSERT INTO t SELECT value, 'a0', 'b0', 'c0' FROM json_each('[1,2,3,4,5,6,7,8]')")
	waitEqual(t, 10*time.Second, agents...)

	a.kill()
	b.kill()
	c.exec("UPDATE t SET a = 'c' WHERE id <= 3")
	c.exec("DELETE FROM t WHERE id BETWEEN 5 AND 8")
	c.exec("INSERT INTO t(id, a) VALUES(6, 'c6'), (7, 'c7'), (8, 'c8'), (9, 'c9'), (10, 'c10')")
	c.signal(syscall.SIGSTOP)
	length := 12 * time.Second
	if *long {
		length = 30 * time.Second
	}
	hold := time.NewTimer(length)
	defer hold.Stop()
	a.start()
	b.start()
	a.exec("UPDATE t SET b = 'a' WHERE id <= 2")     // another column: both stay
	b.exec("UPDATE t SET a = 'b' WHERE id = 2")      // the same column: c's stamp is higher
	b.exec("DELETE FROM t WHERE id = 3")             // beats c's update
	a.exec("DELETE FROM t WHERE id = 4")             // of nobody else
	a.exec("INSERT INTO t(id, a) VALUES(4, 'a4')")   // a new life
	a.exec("UPDATE t SET a = 'a5' WHERE id = 5")     // c deleted it
	a.exec("UPDATE t SET b = 'a6' WHERE id = 6")     // of the life before
	b.exec("DELETE FROM t WHERE id = 7")             // of the life before
	a.exec("DELETE FROM t WHERE id = 8")             // both made it again:
	a.exec("INSERT INTO t VALUES(8, 'a', 'a', 'a')") // one life, c's stamp is higher
	b.exec("INSERT INTO t VALUES(9, 'b', 'b', 'b')") // both made it
	waitEqual(t, 10*time.Second, a, b)
	<-hold.C
	c.signal(syscall.SIGCONT)
	waitEqual(t, 15*time.Second, agents...)
	want := "1|'c'|'a'|'c0'\n2|'c'|'a'|'c0'\n4|'a4'|NULL|NULL\n6|'c6'|NULL|NULL\n7|'c7'|NULL|NULL\n8|'c8'|NULL|NULL\n9|'c9'|NULL|NULL\n10|'c10'|NULL|NULL"
	for i, n := range agents {
		if got := n.fileRows("SELECT * FROM t ORDER BY id"); got != want {
			t.Errorf("node %d has\n%s\nwant\n%s", i, got, want)
		}
	}
	// Now that it is seen, the hour is no advantage any more.
	a.exec("UPDATE t SET a = 'last' WHERE id = 2")
	waitEqual(t, 10*time.Second, agents...)
	for i, n := range agents {
		if got := n.fileRows("SELECT * FROM t WHERE id = 2"); got != "2|'last'|'a'|'c0'" {
			t.Errorf("node %d has %s", i, got)
		}
	}
}
