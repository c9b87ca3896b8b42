package node_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/node"
	"github.com/patinadb/patina/node/nodetest"
)

func TestCopyOfADataDirectoryTakesANewActor(t *testing.T) {
	bubble(t, nodetest.Config{Nodes: 2, Link: nodetest.Link{Latency: 10 * time.Millisecond}}, func(t *testing.T, c *nodetest.Cluster) {
		original := c.Member(0)
		original.Exec("INSERT INTO item(id, a) VALUES(1, 'before the copy')")
		c.AwaitEqual(10 * time.Second)
		copied := c.Copy(original)
		copied.Start()
		if original.Actor() == copied.Actor() {
			t.Fatalf("both are %v", original.Actor())
		}
		if c.Logged(copied, "this database is a copy") != 1 {
			t.Error("the copy does not say that it is one")
		}
		w := c.Begin(nodetest.Storm{Seed: 1, Keys: 5, Writes: 40, Pause: 50 * time.Millisecond})
		w.Wait()
		c.AwaitEqual(10 * time.Second)
		w.CheckJournal()
		c.AwaitMembers(20 * time.Second)
	})
}

// A clone with its disk, identity included: only the mesh can tell that two live
// under one actor id.
func TestTwoNodesUnderOneActorPartWays(t *testing.T) {
	eachSeed(t, 3, 20, func(t *testing.T, seed uint64) {
		bubble(t, nodetest.Config{Nodes: 3, Seed: seed, Link: nodetest.Link{Latency: 10 * time.Millisecond, Loss: 0.02}}, func(t *testing.T, c *nodetest.Cluster) {
			original := c.Member(0)
			original.Exec("INSERT INTO item(id, a) VALUES(1, 'before the copy')")
			c.AwaitEqual(10 * time.Second)
			old := original.Actor()
			original.Stop()
			clone := c.Copy(original)
			clone.Forge()
			original.Start()
			clone.Start()
			if original.Actor() != old || clone.Actor() != old {
				t.Fatalf("the clone was not forged well: %v and %v were %v", original.Actor(), clone.Actor(), old)
			}
			took := c.Await("one takes a new actor id", 30*time.Second, func() bool { return original.Actor() != clone.Actor() })
			t.Log("parted after", took)
			for _, m := range []*nodetest.Member{original, clone} {
				c.Await("its mesh follows", 10*time.Second, func() bool {
					return c.Logged(m, "the mesh starts anew") >= c.Logged(m, "goes on under a new actor id")
				})
			}
			w := c.Begin(nodetest.Storm{Seed: seed, Keys: 5, Writes: 40, Pause: 50 * time.Millisecond})
			w.Wait()
			c.AwaitEqual(10 * time.Second)
			w.CheckJournal()
			c.AwaitMembers(30 * time.Second)
			for _, m := range []*nodetest.Member{original, clone} {
				if ids, meshes := c.Logged(m, "goes on under a new actor id"), c.Logged(m, "the mesh starts anew"); ids != meshes {
					t.Errorf("%s took %d actor ids and made %d meshes", m.Name, ids, meshes)
				}
			}
		})
	})
}

func TestNodeTakesANewActorWhileItRuns(t *testing.T) {
	eachSeed(t, 3, 20, func(t *testing.T, seed uint64) {
		bubble(t, nodetest.Config{Nodes: 3, Seed: seed, Link: nodetest.Link{Latency: 10 * time.Millisecond, Loss: 0.02}}, func(t *testing.T, c *nodetest.Cluster) {
			c.AwaitMembers(20 * time.Second)
			m := c.Member(1)
			m.Exec("INSERT INTO item(id, a) VALUES(1, 'as the old one')")
			w := c.Begin(nodetest.Storm{Seed: seed, Keys: 5, Writes: 40, Pause: 100 * time.Millisecond})
			actors := map[changeset.ActorID]bool{m.Actor(): true}
			for range 2 {
				time.Sleep(time.Second)
				if err := m.Node().Store().RenewActor(t.Context(), m.Actor()); err != nil {
					t.Fatal(err)
				}
				actors[m.Actor()] = true
			}
			if len(actors) != 3 {
				t.Fatalf("two renewals made %d actors", len(actors))
			}
			w.Wait()
			c.AwaitEqual(10 * time.Second)
			w.CheckJournal()
			c.AwaitMembers(30 * time.Second)
			m.Restart()
			if !actors[m.Actor()] {
				t.Error("the restart took yet another actor id")
			}
			c.AwaitEqual(10 * time.Second)
		})
	})
}

// TestStopWhileTheActorChanges: a node that is stopped between two meshes ends as
// any other does.
func TestStopWhileTheActorChanges(t *testing.T) {
	bubble(t, nodetest.Config{Nodes: 1, Link: nodetest.Link{Latency: 10 * time.Millisecond}}, func(t *testing.T, c *nodetest.Cluster) {
		stopped := false
		m := c.Add(func(cfg *node.Config) {
			listen := cfg.Listen
			cfg.Listen = func(ctx context.Context) (net.PacketConn, error) {
				if stopped = ctx.Err() != nil; stopped { // as the net package does
					return nil, ctx.Err()
				}
				return listen(ctx)
			}
		})
		m.Start()
		c.AwaitMembers(20 * time.Second)
		if err := m.Node().Store().RenewActor(t.Context(), m.Actor()); err != nil {
			t.Fatal(err)
		}
		m.Stop()
		if !stopped {
			t.Error("the stop came too late to show anything")
		}
	})
}
