package node_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset/sqlite"
	"github.com/patinadb/patina/node/nodetest"
)

// TestUnequalSumsRaiseAnAlarm at both nodes, in the status and the counters.
func TestUnequalSumsRaiseAnAlarm(t *testing.T) {
	bubble(t, nodetest.Config{Nodes: 2, Link: nodetest.Link{Latency: 10 * time.Millisecond}}, func(t *testing.T, c *nodetest.Cluster) {
		c.AwaitMembers(time.Minute)
		one, two := c.Member(0), c.Member(1)
		one.Exec("INSERT INTO item(id, a) VALUES(1, 'x')")
		c.AwaitEqual(10 * time.Second)
		time.Sleep(2 * time.Minute)
		for _, m := range c.Members() {
			if s := m.Node().Status(); len(s.Unequal) != 0 || s.Counters["verify.unequal"] != 0 {
				t.Errorf("%s: %+v", m.Name, s.Unequal)
			}
		}
		two.Stop()
		outside, err := sqlite.Open(sqlite.Config{Path: two.Path()})
		if err == nil {
			outside.SetMode(sqlite.ModeInternal)
			err = outside.Exec("UPDATE __patina_sum SET sum = zeroblob(16) WHERE name = 'item'")
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := outside.Close(); err != nil {
			t.Fatal(err)
		}
		two.Start()
		for i, m := range c.Members() {
			c.Await(m.Name+" tells", 5*time.Minute, func() bool { return len(m.Node().Status().Unequal) == 1 })
			s := m.Node().Status()
			if u := s.Unequal[0]; u.Peer != c.Member(1-i).Actor() || fmt.Sprint(u.Tables) != "[item]" || s.Counters["verify.unequal"] == 0 {
				t.Errorf("%s: %+v", m.Name, u)
			}
		}
	})
}
