package node_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset/sqlite"
	"github.com/patinadb/patina/node/nodetest"
)

// A node that was away for thousands of versions, some of them large, gets them
// all over a bad path.
func TestBacklogArrives(t *testing.T) {
	bubble(t, nodetest.Config{Nodes: 3, Seed: 1, Link: nodetest.Link{Latency: 50 * time.Millisecond, Loss: 0.05}}, func(t *testing.T, c *nodetest.Cluster) {
		c.AwaitMembers(time.Minute)
		away := c.Member(2)
		away.Kill()
		versions := 3000
		if testing.Short() {
			versions = 100
		}
		for i := range versions {
			m := c.Member(i % 2)
			id := m.Exec(fmt.Sprintf("INSERT INTO journal VALUES('%s-%d', 0)", m.Name, i))
			if id.Version == 0 {
				t.Fatal("an insert made no version")
			}
		}
		c.Member(0).Exec("WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 5000) INSERT INTO item(id, a) SELECT i, 'row ' || i FROM n")
		c.Member(1).Exec("INSERT INTO flag VALUES('large', hex(randomblob(1 << 20)))")
		away.Start()
		t.Log("equal after", c.AwaitEqual(time.Minute))
		c.CheckQuery("SELECT count(*) FROM journal", fmt.Sprint(versions))
		c.CheckQuery("SELECT count(*) FROM item", "5000")
		c.CheckQuery("SELECT length(value) FROM flag", fmt.Sprint(2<<20))
	})
}

func TestManyNodesMeetAndEndEqual(t *testing.T) {
	nodes := 12
	if testing.Short() {
		nodes = 5
	}
	bubble(t, nodetest.Config{Nodes: nodes, Seed: 1, Link: nodetest.Link{Latency: 30 * time.Millisecond, Jitter: 20 * time.Millisecond, Loss: 0.05}}, func(t *testing.T, c *nodetest.Cluster) {
		t.Log("met after", c.AwaitMembers(time.Minute))
		w := c.Begin(nodetest.Storm{Seed: 1, Keys: 5, Writes: 15, Pause: 100 * time.Millisecond})
		w.Wait()
		t.Log("equal after", c.AwaitEqual(30*time.Second))
		w.CheckJournal()
	})
}

// The node is driven as its users drive it, over a listener in memory.
func TestClientsOverHTTP(t *testing.T) {
	bubble(t, nodetest.Config{Nodes: 2, Link: nodetest.Link{Latency: 10 * time.Millisecond}}, func(t *testing.T, c *nodetest.Cluster) {
		c.AwaitMembers(20 * time.Second)
		for _, m := range c.Members() {
			c.Await(m.Name+" is ready", time.Second, func() bool { return m.Node().Ready() == nil })
		}
		if got := post(t, c.Member(0), "/v1/transactions", `["INSERT INTO item(id, a) VALUES(1, 'x')", ["UPDATE item SET b = ?", 9]]`); !strings.Contains(got, `"version":1`) {
			t.Fatalf("transaction: %s", got)
		}
		c.AwaitEqual(5 * time.Second)
		if got, want := post(t, c.Member(1), "/v1/queries", `"SELECT a, b FROM item"`), `{"row":[1,["x",9]]}`; !strings.Contains(got, want) {
			t.Errorf("query: %s, want %s in it", got, want)
		}
		var digests [2]string
		for i, m := range c.Members() {
			digests[i] = statusOf(t, m)
		}
		if digests[0] == "" || digests[0] != digests[1] {
			t.Errorf("vector digests %q", digests)
		}
	})
}

func post(t *testing.T, m *nodetest.Member, path, body string) string {
	t.Helper()
	r, err := m.Listener().Client().Post("http://"+m.Listener().Addr().String()+path, "application/json", bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	answer, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s, %v, %s", path, body, r.Status, err, answer)
	}
	return string(answer)
}

// statusOf returns the vector digest that the status shows.
func statusOf(t *testing.T, m *nodetest.Member) string {
	t.Helper()
	r, err := m.Listener().Client().Get("http://" + m.Listener().Addr().String() + "/v1/status")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	var status struct {
		VectorDigest string `json:"vector_digest"`
	}
	if err := json.NewDecoder(r.Body).Decode(&status); err != nil {
		t.Fatal(err)
	}
	return status.VectorDigest
}

// Writers that do not wait for each other share versions; what their groups hold
// arrives whole.
func TestGroupedWritesArriveWhole(t *testing.T) {
	bubble(t, nodetest.Config{Nodes: 3, Link: nodetest.Link{Latency: 10 * time.Millisecond, Loss: 0.05}}, func(t *testing.T, c *nodetest.Cluster) {
		c.AwaitMembers(20 * time.Second)
		const writers, each = 50, 10
		failed := make(chan error, writers)
		for i := range writers {
			m := c.Member(i % 3)
			go func() {
				for j := range each {
					pair := fmt.Sprintf("INSERT INTO journal VALUES('%d-%d-a', 0), ('%d-%d-b', 0)", i, j, i, j)
					if _, err := m.Transact(t.Context(), sqlite.Statement{SQL: pair}); err != nil {
						failed <- err
						return
					}
				}
				failed <- nil
			}()
		}
		for range writers {
			if err := <-failed; err != nil {
				t.Fatal(err)
			}
		}
		c.AwaitEqual(10 * time.Second)
		c.CheckQuery("SELECT count(*) FROM journal", fmt.Sprint(2*writers*each))
	})
}
