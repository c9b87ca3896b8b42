package store

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
	"github.com/patinadb/patina/sync/versions"
)

var long = flag.Bool("long", false, "run the large counts that the issues name")

// oracle is DESIGN section 2 written down naively: maps, one cell at a time. It
// sees only changesets and decides what rows and clocks must be.
type oracle struct {
	rows map[string]*oracleRow // by table and key
	seen map[changeset.ID]bool
}

type oracleRow struct {
	length changeset.CausalLength
	stamps map[string]changeset.Stamp // by column; "!" is a row that is deleted or has no column
	values map[string]sqlite.Value
}

func newOracle() *oracle {
	return &oracle{rows: map[string]*oracleRow{}, seen: map[changeset.ID]bool{}}
}

func (o *oracle) apply(c *changeset.Changeset) {
	if o.seen[c.ID()] {
		return
	}
	o.seen[c.ID()] = true
	for _, tc := range c.Tables {
		for _, ch := range tc.Changes {
			cells := map[string]sqlite.Value{}
			n := 0
			for i := range ch.Columns.All {
				cells[tc.Columns[i]] = ch.Values[n]
				n++
			}
			if len(cells) == 0 {
				cells["!"] = changeset.NullValue()
			}
			o.merge(tc.Name+" "+join(ch.Key), ch.CausalLength, cells, c.Stamp())
		}
	}
}

func (o *oracle) merge(key string, length changeset.CausalLength, cells map[string]sqlite.Value, stamp changeset.Stamp) {
	r := o.rows[key]
	if r == nil {
		r = &oracleRow{}
		o.rows[key] = r
	}
	if length < r.length {
		return
	}
	if length > r.length {
		*r = oracleRow{length, map[string]changeset.Stamp{}, map[string]sqlite.Value{}}
	}
	for column, v := range cells {
		if old, ok := r.stamps[column]; ok && !changeset.Wins(stamp, old) {
			continue
		}
		r.stamps[column], r.values[column] = stamp, v
	}
	if len(r.stamps) > 1 {
		delete(r.stamps, "!")
	}
}

