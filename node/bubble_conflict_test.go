package node_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/patinadb/patina/node/nodetest"
)

// fast is the clock that is ahead in these tests: of member 0.
const fast = time.Hour

func TestSameKeyConflictsEndEqualAndQuietRowsAreKept(t *testing.T) {
	eachSeed(t, 20, 60, func(t *testing.T, seed uint64) {
		bubble(t, nodetest.Config{
			Nodes: 3, Seed: seed, Skew: []time.Duration{fast},
			Link: nodetest.Link{Latency: 50 * time.Millisecond, Jitter: 10 * time.Millisecond, Loss: 0.10},
		}, func(t *testing.T, c *nodetest.Cluster) {
			c.AwaitMembers(time.Minute)
			storm(t, c, nodetest.Storm{Seed: seed, Keys: 5, Writes: 40, Pause: 50 * time.Millisecond})
			writeQuietRows(t, c)
		})
	})
}

// Without a storm before it, so that this fails even where storms do not.
func TestLastWriteOfAQuietRowSurvivesWrongClocks(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for name, skew := range map[string][]time.Duration{
		"an hour":                       {fast, -fast},
		"centuries and no clock at all": {190 * year, -29 * year},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, nodetest.Config{Nodes: 3, Skew: skew, Link: nodetest.Link{Latency: 5 * time.Millisecond}}, func(t *testing.T, c *nodetest.Cluster) {
				writeQuietRows(t, c)
			})
		})
	}
}

// storm lets all members write the same rows at once, looks at the promise
// meanwhile, and sees that all end equal.
func storm(t *testing.T, c *nodetest.Cluster, s nodetest.Storm) {
	t.Helper()
	w := c.Begin(s)
	for range 5 {
		time.Sleep(time.Duration(s.Writes) * s.Pause / 5)
		c.CheckPromise()
	}
	w.Wait()
	t.Log("equal after", c.AwaitEqual(30*time.Second))
	w.CheckJournal()
	if got, want := w.Acknowledged(), s.Writes*len(c.Members()); got != want {
		t.Fatalf("%d of %d transactions were acknowledged", got, want)
	}
}

// writeQuietRows lets each member in turn write rows that the node of the fast
// clock wrote last and that nobody else writes meanwhile. What was acknowledged
// last must be what all end with, whatever the clocks say.
func writeQuietRows(t *testing.T, c *nodetest.Cluster) {
	t.Helper()
	for i, m := range c.Members() {
		c.Member(0).Exec("INSERT INTO item(id, a, b) VALUES(100, 'fast', -1) ON CONFLICT DO UPDATE SET a = 'fast', b = -1",
			"INSERT OR REPLACE INTO flag VALUES('quiet', 'fast')", "INSERT INTO service VALUES('quiet', 'row', 0, 'fast') ON CONFLICT DO UPDATE SET note = 'fast', port = 0")
		c.AwaitEqual(30 * time.Second)
		m.Exec(fmt.Sprintf("UPDATE item SET a = 'by %d' WHERE id = 100", i))
		m.Exec(fmt.Sprintf("UPDATE flag SET value = 'by %d' WHERE name = 'quiet'", i))
		m.Exec(fmt.Sprintf("UPDATE service SET port = %d WHERE region = 'quiet'", i))
		c.AwaitEqual(30 * time.Second)
		c.CheckQuery("SELECT a, b FROM item WHERE id = 100", fmt.Sprintf("'by %d'|-1", i))
		c.CheckQuery("SELECT value FROM flag WHERE name = 'quiet'", fmt.Sprintf("'by %d'", i))
		c.CheckQuery("SELECT port, note FROM service WHERE region = 'quiet'", fmt.Sprintf("%d|'fast'", i))
		m.Exec("DELETE FROM service WHERE region = 'quiet'")
		c.AwaitEqual(30 * time.Second)
		c.CheckQuery("SELECT count(*) FROM service WHERE region = 'quiet'", "0")
	}
}
