package store

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
	"github.com/patinadb/patina/sync/versions"
)

var long = flag.Bool("long", false, "run the large counts that the issues name")

// historyTables have an integer key, a text key by rowid, a composite key by
// rowid, a composite key without rowid and nothing but a key. %s is where the
// columns come that a store has got later.
var historyTables = []string{
	"CREATE TABLE i(id INTEGER PRIMARY KEY, a TEXT, b INTEGER NOT NULL DEFAULT 7%s)",
	"CREATE TABLE t(id TEXT NOT NULL PRIMARY KEY, a TEXT, b REAL%s)",
	"CREATE TABLE k(x TEXT NOT NULL, y INTEGER NOT NULL, a TEXT, PRIMARY KEY(x, y))",
	"CREATE TABLE w(x TEXT NOT NULL, y INTEGER NOT NULL, a TEXT, b INTEGER%s, PRIMARY KEY(x, y)) WITHOUT ROWID",
	"CREATE TABLE o(id TEXT NOT NULL PRIMARY KEY) WITHOUT ROWID",
}

// historyColumns are what i, t and w get later, and historyLate a table that comes
// later: each store gets them at its own times in an order of its own.
var historyColumns = []string{"m INTEGER DEFAULT 5", "n TEXT NOT NULL DEFAULT 'none'"}

const historyLate = "CREATE TABLE l(id INTEGER PRIMARY KEY, a TEXT)"

// historyDefaults are the apply defaults of all that, by hand.
var historyDefaults = map[string]sqlite.Value{
	"i.a": value(nil), "i.b": value(7), "t.a": value(nil), "t.b": value(nil), "k.a": value(nil), "w.a": value(nil), "w.b": value(nil), "l.a": value(nil),
	"i.m": value(5), "t.m": value(5), "w.m": value(5), "i.n": value("none"), "t.n": value("none"), "w.n": value("none"),
}

// coverage counts what histories came to, so that a generator that has stopped to
// reach it is noticed.
type coverage struct {
	mu     sync.Mutex // guards counts
	counts map[string]int
}

func (c *coverage) add(what string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[what] += n
}

// replicaState is one store of a history.
type replicaState struct {
	*node
	cfg       Config
	extra     []string // of historyColumns, in the order that they came
	late      bool     // has historyLate
	oracle    *oracle
	delivered map[changeset.ID]bool // since the last restart, or held then
}

// history drives K stores through random writes, partial pulls with duplicates,
// restarts and a schema that arrives late, and holds every store to the oracle
// after each step.
type history struct {
	t        *testing.T
	r        *rand.Rand
	replicas []*replicaState
	coverage *coverage
}

func newHistory(t *testing.T, seed uint64, k int, c *coverage) *history {
	h := &history{t: t, r: rand.New(rand.NewPCG(seed, 1)), coverage: c}
	skews := []time.Duration{0, -time.Hour, time.Hour, 200 * time.Millisecond}
	for i := range k {
		skew := skews[h.r.IntN(len(skews))]
		p := &replicaState{oracle: newOracle(), delivered: map[changeset.ID]bool{}}
		p.oracle.defaults = historyDefaults
		p.cfg = Config{
			Path: filepath.Join(t.TempDir(), fmt.Sprintf("n%d.db", i)), Readers: 1, Schema: p.schema(),
			Now: func() time.Time { return time.Now().Add(skew) },
		}
		p.node = start(t, p.cfg)
		h.replicas = append(h.replicas, p)
	}
	return h
}

func (p *replicaState) schema() []SchemaFile {
	var b strings.Builder
	added := ""
	for _, c := range p.extra {
		added += ", " + c
	}
	for _, t := range historyTables {
		if strings.Contains(t, "%s") {
			t = fmt.Sprintf(t, added)
		}
		b.WriteString(t + ";\n")
	}
	if p.late {
		b.WriteString(historyLate)
	}
	return schemaOf(b.String())
}

// knows reports whether every name of c is in the schema of the store.
func (p *replicaState) knows(c *changeset.Changeset) bool {
	for _, tc := range c.Tables {
		if tc.Name == "l" && !p.late {
			return false
		}
		for _, column := range tc.Columns {
			known := slices.ContainsFunc(p.extra, func(def string) bool { return strings.HasPrefix(def, column+" ") })
			if (column == "m" || column == "n") && !known {
				return false
			}
		}
	}
	return true
}

