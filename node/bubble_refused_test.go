package node_test

import (
	"testing"
	"time"

	"github.com/patinadb/patina/node"
	"github.com/patinadb/patina/node/nodetest"
	"github.com/patinadb/patina/transport"
)

func TestStrangersAreRefusedAndTheClusterGoesOn(t *testing.T) {
	for _, stranger := range []struct {
		name   string
		change func(*node.Config)
		code   transport.Code // at both ends
	}{
		{"foreign cluster", func(c *node.Config) { c.Gossip.Cluster = "foreign" }, transport.CodeForeignCluster},
		{"wrong secret", func(c *node.Config) { c.Gossip.Secret = "another secret than ours" }, transport.CodeWrongSecret},
	} {
		t.Run(stranger.name, func(t *testing.T) {
			bubble(t, nodetest.Config{Nodes: 3, Link: nodetest.Link{Latency: 10 * time.Millisecond}}, func(t *testing.T, c *nodetest.Cluster) {
				c.AwaitMembers(10 * time.Second)
				m := c.Add(stranger.change)
				m.Start()
				m.Exec("INSERT INTO journal VALUES('foreign', 0)")
				w := c.Begin(nodetest.Storm{Seed: 1, Keys: 5, Writes: 50, Pause: time.Second})
				w.Wait()
				if n := ended(m, stranger.code); n < 3 {
					t.Errorf("the stranger counts %d refusals: %+v", n, m.Node().TransportStats().Ended)
				}
				for _, o := range c.Members()[:3] {
					n := ended(o, stranger.code)
					if n == 0 {
						t.Errorf("%s counts no refusal: %+v", o.Name, o.Node().TransportStats().Ended)
					}
					if logged := c.Logged(o, "link ended"); logged != 1 {
						t.Errorf("%s was refused %d times within a minute and logged it %d times", o.Name, n, logged)
					}
					if o.StateOf(m) != "" {
						t.Errorf("the stranger is a member for %s", o.Name)
					}
				}
				m.Stop()
				c.AwaitEqual(10 * time.Second)
				c.CheckQuery("SELECT count(*) FROM journal WHERE id = 'foreign' OR id LIKE 'n3-%'", "0")
			})
		})
	}
}

// ended returns how many links and attempts of m ended with code.
func ended(m *nodetest.Member, code transport.Code) (n uint64) {
	for _, e := range m.Node().TransportStats().Ended {
		if e.Code == code {
			n += e.Count
		}
	}
	return n
}
