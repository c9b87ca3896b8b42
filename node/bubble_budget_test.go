package node_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/patinadb/patina/node"
	"github.com/patinadb/patina/node/nodetest"
	"github.com/patinadb/patina/transport"
)

// TestSmallBudgetStarvesNobody: a node that may send 64 KiB a second owes each of
// two others megabytes. It keeps to that, is never suspected, and all end equal.
func TestSmallBudgetStarvesNobody(t *testing.T) {
	bubble(t, nodetest.Config{Nodes: 2, Seed: 1, Link: nodetest.Link{Latency: 20 * time.Millisecond}}, func(t *testing.T, c *nodetest.Cluster) {
		slow := c.Add(func(cfg *node.Config) { cfg.Gossip.MaxBytesPerSecond = transport.MinBytesPerSecond })
		slow.Start()
		c.AwaitMembers(10 * time.Second)
		begin, before := time.Now(), slow.Node().TransportStats().BytesOut
		for i := range 20 {
			slow.Exec(fmt.Sprintf("INSERT INTO flag VALUES('%d', hex(randomblob(50000)))", i))
		}
		t.Log("equal after", c.AwaitEqual(5*time.Minute))
		seconds := time.Since(begin).Seconds()
		rate := float64(slow.Node().TransportStats().BytesOut-before) / seconds
		t.Logf("%.0f bytes a second for %.0f s", rate, seconds)
		if rate > 1.1*transport.MinBytesPerSecond {
			t.Errorf("%.0f bytes a second, the budget is %d", rate, transport.MinBytesPerSecond)
		}
		if seconds < 10 {
			t.Errorf("all was sent in %.0f s: there was nothing to hold up", seconds)
		}
		for _, m := range c.Members() {
			if n := c.Logged(m, "member is suspect") + c.Logged(m, "member is dead"); n > 0 {
				t.Errorf("%s suspected somebody %d times", m.Name, n)
			}
		}
	})
}
