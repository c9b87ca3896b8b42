package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/hlc"
	"github.com/patinadb/patina/changeset/sqlite"
)

const orderSchema = itemsSchema + `CREATE TABLE counter(id INTEGER PRIMARY KEY, n INTEGER NOT NULL);
CREATE TABLE raiser(id INTEGER PRIMARY KEY);
CREATE TABLE nullable(k TEXT PRIMARY KEY);
CREATE TABLE au(id INTEGER PRIMARY KEY AUTOINCREMENT, v);`

// orderCulprits are the ways to fail, with what the client must be told.
var orderCulprits = []struct {
	weight int
	want   string
	sql    string
}{
	{4, "UNIQUE constraint failed", "INSERT OR ROLLBACK INTO flag VALUES('new', 1), ('old', 1)"},
	{4, "no way", "INSERT INTO raiser VALUES(1)"},
	{1, "statement time limit exceeded", endless},
	{4, "UNIQUE constraint failed", "INSERT INTO flag VALUES('new', 1), ('old', 1)"},
	{4, "NOT NULL constraint failed", "INSERT OR FAIL INTO counter VALUES(100, 1), (101, NULL)"},
	{4, "NOT NULL constraint failed: nullable.k", "INSERT INTO nullable VALUES('a'), (NULL)"},
	{4, "no such table", "DELETE FROM nowhere"},
	{4, "syntax error", "DELETE FROM flag; nonsense"},
	{4, "COMMIT is not allowed", "COMMIT"},
	{4, "AUTOINCREMENT of table au", "INSERT INTO au(v) VALUES(1)"},
	{2, "exceed the largest changeset", "INSERT INTO au(id) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"},
	{4, "no stamp is left", "UPDATE flag SET value = 'mine' WHERE name = 'last'"},
	{4, "65536", "INSERT INTO flag VALUES(hex(zeroblob(40000)), 1)"},
}

func pickCulprit(r *rand.Rand) (want, sql string) {
	sum := 0
	for _, c := range orderCulprits {
		sum += c.weight
	}
	p := r.IntN(sum)
	for _, c := range orderCulprits {
		if p -= c.weight; p < 0 {
			return c.want, c.sql
		}
	}
	panic("unreachable")
}

// orderClient sends requests that all count one counter up. What RETURNING says
// tells the place of each in the order of all.
type orderClient struct {
	n    *node
	r    *rand.Rand
	id   int
	acks []orderAck
}

type orderAck struct {
	n       int64 // of the counter
	item    int
	version changeset.Version
}

