package node_test

import (
	"testing"
	"time"

	"github.com/patinadb/patina/node/nodetest"
)

func TestNodeKilledTwiceDuringWritesLosesNothing(t *testing.T) {
	eachSeed(t, 4, 20, func(t *testing.T, seed uint64) {
		bubble(t, nodetest.Config{Nodes: 3, Seed: seed, Link: nodetest.Link{Latency: 10 * time.Millisecond, Loss: 0.05}}, func(t *testing.T, c *nodetest.Cluster) {
			c.AwaitMembers(time.Minute)
			victim := c.Member(2)
			actor := victim.Actor()
			w := c.Begin(nodetest.Storm{Seed: seed, Keys: 5, Writes: 300, Pause: 100 * time.Millisecond})
			for _, down := range []time.Duration{time.Second, 20 * time.Second} {
				time.Sleep(3 * time.Second)
				victim.Kill()
				time.Sleep(down)
				victim.Start()
				if got := victim.Actor(); got != actor {
					t.Fatalf("after a restart on the same file the actor is %v, it was %v", got, actor)
				}
			}
			w.Wait()
			t.Log("equal after", c.AwaitEqual(5*time.Second))
			w.CheckJournal()
		})
	})
}

// A killed node comes back while nobody writes: it has to find the others alone.
func TestRestartedNodeIsEqualSoon(t *testing.T) {
	eachSeed(t, 4, 20, func(t *testing.T, seed uint64) {
		bubble(t, nodetest.Config{Nodes: 3, Seed: seed, Link: nodetest.Link{Latency: 50 * time.Millisecond, Loss: 0.10}}, func(t *testing.T, c *nodetest.Cluster) {
			c.AwaitMembers(time.Minute)
			victim := c.Member(int(seed) % 3)
			victim.Kill()
			w := c.Begin(nodetest.Storm{Seed: seed, Keys: 5, Writes: 20, Pause: 100 * time.Millisecond})
			w.Wait()
			victim.Start()
			t.Log("equal after", c.AwaitEqual(5*time.Second))
			w.CheckJournal()
			c.AwaitMembers(time.Minute)
		})
	})
}

func TestNodeThatLeavesIsSeenToLeave(t *testing.T) {
	bubble(t, nodetest.Config{Nodes: 3, Link: nodetest.Link{Latency: 10 * time.Millisecond}}, func(t *testing.T, c *nodetest.Cluster) {
		c.AwaitMembers(10 * time.Second)
		leaver, stays := c.Member(1), c.Member(0)
		actor := leaver.Actor()
		leaver.Exec("INSERT INTO journal VALUES('last word', 0)")
		leaver.Stop()
		state := func() string {
			for _, m := range stays.Node().Status().Members {
				if m.Actor == actor {
					return m.State
				}
			}
			return ""
		}
		c.Await("the leaver is seen as left", 2*time.Second, func() bool { return state() == "left" })
		c.AwaitEqual(5 * time.Second)
		c.CheckQuery("SELECT id FROM journal", "'last word'")
		time.Sleep(30 * time.Second)
		if got := state(); got != "left" {
			t.Errorf("half a minute later the leaver is %s", got)
		}
		leaver.Start()
		c.AwaitMembers(15 * time.Second)
		c.AwaitEqual(time.Second)
	})
}

func TestWholeClusterRestarts(t *testing.T) {
	bubble(t, nodetest.Config{Nodes: 3, Link: nodetest.Link{Latency: 10 * time.Millisecond}}, func(t *testing.T, c *nodetest.Cluster) {
		w := c.Begin(nodetest.Storm{Seed: 1, Keys: 5, Writes: 20, Pause: 10 * time.Millisecond})
		w.Wait()
		for _, m := range c.Members() {
			m.Stop()
		}
		time.Sleep(time.Minute)
		for _, m := range c.Members() {
			m.SetSkew(-time.Hour) // set back while it was down
			m.Start()
		}
		for _, m := range c.Members() {
			c.AwaitEqual(10 * time.Second)
			m.Exec("UPDATE item SET a = '" + m.Name + "'")
		}
		c.AwaitEqual(10 * time.Second)
		c.CheckQuery("SELECT count(*) FROM item WHERE a IS NOT 'n2'", "0")
		w.CheckJournal()
	})
}