// statement makes a random write. Keys are few, so that they meet.
func (h *history) statement(p *replicaState) string {
	id, other, x, y, v := h.r.IntN(4), h.r.IntN(4), h.r.IntN(2), h.r.IntN(3), h.r.IntN(5)
	columns := []string{"a = 'a%d'", "b = %d", "b = b + %d"}
	for _, c := range p.extra {
		columns = append(columns, c[:1]+" = %d")
	}
	var set []string
	for _, i := range h.r.Perm(len(columns))[:1+h.r.IntN(2)] {
		set = append(set, fmt.Sprintf(columns[i], v))
	}
	if len(set) == 2 && set[0][0] == set[1][0] {
		set = set[:1]
	}
	list := []string{
		"INSERT OR REPLACE INTO i(id, a, b) VALUES(%[1]d, 'a%[5]d', %[5]d)",
		"INSERT OR IGNORE INTO i(id, b) VALUES(%[1]d, %[5]d)",
		"UPDATE i SET %[6]s WHERE id = %[1]d",
		"UPDATE i SET %[6]s",
		"UPDATE OR REPLACE i SET id = %[2]d WHERE id = %[1]d",
		"DELETE FROM i WHERE id = %[1]d",
		"DELETE FROM i",
		"INSERT OR IGNORE INTO t(id, a) VALUES('t%[1]d', 'a%[5]d')",
		"REPLACE INTO t(id) VALUES('t%[1]d')",
		"UPDATE t SET %[6]s WHERE id = 't%[1]d'",
		"UPDATE OR REPLACE t SET id = 't%[2]d', b = %[5]d WHERE id = 't%[1]d'",
		"DELETE FROM t WHERE id = 't%[1]d'",
		"REPLACE INTO k VALUES('x%[3]d', %[4]d, 'a%[5]d')",
		"UPDATE k SET a = 'a%[5]d' WHERE y = %[4]d",
		"UPDATE OR REPLACE k SET x = 'x%[3]d'",
		"DELETE FROM k WHERE y = %[4]d",
		"INSERT INTO w(x, y, b) VALUES('x%[3]d', %[4]d, %[5]d) ON CONFLICT DO UPDATE SET b = excluded.b",
		"UPDATE w SET %[6]s WHERE y = %[4]d",
		"UPDATE OR REPLACE w SET y = %[4]d WHERE x = 'x%[3]d'",
		"DELETE FROM w WHERE y = %[4]d",
		"INSERT OR IGNORE INTO o VALUES('o%[1]d')",
		"UPDATE OR REPLACE o SET id = 'o%[2]d' WHERE id = 'o%[1]d'",
		"DELETE FROM o WHERE id = 'o%[1]d'",
	}
	if p.late {
		list = append(list, "REPLACE INTO l VALUES(%[1]d, 'a%[5]d')", "DELETE FROM l WHERE id = %[1]d")
	}
	sql := fmt.Sprintf(list[h.r.IntN(len(list))], id, other, x, y, v, strings.Join(set, ", "))
	return strings.SplitN(sql, "%!(EXTRA", 2)[0]
}

func (h *history) step() {
	p := h.replicas[h.r.IntN(len(h.replicas))]
	switch q := h.r.IntN(100); {
	case q < 45:
		var sts []string
		for range 1 + h.r.IntN(4) {
			sts = append(sts, h.statement(p))
		}
		p.exec(sts...)
		h.check(p, true)
		return
	case q < 79:
		h.deliver(p, h.replicas[h.r.IntN(len(h.replicas))])
	case q < 86:
		for _, other := range h.replicas {
			if other.Queues()[2].Depth > 0 {
				p = other
			}
		}
		h.coverage.add("applied before what they follow", p.endWaiting())
	case q < 94:
		h.extend(p)
	default:
		h.restart(p)
	}
	h.check(p, false)
}