// clocks prints what node.clocks prints, but sorted by line.
func (o *oracle) clocks() string {
	var lines []string
	for key, r := range o.rows {
		groups := map[changeset.Stamp][]string{}
		for column, stamp := range r.stamps {
			if column == "!" {
				groups[stamp] = []string{}
				continue
			}
			groups[stamp] = append(groups[stamp], column)
		}
		var printed []string
		for s, names := range groups {
			printed = append(printed, fmt.Sprintf("%v %v %d %v", s.Time, s.Actor, s.Version, sortedStrings(names)))
		}
		lines = append(lines, fmt.Sprintf("%s cl %d %v", strings.ReplaceAll(key, ",", " "), r.length, sortedStrings(printed)))
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

// clockLines is node.clocks in the same form.
func clockLines(n *node) string {
	var out []string
	table := ""
	for _, line := range strings.Split(strings.TrimSpace(n.clocks()), "\n") {
		if !strings.Contains(line, " cl ") {
			table = line
			continue
		}
		out = append(out, table+" "+line)
	}
	sort.Strings(out)
	return strings.Join(out, "\n")
}

// rowLines prints every living row with its columns, apply defaults filled in.
func (o *oracle) rowLines(n *node) string {
	var lines []string
	for key, r := range o.rows {
		if !r.length.Alive() {
			continue
		}
		name, rest, _ := strings.Cut(key, " ")
		t := n.schema.Load().lookup(name)
		line := name + " " + rest
		for _, i := range t.data {
			v, ok := r.values[t.columns[i].name]
			if !ok {
				v = t.columns[i].applyDefault
			}
			line += "|" + v.String()
		}
		lines = append(lines, line)
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

func nodeRowLines(n *node) string {
	var lines []string
	for _, t := range n.schema.Load().sorted() {
		var key, data []string
		for _, i := range t.key {
			key = append(key, "quote("+quoteIdent(t.columns[i].name)+")")
		}
		for _, i := range t.data {
			data = append(data, " || '|' || coalesce(quote("+quoteIdent(t.columns[i].name)+"), 'NULL')")
		}
		got := n.query("SELECT " + strings.Join(key, " || ',' || ") + strings.Join(data, "") + " FROM " + quoteIdent(t.name))
		for _, line := range strings.Split(got, "\n") {
			if line == "" {
				continue
			}
			line = strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(line, "'"), "'"), "''", "'")
			lines = append(lines, t.name+" "+line)
		}
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

const propertySchema = `CREATE TABLE i(id INTEGER PRIMARY KEY, a TEXT, b INTEGER NOT NULL DEFAULT 7%s);
CREATE TABLE k(x TEXT NOT NULL, y INTEGER NOT NULL, v TEXT, PRIMARY KEY(x, y));
CREATE TABLE o(a TEXT NOT NULL PRIMARY KEY) WITHOUT ROWID;`

// history drives K stores through random writes, partial pulls with duplicates,
// restarts and a schema that arrives late, and holds every store to the oracle
// after each step.
type history struct {
	t     *testing.T
	r     *rand.Rand
	nodes []*node
	cfgs  []Config
	late  []bool // has the late column
	seen  []*oracle
}

func newHistory(t *testing.T, seed uint64, k int) *history {
	h := &history{t: t, r: rand.New(rand.NewPCG(seed, 1))}
	skews := []time.Duration{0, -time.Hour, time.Hour, 200 * time.Millisecond}
	for i := range k {
		skew := skews[h.r.IntN(len(skews))]
		cfg := Config{
			Path: filepath.Join(t.TempDir(), fmt.Sprintf("n%d.db", i)), Readers: 1,
			Schema: schemaOf(fmt.Sprintf(propertySchema, "")),
			Now:    func() time.Time { return time.Now().Add(skew) },
		}
		h.cfgs, h.late, h.seen = append(h.cfgs, cfg), append(h.late, false), append(h.seen, newOracle())
		h.nodes = append(h.nodes, start(t, cfg))
	}
	return h
}

func (h *history) statement(late bool) string {
	id, x, y := h.r.IntN(4), h.r.IntN(2), h.r.IntN(2)
	v := h.r.IntN(5)
	set := []string{"a = 'a%[4]d'", "b = %[4]d", "a = 'a%[4]d', b = %[4]d"}
	if late {
		set = append(set, "c = %[4]d, b = 1")
	}
	return fmt.Sprintf([]string{
		"INSERT OR REPLACE INTO i(id, a, b) VALUES(%[1]d, 'a%[4]d', %[4]d)",
		"INSERT OR IGNORE INTO i(id, b) VALUES(%[1]d, %[4]d)",
		"UPDATE i SET " + set[h.r.IntN(len(set))] + " WHERE id = %[1]d",
		"UPDATE i SET " + set[h.r.IntN(len(set))] + " WHERE %[1]d >= 0",
		"UPDATE OR REPLACE i SET id = %[4]d WHERE id = %[1]d",
		"DELETE FROM i WHERE id = %[1]d",
		"DELETE FROM i WHERE id >= 0 AND %[1]d >= 0",
		"REPLACE INTO k VALUES('x%[2]d', %[3]d, 'v%[4]d')",
		"UPDATE k SET v = 'v%[4]d' WHERE y = %[3]d",
		"UPDATE OR REPLACE k SET x = 'x%[2]d'",
		"DELETE FROM k WHERE y = %[3]d",
		"INSERT OR IGNORE INTO o VALUES('o%[1]d')",
		"DELETE FROM o WHERE a = 'o%[1]d'",
	}[h.r.IntN(13)], id, x, y, v)
}

func (h *history) step() {
	i := h.r.IntN(len(h.nodes))
	n := h.nodes[i]
	switch p := h.r.IntN(100); {
	case p < 50:
		var sts []string
		for range 1 + h.r.IntN(4) {
			sts = append(sts, h.statement(h.late[i]))
		}
		n.exec(sts...)
	case p < 90:
		from := h.nodes[h.r.IntN(len(h.nodes))]
		n.pullSome(from, func(ids []changeset.ID) []changeset.ID {
			h.r.Shuffle(len(ids), func(a, b int) { ids[a], ids[b] = ids[b], ids[a] })
			ids = ids[:h.r.IntN(len(ids)+1)]
			return append(ids, ids[:len(ids)/3]...) // some twice
		})
	case p < 95 && !h.late[i]:
		h.late[i] = true
		h.cfgs[i].Schema = schemaOf(fmt.Sprintf(propertySchema, ", c INTEGER DEFAULT 5"))
		if err := n.Reload(h.t.Context(), h.cfgs[i].Schema); err != nil {
			h.t.Fatal(err)
		}
	default:
		n.stop()
		h.nodes[i] = start(h.t, h.cfgs[i])
	}
	h.check(i)
}

// check compares rows and clocks of store i with its oracle, at one vector: what
// sits in the waiting room may apply at any moment.
func (h *history) check(i int) {
	h.t.Helper()
	n, o := h.nodes[i], h.seen[i]
	for {
		v := n.Vector()
		h.feed(n, o, v)
		clocks, rows := clockLines(n), nodeRowLines(n)
		if !v.Equal(n.Vector()) {
			continue
		}
		if want := o.clocks(); clocks != want {
			h.t.Fatalf("store %d: clocks\n%s\nthe oracle says\n%s", i, clocks, want)
		}
		if want := o.rowLines(n); rows != want {
			h.t.Fatalf("store %d: rows\n%s\nthe oracle says\n%s", i, rows, want)
		}
		return
	}
}

// feed gives the oracle what v has applied and it has not seen.
func (h *history) feed(n *node, o *oracle, v *versions.Vector) {
	h.t.Helper()
	for _, actor := range v.Actors() {
		for _, r := range v.Entry(actor).Applied.Ranges() {
			for version := r.First; version <= r.Last; version++ {
				id := changeset.ID{Actor: actor, Version: version}
				if o.seen[id] {
					continue
				}
				s, err := n.Changeset(h.t.Context(), id)
				if err != nil {
					h.t.Fatal(err)
				}
				c, err := s.Decode()
				if err != nil {
					h.t.Fatal(err)
				}
				o.apply(c)
			}
		}
	}
}

func (h *history) settle() {
	h.t.Helper()
	for i, n := range h.nodes {
		if !h.late[i] {
			if err := n.Reload(h.t.Context(), schemaOf(fmt.Sprintf(propertySchema, ", c INTEGER DEFAULT 5"))); err != nil {
				h.t.Fatal(err)
			}
		}
	}
	for range 3 {
		for _, n := range h.nodes {
			for _, from := range h.nodes {
				n.pull(from)
			}
		}
	}
	for i, n := range h.nodes {
		h.check(i)
		if p := n.Parked(); len(p) > 0 {
			h.t.Fatalf("store %d: still parked %+v", i, p)
		}
	}
	requireEqual(h.t, h.nodes...)
}

func TestRandomHistoriesAgreeWithTheOracle(t *testing.T) {
	seeds := 12
	switch {
	case *long:
		seeds = 400
	case testing.Short():
		seeds = 3
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			h := newHistory(t, uint64(seed), 3)
			for range 40 {
				h.step()
			}
			h.settle()
		})
	}
}
