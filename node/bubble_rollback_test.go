package node_test

import (
	"strings"
	"testing"
	"time"

	"github.com/patinadb/patina/node/nodetest"
)

// rolledBack runs a cluster, takes one of its nodes back to a moment when it had one
// version, and lets it start again, cut off if the test says so.
func rolledBack(t *testing.T, cutOff bool, test func(t *testing.T, c *nodetest.Cluster, m *nodetest.Member)) {
	bubble(t, nodetest.Config{Nodes: 3, Seed: 1, Link: nodetest.Link{Latency: 10 * time.Millisecond}}, func(t *testing.T, c *nodetest.Cluster) {
		m := c.Member(0)
		m.Exec("INSERT INTO item(id, a) VALUES(1, 'before')")
		c.AwaitEqual(10 * time.Second)
		m.Stop()
		saved := m.Save()
		m.Start()
		c.AwaitMembers(20 * time.Second)
		m.Exec("INSERT INTO item(id, a) VALUES(2, 'lost')")
		m.Exec("INSERT INTO item(id, a) VALUES(3, 'lost too')")
		c.AwaitEqual(10 * time.Second)
		old := m.Actor()
		m.Stop()
		m.Rollback(saved)
		if cutOff {
			c.Partition(c.Members()[:1], c.Members()[1:])
		}
		m.Start()
		if m.Actor() != old {
			t.Fatal("the files gave the roll back away: nothing is left to test")
		}
		test(t, c, m)
	})
}

// TestRolledBackNodeTakesANewActor from the first vector that it meets, and gets back
// what it lost.
func TestRolledBackNodeTakesANewActor(t *testing.T) {
	rolledBack(t, false, func(t *testing.T, c *nodetest.Cluster, m *nodetest.Member) {
		old := m.Actor()
		t.Log("another actor after", c.Await("it takes a new actor id", 20*time.Second, func() bool { return m.Actor() != old }))
		c.AwaitEqual(20 * time.Second)
		m.Exec("INSERT INTO item(id, a) VALUES(4, 'after')")
		c.AwaitEqual(20 * time.Second)
		c.CheckQuery("SELECT id FROM item ORDER BY id", "1\n2\n3\n4")
		if s := m.Node().Status(); s.Counters["store.new_actor"] != 1 || len(s.Forked) > 0 {
			t.Errorf("counters %v, forked %v", s.Counters, s.Forked)
		}
		c.AwaitMembers(20 * time.Second)
	})
}

// TestForkedNodeIsMarkedByAll: it was rolled back and wrote as many versions anew
// before it met anybody.
func TestForkedNodeIsMarkedByAll(t *testing.T) {
	rolledBack(t, true, func(t *testing.T, c *nodetest.Cluster, m *nodetest.Member) {
		old := m.Actor()
		m.Exec("INSERT INTO journal VALUES('another second', 0)")
		m.Exec("INSERT INTO journal VALUES('another third', 0)")
		c.Heal()
		for _, o := range c.Members() {
			c.Await("it marks the actor", time.Minute, func() bool {
				f := o.Node().Status().Forked
				return len(f) == 1 && f[0].Actor == old && strings.HasPrefix(f[0].Reason, "version 3 is ")
			})
			if got := o.Node().Status().Counters["store.forked"]; got != 1 {
				t.Errorf("%s counts %d forks", o.Name, got)
			}
		}
		if m.Actor() == old {
			t.Fatal("the owner kept its actor id")
		}
		id := m.Exec("INSERT INTO item(id, a) VALUES(9, 'after the fork')")
		for _, o := range c.Members() {
			c.Await("what follows arrives", 20*time.Second, func() bool { return o.Node().Store().Vector().Holds(id) })
		}
		c.CheckQuery("SELECT a FROM item WHERE id = 9", "'after the fork'")
	})
}