// deliver gives p some of what from has and it lacks, in a random order and some
// of it twice.
func (h *history) deliver(p, from *replicaState) {
	p.pullSome(from.node, func(ids []changeset.ID) []changeset.ID {
		h.r.Shuffle(len(ids), func(a, b int) { ids[a], ids[b] = ids[b], ids[a] })
		ids = ids[:h.r.IntN(len(ids)+1)]
		for _, id := range ids {
			p.delivered[id] = true
		}
		return append(ids, ids[:len(ids)/3]...)
	})
}

// endWaiting takes the time of all that wait for another changeset to be up, and
// returns how many did.
func (n *node) endWaiting() (waited int) {
	n.onWriter(func(w *writer) {
		for _, in := range w.waiting.byID {
			waited++
			in.until = time.Time{}
		}
		w.releaseWaiting()
	})
	return waited
}

// extend gives p a column or the table that it does not have yet.
func (h *history) extend(p *replicaState) {
	missing := slices.DeleteFunc(slices.Clone(historyColumns), func(c string) bool { return slices.Contains(p.extra, c) })
	switch i := h.r.IntN(3); {
	case i < len(missing):
		p.extra = append(p.extra, missing[i])
	case !p.late:
		p.late = true
	default:
		return
	}
	before := len(p.Parked())
	p.cfg.Schema = p.schema()
	if err := p.Reload(h.t.Context(), p.cfg.Schema); err != nil {
		h.t.Fatal(err)
	}
	h.coverage.add("merged once their schema came", before-len(p.Parked()))
}

// restart closes the store and opens it again, now and then after a VACUUM that
// numbers rows anew. What waited is gone.
func (h *history) restart(p *replicaState) {
	p.stop()
	if h.r.IntN(2) == 0 {
		outside(h.t, p.cfg.Path, "VACUUM")
	}
	p.node = start(h.t, p.cfg)
	v := p.Vector()
	for id := range p.delivered {
		if !v.Holds(id) {
			delete(p.delivered, id)
		}
	}
	h.coverage.add("restarts", 1)
}

// check compares the store with its oracle, at one vector: what waits may apply at
// any moment. wrote says that since the last check the store only wrote.
func (h *history) check(p *replicaState, wrote bool) {
	h.t.Helper()
	for {
		v := p.Vector()
		h.feed(p, v, wrote)
		clocks, rows, parked := clockLines(p.node), nodeRowLines(p.node), p.Parked()
		if !v.Equal(p.Vector()) {
			wrote = false
			continue
		}
		if want := p.oracle.clocks(); clocks != want {
			h.t.Fatalf("clocks\n%s\nthe oracle says\n%s", clocks, want)
		}
		if want := p.oracle.rowLines(p.node); rows != want {
			h.t.Fatalf("rows\n%s\nthe oracle says\n%s", rows, want)
		}
		for _, k := range parked {
			if c := h.decode(p, k.ID); p.knows(c) {
				h.t.Fatalf("parked although the schema has all its names: %+v", k)
			}
		}
		h.coverage.add("parked at a step", len(parked))
		h.checkDelivered(p, v)
		return
	}
}

// checkDelivered: what was delivered is held, or waits for something that is not
// applied.
func (h *history) checkDelivered(p *replicaState, v *versions.Vector) {
	h.t.Helper()
	for id := range p.delivered {
		if v.Holds(id) {
			continue
		}
		for _, from := range h.replicas {
			if !from.Vector().Holds(id) {
				continue
			}
			c := h.decode(from, id)
			met := !slices.ContainsFunc(c.After, func(a changeset.ID) bool { return !v.Entry(a.Actor).Applied.Contains(a.Version) })
			if met || !p.knows(c) { // at the next tick, if a parked one was what it waited for
				eventually(h.t, fmt.Sprintf("version %d of %v, delivered and not waiting, is held", id.Version, id.Actor), func() bool { return p.Vector().Holds(id) })
				h.check(p, false)
				return
			}
			h.coverage.add("waiting at a step", 1)
			break
		}
	}
}

func (h *history) decode(p *replicaState, id changeset.ID) *changeset.Changeset {
	h.t.Helper()
	s, err := p.Changeset(h.t.Context(), id)
	if err != nil {
		h.t.Fatal(err)
	}
	c, err := s.Decode()
	if err != nil {
		h.t.Fatal(err)
	}
	return c
}

