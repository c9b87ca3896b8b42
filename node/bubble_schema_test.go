package node_test

import (
	"testing"
	"time"

	"github.com/patinadb/patina/changeset/sqlite"
	"github.com/patinadb/patina/node/nodetest"
)

const (
	newTable  = "\nCREATE TABLE late(id INTEGER PRIMARY KEY, x TEXT);"
	wideTable = "\nCREATE TABLE late(id INTEGER PRIMARY KEY, x TEXT, y INTEGER DEFAULT 3);"
)

func TestUnknownTableParksUntilItsSchemaArrives(t *testing.T) {
	bubble(t, nodetest.Config{Nodes: 3, Link: nodetest.Link{Latency: 10 * time.Millisecond, Loss: 0.05}}, func(t *testing.T, c *nodetest.Cluster) {
		c.AwaitMembers(20 * time.Second)
		late := c.Member(2)
		for _, m := range c.Members()[:2] {
			m.SetSchema(nodetest.Schema + newTable)
			m.Reload()
		}
		c.Member(0).Exec("INSERT INTO late VALUES(1, 'one')", "INSERT INTO journal VALUES('with it', 0)")
		c.Member(1).Exec("INSERT INTO late VALUES(2, 'two')")
		c.Member(1).Exec("INSERT INTO journal VALUES('after it', 0)")
		parked := func() int { return len(late.Node().Store().Parked()) }
		c.Await("both are parked", 5*time.Second, func() bool { return parked() == 2 })
		// What is parked holds nothing else up, is whole, and survives a restart.
		c.Await("the others apply", 5*time.Second, func() bool { return late.Query("SELECT id FROM journal") == "'after it'" })
		late.Restart()
		if parked() != 2 {
			t.Fatalf("after a restart %d changesets are parked", parked())
		}
		time.Sleep(time.Minute)
		if parked() != 2 {
			t.Fatalf("a minute later %d changesets are parked", parked())
		}
		late.SetSchema(nodetest.Schema + newTable)
		late.Reload()
		c.AwaitEqual(5 * time.Second)
		c.CheckQuery("SELECT id, x FROM late ORDER BY id", "1|'one'\n2|'two'")
	})
}

// The author is gone when the schema comes; who parked a changeset hands it on.
func TestParkedChangesetsTravelOn(t *testing.T) {
	bubble(t, nodetest.Config{Nodes: 3, Link: nodetest.Link{Latency: 10 * time.Millisecond}}, func(t *testing.T, c *nodetest.Cluster) {
		c.AwaitMembers(20 * time.Second)
		author, keeper, last := c.Member(0), c.Member(1), c.Member(2)
		c.Partition([]*nodetest.Member{author, keeper}, []*nodetest.Member{last})
		author.SetSchema(nodetest.Schema + newTable)
		author.Reload()
		author.Exec("INSERT INTO late VALUES(1, 'one')")
		c.Await("it is parked", 5*time.Second, func() bool { return len(keeper.Node().Store().Parked()) == 1 })
		author.Kill()
		c.Heal()
		c.Await("it is parked by who never met the author", 30*time.Second, func() bool { return len(last.Node().Store().Parked()) == 1 })
		for _, m := range []*nodetest.Member{keeper, last} {
			m.SetSchema(nodetest.Schema + newTable)
			m.Reload()
		}
		author.Start()
		c.AwaitEqual(10 * time.Second)
		c.CheckQuery("SELECT id, x FROM late", "1|'one'")
	})
}

func TestColumnThatOthersAddLater(t *testing.T) {
	bubble(t, nodetest.Config{Nodes: 3, Schema: nodetest.Schema + newTable, Link: nodetest.Link{Latency: 10 * time.Millisecond}}, func(t *testing.T, c *nodetest.Cluster) {
		c.AwaitMembers(20 * time.Second)
		c.Member(0).Exec("INSERT INTO late VALUES(1, 'one')")
		c.AwaitEqual(5 * time.Second)
		c.Member(0).SetSchema(nodetest.Schema + wideTable)
		c.Member(0).Reload()
		c.Member(0).Exec("UPDATE late SET y = 4", "INSERT INTO late(id, x) VALUES(2, 'two')")
		c.Member(1).Exec("INSERT INTO late VALUES(3, 'three')")
		c.Await("one is parked", 5*time.Second, func() bool { return len(c.Member(2).Node().Store().Parked()) == 1 })
		results, _, err := c.Member(1).Node().Store().Migrate(t.Context(), []sqlite.Statement{{SQL: wideTable}})
		if err != nil || results[0].Err != nil {
			t.Fatalf("migration: %v, %+v", err, results)
		}
		c.Member(2).SetSchema(nodetest.Schema + wideTable)
		c.Member(2).Reload()
		c.AwaitEqual(5 * time.Second)
		c.CheckQuery("SELECT * FROM late ORDER BY id", "1|'one'|4\n2|'two'|3\n3|'three'|3")
	})
}