func (c *orderClient) request(i int) error {
	item := 1000 + c.id*100 + i
	sts := []sqlite.Statement{
		text("UPDATE counter SET n = n + 1 WHERE id = 1 RETURNING n"),
		text("INSERT INTO item(id, b) SELECT ?, n FROM counter WHERE id = 1", item),
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	want := ""
	switch p := c.r.IntN(100); {
	case p < 30:
		var bad string
		want, bad = pickCulprit(c.r)
		sts = slices.Insert(sts, c.r.IntN(3), text(bad))
	case p < 34:
		sts = sts[:0]
	case p < 38:
		sts = append(sts, text("-- nothing"), text(""))
	case p < 42: // a version of its own, beyond the clock
		sts = []sqlite.Statement{text("UPDATE flag SET value = ? WHERE name = 'ahead'", fmt.Sprint(item))}
	case p < 46: // nothing that lasts
		sts = []sqlite.Statement{text("INSERT INTO counter VALUES(?, 1)", item), text("DELETE FROM counter WHERE id = ?", item)}
	case p < 52:
		time.AfterFunc(time.Duration(c.r.IntN(2000))*time.Microsecond, cancel)
	}
	var o outcome
	o.results, o.id, o.err = c.n.Transact(ctx, sts)
	switch f := o.failure(); {
	case errors.Is(o.err, context.Canceled) && ctx.Err() != nil:
		return nil
	case o.err != nil:
		return fmt.Errorf("%v: %w", sts, o.err)
	case want == "" && f != "", !strings.Contains(f, want):
		return fmt.Errorf("%v: %q, want %q", sts, f, want)
	case want != "" || len(sts) < 2 || len(o.results[0].Rows) == 0:
		return nil
	case len(o.results) != len(sts):
		return fmt.Errorf("%v: %d results", sts, len(o.results))
	}
	c.acks = append(c.acks, orderAck{o.results[0].Rows[0][0].Integer(), item, o.id.Version})
	return nil
}

// TestAnswersAreThoseOfTheCommitOrder: whatever others in a group do to it, each
// client is told what it would have been told alone, at its place in one order of
// all, and that order is the versions'.
func TestAnswersAreThoseOfTheCommitOrder(t *testing.T) {
	requests := 12
	switch {
	case *long:
		requests = 90
	case testing.Short():
		requests = 6
	}
	n := start(t, Config{Schema: schemaOf(orderSchema), StatementTimeout: 200 * time.Millisecond})
	n.onWriter(func(w *writer) { w.capture.maxSteps = 100 })
	outside(t, n.cfg.Path, "CREATE TRIGGER boom BEFORE INSERT ON raiser BEGIN SELECT RAISE(ROLLBACK, 'no way'); END")
	n.exec("INSERT INTO counter VALUES(1, 0)", "INSERT INTO flag VALUES('old', 1)", "INSERT INTO au(id) VALUES(9223372036854775807)")
	for name, at := range map[string]hlc.Timestamp{"last": hlc.Max, "ahead": hlc.At(time.Now().Add(time.Hour), 0)} {
		c := row("flag", 1, name, "value", "x")
		c[0].Key = []string{"name"}
		apply(t, n, sealAll(t, changeset.NewActorID(), at, c)...)
	}
	var clients sync.WaitGroup
	list := make([]*orderClient, 64)
	for i := range list {
		list[i] = &orderClient{n: n, r: rand.New(rand.NewPCG(uint64(i), 5)), id: i}
		clients.Go(func() {
			for j := range requests {
				if err := list[i].request(j); err != nil {
					t.Error(err)
				}
			}
		})
	}
	clients.Wait()
	var acks []orderAck
	for _, c := range list {
		acks = append(acks, c.acks...)
	}
	checkOrder(t, n, acks)
	checkClocks(t, n)
	replica := start(t, Config{Schema: schemaOf(orderSchema)})
	replica.pull(n)
	requireEqual(t, n, replica)
}

func checkOrder(t *testing.T, n *node, acks []orderAck) {
	t.Helper()
	slices.SortFunc(acks, func(a, b orderAck) int { return int(a.n - b.n) })
	var want []string
	for i, a := range acks {
		if a.n != int64(i+1) {
			t.Fatalf("answer %d is number %d: somebody else's number", i+1, a.n)
		}
		if i > 0 && a.version < acks[i-1].version {
			t.Errorf("number %d is version %d, and the next version %d", i, acks[i-1].version, a.version)
		}
		want = append(want, fmt.Sprintf("%d|%d", a.item, a.n))
	}
	if got := n.query("SELECT id, b FROM item ORDER BY b"); got != strings.Join(want, "\n") {
		t.Error("the rows are not those of the answers")
	}
	if got := n.query("SELECT n FROM counter UNION ALL SELECT count(*) FROM flag UNION ALL SELECT count(*) FROM au"); got != fmt.Sprintf("%d\n3\n1", len(acks)) {
		t.Errorf("counter, flags and au are %s, %d answers", got, len(acks))
	}
	applied := n.Vector().Entry(n.Actor()).Applied
	if ranges := applied.Ranges(); len(ranges) != 1 || ranges[0].First != 1 {
		t.Errorf("versions %v", ranges)
	}
	if len(acks) < 100 {
		t.Errorf("%d answers", len(acks))
	}
}
