package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

const (
	stormClients  = 64
	stormRequests = 12 // of each client
)

// stormRequest is a request of the storm: its rows are there afterwards if want
// is empty, else none is and its error holds want.
type stormRequest struct {
	statements []sqlite.Statement
	want       string
	rows       []int
}

// newStormRequest makes the given client's i-th request, with keys of its own. A
// bad one writes good rows before it fails.
func newStormRequest(r *rand.Rand, client, i int) stormRequest {
	base := (client*stormRequests + i + 1) * 10
	q := stormRequest{rows: []int{base, base + 1}}
	q.statements = append(q.statements, text("INSERT INTO item(id, a) VALUES(?, 'storm')", base))
	bad := func(want string, st sqlite.Statement) {
		q.want = want
		q.statements = append(q.statements, st)
	}
	switch p := r.IntN(40); {
	case p < 3:
		bad("UNIQUE constraint failed", text("INSERT OR ROLLBACK INTO item(id) VALUES(?), (1)", base+1))
	case p < 6:
		bad("no way", text("INSERT INTO raiser VALUES(?)", base))
	case p < 7:
		bad("statement time limit exceeded", text(endless))
	case p < 11:
		bad("UNIQUE constraint failed", text("INSERT INTO item(id) VALUES(?), (1)", base+1))
	case p < 13:
		bad("NOT NULL constraint failed", text("INSERT OR FAIL INTO item(id, b) VALUES(?, 1), (?, NULL)", base+1, base+2))
	case p < 15:
		bad("no such table", text("DELETE FROM nowhere"))
	case p < 20: // made and removed in one request
		q.rows = nil
		q.statements = append(q.statements, text("DELETE FROM item WHERE id = ?", base))
	default:
		q.statements = append(q.statements, text("INSERT OR REPLACE INTO item(id, a) VALUES(?, 'b')", base+1))
	}
	return q
}

// TestStormOfGoodAndBadRequests: whatever ends a transaction ends the request
// that brought it. Each good one is acknowledged and there, each bad one has its
// own error and left nothing, every row has a clock and the log no holes.
func TestStormOfGoodAndBadRequests(t *testing.T) {
	const schema = itemsSchema + "CREATE TABLE raiser(id INTEGER PRIMARY KEY);"
	n := start(t, Config{Schema: schemaOf(schema), StatementTimeout: 50 * time.Millisecond})
	outside(t, n.cfg.Path, "CREATE TRIGGER boom BEFORE INSERT ON raiser BEGIN SELECT RAISE(ROLLBACK, 'no way'); END")
	n.exec("INSERT INTO item(id) VALUES(1)")
	var mu sync.Mutex // guards expected and versions
	expected, versions := map[string]bool{"1": true}, map[changeset.Version]bool{}
	var clients sync.WaitGroup
	for client := range stormClients {
		clients.Go(func() {
			r := rand.New(rand.NewPCG(uint64(client), 3))
			for i := range stormRequests {
				q := newStormRequest(r, client, i)
				var o outcome
				o.results, o.id, o.err = n.Transact(context.Background(), q.statements)
				switch f := o.failure(); {
				case q.want == "" && f != "", !strings.Contains(f, q.want):
					t.Errorf("%v: %q, want %q", q.statements, f, q.want)
				case q.want == "":
					mu.Lock()
					for _, id := range q.rows {
						expected[fmt.Sprint(id)] = true
					}
					versions[o.id.Version] = true
					mu.Unlock()
				}
			}
		})
	}
	clients.Wait()
	for _, id := range strings.Fields(n.query("SELECT id FROM item")) {
		if !expected[id] {
			t.Errorf("row %s of a request that failed is there", id)
		}
		delete(expected, id)
	}
	if len(expected) > 0 {
		t.Errorf("acknowledged rows are missing: %v", expected)
	}
	delete(versions, 0) // groups without a net change
	last := n.Vector().Entry(n.Actor()).Applied
	if ranges := last.Ranges(); len(ranges) != 1 || ranges[0].First != 1 || int(last.Last()) != len(versions)+1 {
		t.Errorf("versions %v, %d acknowledged", ranges, len(versions)+1)
	}
	checkClocks(t, n)
	replica := start(t, Config{Schema: schemaOf(schema)})
	replica.pull(n)
	requireEqual(t, n, replica)
}
