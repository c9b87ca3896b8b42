package node_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/patinadb/patina/node"
	"github.com/patinadb/patina/node/nodetest"
)

// TestNodeThatJoinsAfterPruningSaysWhatItLacks, and is not ready, until state transfer
// can bring it.
func TestNodeThatJoinsAfterPruningSaysWhatItLacks(t *testing.T) {
	bubble(t, nodetest.Config{Link: nodetest.Link{Latency: 5 * time.Millisecond}}, func(t *testing.T, c *nodetest.Cluster) {
		short := func(cfg *node.Config) { cfg.DB.Log.MaxBytes = 1 << 20 }
		first := c.Add(short)
		first.Start()
		for i := range 20 {
			first.Exec(fmt.Sprintf("INSERT INTO item(id, a) VALUES(%d, hex(randomblob(100000)))", i))
		}
		c.Await("the log is pruned", 2*time.Minute, func() bool { return first.Node().Status().Log.Pruned > 5 })
		if s := first.Node().Status(); len(s.Missing) != 0 || first.Node().Ready() != nil {
			t.Errorf("missing %v, %v", s.Missing, first.Node().Ready())
		}
		late := c.Add(short)
		late.Start()
		c.Await("it says what it lacks", 30*time.Second, func() bool { return len(late.Node().Status().Missing) > 0 })
		pruned := first.Node().Status().Log.Pruned
		m := late.Node().Status().Missing[0]
		if m.Actor != first.Actor() || m.Count != pruned || m.Versions != fmt.Sprintf("1-%d", pruned) {
			t.Errorf("missing %+v, pruned %d", m, pruned)
		}
		if err := late.Node().Ready(); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("lack %d versions", pruned)) {
			t.Errorf("ready: %v", err)
		}
	})
}