// feed gives the oracle what v has applied and it has not seen.
func (h *history) feed(p *replicaState, v *versions.Vector, wrote bool) {
	h.t.Helper()
	var fresh []*changeset.Changeset
	for _, actor := range v.Actors() {
		for _, r := range v.Entry(actor).Applied.Ranges() {
			for version := r.First; version <= r.Last; version++ {
				if id := (changeset.ID{Actor: actor, Version: version}); !p.oracle.seen[id] {
					fresh = append(fresh, h.decode(p, id))
				}
			}
		}
	}
	for _, c := range fresh {
		if wrote && len(fresh) == 1 && c.Actor == p.Actor() {
			h.coverage.add("local versions", 1)
			if faults := p.oracle.local(c); len(faults) > 0 {
				h.t.Fatalf("version %d:\n%s", c.Version, strings.Join(faults, "\n"))
			}
		}
		if !p.knows(c) {
			h.t.Fatalf("version %d of %v is applied without its schema", c.Version, c.Actor)
		}
		p.oracle.apply(c)
	}
}

func (h *history) settle() {
	h.t.Helper()
	for _, p := range h.replicas {
		for !p.late || len(p.extra) < len(historyColumns) {
			h.extend(p)
			h.check(p, false)
		}
	}
	for range 3 {
		for _, p := range h.replicas {
			for _, from := range h.replicas {
				p.pull(from.node)
			}
		}
	}
	var nodes []*node
	for _, p := range h.replicas {
		h.check(p, false)
		if parked := p.Parked(); len(parked) > 0 {
			h.t.Fatalf("still parked %+v", parked)
		}
		nodes = append(nodes, p.node)
	}
	requireEqualRows(h.t, nodes...)
}

// requireEqualRows is requireEqual for stores whose columns have other orders.
func requireEqualRows(t *testing.T, nodes ...*node) {
	t.Helper()
	for _, n := range nodes[1:] {
		if a, b := nodes[0].Vector().Digest(), n.Vector().Digest(); a != b {
			t.Fatalf("vectors differ: %x, %x", a, b)
		}
		if a, b := nodes[0].SchemaDigest(), n.SchemaDigest(); a != b {
			t.Fatalf("schemas differ")
		}
		if a, b := nodes[0].Sums(), n.Sums(); !maps.Equal(a.Tables, b.Tables) {
			t.Fatalf("sums differ: %v, %v", a.Tables, b.Tables)
		}
		if a, b := clockLines(nodes[0]), clockLines(n); a != b {
			t.Fatalf("clocks differ:\n%s\n--- and\n%s", a, b)
		}
		for _, table := range n.schema.Load().sorted() {
			var names []string
			for _, c := range table.columns {
				names = append(names, c.name)
			}
			slices.Sort(names)
			sql := "SELECT " + strings.Join(names, ", ") + " FROM " + table.name + " ORDER BY " + strings.Join(names, ", ")
			if a, b := nodes[0].query(sql), n.query(sql); a != b {
				t.Fatalf("%s differs:\n%s\n--- and\n%s", table.name, a, b)
			}
		}
	}
}

// TestRandomHistoriesAgreeWithTheOracle in rows and clocks after every step. -long
// runs 400 histories.
func TestRandomHistoriesAgreeWithTheOracle(t *testing.T) {
	t.Parallel()
	seeds := 16
	switch {
	case *long:
		seeds = 400
	case testing.Short():
		seeds = 4
	}
	c := &coverage{counts: map[string]int{}}
	t.Run("histories", func(t *testing.T) {
		for seed := range seeds {
			t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
				t.Parallel()
				h := newHistory(t, uint64(seed), 2+seed%3, c)
				for range 60 {
					h.step()
				}
				h.settle()
			})
		}
	})
	t.Log(c.counts)
	for _, what := range []string{"local versions", "parked at a step", "merged once their schema came", "waiting at a step", "applied before what they follow", "restarts"} {
		if c.counts[what] < seeds/4 {
			t.Errorf("%s: %d in %d histories", what, c.counts[what], seeds)
		}
	}
}
