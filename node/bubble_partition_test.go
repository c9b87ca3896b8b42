package node_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/patinadb/patina/node/nodetest"
)

// healTime is how soon after the heal of a partition all are equal.
const healTime = 5 * time.Second

func TestPartitionHeals(t *testing.T) {
	eachSeed(t, 6, 60, func(t *testing.T, seed uint64) {
		bubble(t, nodetest.Config{Nodes: 3, Seed: seed, Link: nodetest.Link{Latency: 10 * time.Millisecond, Loss: 0.02}}, func(t *testing.T, c *nodetest.Cluster) {
			c.AwaitMembers(time.Minute)
			c.Partition(c.Members()[:2], c.Members()[2:])
			w := c.Begin(nodetest.Storm{Seed: seed, Keys: 5, Writes: 60, Pause: time.Second})
			time.Sleep(60 * time.Second)
			c.CheckPromise()
			w.Wait()
			if a, b := c.Member(0).Node().Store().Vector().Digest(), c.Member(2).Node().Store().Vector().Digest(); a == b {
				t.Fatal("the partition let versions through")
			}
			c.Heal()
			t.Log("equal after", c.AwaitEqual(healTime))
			w.CheckJournal()
		})
	})
}

func TestOneWayPartitionHeals(t *testing.T) {
	for _, lasting := range []time.Duration{5 * time.Second, time.Minute} {
		t.Run(fmt.Sprint(lasting), func(t *testing.T) {
			bubble(t, nodetest.Config{Nodes: 3, Seed: 1, Link: nodetest.Link{Latency: 10 * time.Millisecond}}, func(t *testing.T, c *nodetest.Cluster) {
				c.AwaitMembers(time.Minute)
				c.Network.Cut(c.Member(0).Addr, c.Member(1).Addr)
				w := c.Begin(nodetest.Storm{Seed: 1, Keys: 5, Writes: 30, Pause: lasting / 30})
				w.Wait()
				// Node 2 reaches both: what node 0 wrote gets to node 1 by way of it.
				t.Log("equal behind the cut after", c.AwaitEqual(time.Minute))
				c.Heal()
				c.Member(0).Exec("INSERT INTO journal VALUES('healed', 0)")
				t.Log("equal after", c.AwaitEqual(time.Minute))
				w.CheckJournal()
			})
		})
	}
}

// Two nodes have nobody else to hear of each other from, and each has taken the
// other for dead.
func TestTwoNodesFindEachOtherAgain(t *testing.T) {
	bubble(t, nodetest.Config{Nodes: 2, Seed: 1, Link: nodetest.Link{Latency: 10 * time.Millisecond}}, func(t *testing.T, c *nodetest.Cluster) {
		c.AwaitMembers(time.Minute)
		for i := range 8 {
			c.Partition()
			time.Sleep(time.Minute + time.Duration(i)*1300*time.Millisecond)
			c.Member(i % 2).Exec(fmt.Sprintf("INSERT INTO journal VALUES('%d', 0)", i))
			c.Heal()
			t.Log("equal after", c.AwaitEqual(healTime))
			c.AwaitMembers(20 * time.Second)
		}
	})
}
