package node_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/patinadb/patina/node"
	"github.com/patinadb/patina/node/nodetest"
)

// TestNodeThatJoinsAfterPruningFillsItself with the state of a peer, while all write, and
// is ready when it is whole.
func TestNodeThatJoinsAfterPruningFillsItself(t *testing.T) {
	eachSeed(t, 3, 20, func(t *testing.T, seed uint64) {
		link := nodetest.Link{Latency: 20 * time.Millisecond, Loss: float64(seed%3) / 20}
		bubble(t, nodetest.Config{Seed: seed, Link: link}, func(t *testing.T, c *nodetest.Cluster) {
			short := func(cfg *node.Config) { cfg.DB.Log.MaxBytes = 1 << 20 }
			first, second := c.Add(short), c.Add(short)
			first.Start()
			second.Start()
			c.AwaitMembers(time.Minute)
			for i := range 40 {
				first.Exec(fmt.Sprintf("INSERT INTO item(id, a) VALUES(%d, hex(randomblob(50000)))", 1000+i))
			}
			pruned := func() bool {
				return first.Node().Status().Log.Pruned > 5 && second.Node().Status().Log.Pruned > 5
			}
			c.Await("the logs are pruned", 5*time.Minute, pruned)
			w := c.Begin(nodetest.Storm{Seed: seed, Keys: 9, Writes: 100, Pause: 50 * time.Millisecond})
			late := c.Add(short)
			late.Start()
			said := ""
			c.Await("it begins to fill itself", time.Minute, func() bool {
				s := late.Node().Status()
				if err := late.Node().Ready(); err != nil {
					said = err.Error()
				}
				return s.Filling != "" || len(s.Missing) > 0
			})
			c.Await("it is ready", time.Minute, func() bool { return late.Node().Ready() == nil })
			if !strings.Contains(said, "being filled with the state of") && !strings.Contains(said, "a transfer of state begins") {
				t.Errorf("not ready because: %s", said)
			}
			w.Wait()
			t.Log("equal after", c.AwaitEqual(20*time.Second))
			w.CheckJournal()
			if s := late.Node().Status(); s.Filling != "" || len(s.Missing) != 0 {
				t.Errorf("filling %q, missing %v", s.Filling, s.Missing)
			}
		})
	})
}

// TestNodeThatIsKilledWhileItJoins is not ready after any restart before it has all rows.
func TestNodeThatIsKilledWhileItJoins(t *testing.T) {
	bubble(t, nodetest.Config{Link: nodetest.Link{Latency: 100 * time.Millisecond}}, func(t *testing.T, c *nodetest.Cluster) {
		short := func(cfg *node.Config) { cfg.DB.Log.MaxBytes = 1 << 20 }
		first := c.Add(short)
		first.Start()
		for i := range 30 {
			first.Exec(fmt.Sprintf("INSERT INTO item(id, a) VALUES(%d, hex(randomblob(50000)))", i))
		}
		c.Await("the log is pruned", 5*time.Minute, func() bool { return first.Node().Status().Log.Pruned > 5 })
		begun, late := 0, c.Add(short)
		ready := func() bool { return late.Node().Ready() == nil }
		check := func() {
			if ready() && late.Query("SELECT count(*) FROM item") != "30" {
				t.Errorf("ready with %s of 30 rows", late.Query("SELECT count(*) FROM item"))
			}
		}
		for kill := 0; kill < 12; kill++ {
			late.Start()
			for range 1 + kill*2 {
				check()
				time.Sleep(100 * time.Millisecond)
			}
			if late.Node().Store().Vector().Len() > 0 && !ready() {
				begun++
			}
			late.Kill()
		}
		if begun == 0 {
			t.Error("never killed half-way")
		}
		late.Start()
		for end := time.Now().Add(time.Minute); !ready() && time.Now().Before(end); {
			check()
			time.Sleep(100 * time.Millisecond)
		}
		check()
		c.AwaitEqual(10 * time.Second)
	})
}
