package store

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// captureCase is one request and what it must become. In all of its texts T is
// the table, U another and W a view; lines on U begin with its name. In a case for every kind of key, K is the list of key columns, #1
// the values of key 1, and the table has the rows of baseRows; the column names
// of an error message are T.K.
type captureCase struct {
	desc    string
	table   string           // CREATE TABLE T for a case with a table of its own, else it runs on each kind of key
	more    string           // CREATE TABLE U, beside T
	outside string           // what an outside program makes: triggers, views
	setup   []string         // requests before, one version each, or none
	request string           // statements, separated by "; "
	last    sqlite.Statement // one more, for parameters
	fails   string           // the error in the last slot
	ours    bool             // plain SQLite takes the request: only we refuse
	changes string           // lines "key@causal length column=value …"; "" is no version
	clocks  string           // lines "key@causal length version[columns]…" that differ from those before
}

// Versions go by these names in the expected clocks: base for that of baseRows,
// s1, s2 … for those of setup, new for that of the request.

// keyKind is a kind of key, with the table that has it. Columns a, b and c are
// the data columns everywhere.
type keyKind struct {
	name, table, key, value string
}

var keyKinds = []keyKind{
	{"integer", "CREATE TABLE T(id INTEGER PRIMARY KEY, a TEXT, b INTEGER NOT NULL DEFAULT 7, c REAL)", "id", "%d"},
	{"text", "CREATE TABLE T(a TEXT, k TEXT NOT NULL PRIMARY KEY, b INTEGER NOT NULL DEFAULT 7, c REAL)", "k", "'k%d'"},
	{"composite", "CREATE TABLE T(x INTEGER NOT NULL, a TEXT, y TEXT NOT NULL, b INTEGER NOT NULL DEFAULT 7, c REAL, PRIMARY KEY(y, x))", "y, x", "'y%[1]d',%[1]d"},
	{"without rowid", "CREATE TABLE T(a TEXT, k TEXT NOT NULL PRIMARY KEY, b INTEGER NOT NULL DEFAULT 7, c REAL) WITHOUT ROWID", "k", "'k%d'"},
	{"composite without rowid", "CREATE TABLE T(x INTEGER NOT NULL, a TEXT, y TEXT NOT NULL, b INTEGER NOT NULL DEFAULT 7, c REAL, PRIMARY KEY(y, x)) WITHOUT ROWID", "y, x", "'y%[1]d',%[1]d"},
}

const baseRows = "INSERT INTO T(K, a, b, c) VALUES(#1, 'a1', 1, 1.5), (#2, 'a2', 2, NULL), (#3, NULL, 3, 3)"

var captureWord = regexp.MustCompile(`\bT\.K\b|\b[TUWK]\b|#\d`)

// spell puts a table and a kind of key into a text.
func (k keyKind) spell(table, text string) string {
	return captureWord.ReplaceAllStringFunc(text, func(word string) string {
		switch word {
		case "T":
			return table
		case "U", "W":
			return table + strings.ToLower(word)
		case "K":
			return k.key
		case "T.K":
			return table + "." + strings.ReplaceAll(k.key, " ", " "+table+".")
		}
		return fmt.Sprintf(k.value, int(word[1]-'0'))
	})
}

// eachClock reads every row clock of a table, in no order.
func (n *node) eachClock(t *table, f func(key []sqlite.Value, k *changeset.Clock) error) {
	n.t.Helper()
	err := n.readers.use(n.t.Context(), sqlite.ModeInternal, func(c *sqlite.Conn) error {
		return eachClock(c, n.actors.Load(), t, f)
	})
	if err != nil {
		n.t.Fatal(err)
	}
}

// captureRun runs cases on one store, each with a table of its own, and beside a
// plain SQLite with the same tables.
type captureRun struct {
	t     *testing.T
	kind  keyKind
	node  *node
	plain *plain
}

// caseRun is one case while it runs.
type caseRun struct {
	*captureRun
	captureCase
	name  string
	names map[changeset.Stamp]string // of the case's versions
}

// runCaptureCasesOn runs the cases on each of some kinds of key; under -short not
// on the last, since others are like it.
func runCaptureCasesOn(t *testing.T, kinds []keyKind, cases []captureCase) {
	if testing.Short() {
		kinds = kinds[:len(kinds)-1]
	}
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) { runCaptureCases(t, kind, cases) })
	}
}

// runCaptureCases runs the cases on a kind of key; on their own tables if it has
// no name. A second store that takes the changesets must end up equal, and a
// third that takes them in another order, in batches and some twice.
func runCaptureCases(t *testing.T, kind keyKind, cases []captureCase) {
	var schema, triggers strings.Builder
	name := func(i int) string { return fmt.Sprintf("t%02d", i) }
	for i, c := range cases {
		table := c.table
		if table == "" {
			table = kind.table
		}
		fmt.Fprintf(&schema, "%s;\n%s;\n", kind.spell(name(i), table), kind.spell(name(i), c.more))
		fmt.Fprintf(&triggers, "%s;\n", kind.spell(name(i), c.outside))
	}
	r := &captureRun{t, kind, start(t, Config{Schema: schemaOf(schema.String())}), newPlain(t, schema.String())}
	outside(t, r.node.cfg.Path, triggers.String())
	r.plain.must(triggers.String())
	for i, c := range cases {
		t.Run(c.desc, func(t *testing.T) {
			run := &caseRun{&captureRun{t, kind, r.node, r.plain}, c, name(i), map[changeset.Stamp]string{}}
			r.node.t, r.plain.t = t, t
			defer func() { r.node.t, r.plain.t = r.t, r.t }()
			run.run()
		})
	}
	checkClocks(t, r.node)
	for _, choose := range []func([]changeset.ID) []changeset.ID{
		func(ids []changeset.ID) []changeset.ID { return ids },
		shuffledAndDoubled(rand.New(rand.NewPCG(1, 1))),
	} {
		replica := start(t, Config{Schema: schemaOf(schema.String())})
		for range 20 {
			replica.pullSome(r.node, choose)
		}
		replica.pull(r.node)
		requireEqual(t, r.node, replica)
		checkClocks(t, replica)
	}
}

// shuffledAndDoubled chooses some of the versions, in any order, a few twice.
func shuffledAndDoubled(r *rand.Rand) func([]changeset.ID) []changeset.ID {
	return func(ids []changeset.ID) []changeset.ID {
		r.Shuffle(len(ids), func(a, b int) { ids[a], ids[b] = ids[b], ids[a] })
		ids = ids[:len(ids)-r.IntN(len(ids)/2+1)]
		return append(ids, ids[:len(ids)/3]...)
	}
}

func (r *caseRun) run() {
	if r.table == "" {
		r.version("base", r.statements(baseRows, sqlite.Statement{}))
	}
	for i, sql := range r.setup {
		r.version(fmt.Sprint("s", i+1), r.statements(sql, sqlite.Statement{}))
	}
	before := r.clockLines()
	request := r.statements(r.request, r.last)
	results, id, err := r.node.Transact(r.t.Context(), request)
	if err != nil {
		r.t.Fatal(err)
	}
	failed := ""
	if last := results[len(results)-1]; last.Err != nil {
		failed = last.Err.Error()
	}
	if want := r.spell(r.fails); failed != want {
		r.t.Errorf("error %q, want %q", failed, want)
	}
	if !r.ours {
		r.compare(request, results)
	}
	if id.Version != 0 {
		r.changed(id, before)
	} else if r.changes != "" {
		r.t.Errorf("no version, want\n%s", r.spell(r.changes))
	}
	want := maps.Clone(before)
	for _, line := range r.lines(r.clocks) {
		key, clock, _ := strings.Cut(line, "@")
		want[key] = clockLine{text: clock}
	}
	if got, want := r.clockLines().String(), want.String(); got != want {
		r.t.Errorf("clocks\n%s\nwant\n%s", got, want)
	}
	if r.table == "" {
		// A clock that went to another row shows when the row is written again:
		// the stores that take the changesets keep clocks by keys of their own.
		r.version("later", r.statements("UPDATE T SET a = 'later'; DELETE FROM T WHERE b = 3", sqlite.Statement{}))
	}
}

// changed compares the changes of the request, and what it says to come after:
// the highest version among those that gave the rows it touches their clocks.
func (r *caseRun) changed(id changeset.ID, before caseClocks) {
	c := r.note("new", id)
	var got []string
	after := changeset.ID{Actor: id.Actor}
	for _, tc := range c.Tables {
		for _, ch := range tc.Changes {
			line := r.prefix(tc.Name) + join(ch.Key)
			after.Version = max(after.Version, before[line].version)
			line += fmt.Sprintf("@%d", ch.CausalLength)
			n := 0
			for i := range ch.Columns.All {
				line += fmt.Sprintf(" %s=%s", tc.Columns[i], shorten(ch.Values[n]))
				n++
			}
			got = append(got, line)
		}
	}
	slices.Sort(got)
	if got, want := strings.Join(got, "\n"), strings.Join(r.lines(r.changes), "\n"); got != want {
		r.t.Errorf("changes\n%s\nwant\n%s", got, want)
	}
	if after.Version == 0 && len(c.After) == 0 {
		return
	}
	if len(c.After) != 1 || c.After[0] != after {
		r.t.Errorf("after %v, want %v", c.After, after)
	}
}

// shorten keeps what a mismatch prints readable.
func shorten(v sqlite.Value) string {
	s := v.String()
	if len(s) > 60 {
		return fmt.Sprintf("%v of %d", v.Kind(), len(v.Bytes()))
	}
	return s
}

func (r *caseRun) spell(text string) string { return r.kind.spell(r.name, text) }

func (r *caseRun) lines(text string) (out []string) {
	for line := range strings.Lines(r.spell(text)) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	slices.Sort(out)
	return out
}

func (r *caseRun) statements(sql string, last sqlite.Statement) (out []sqlite.Statement) {
	for _, s := range strings.Split(sql, "; ") {
		if s != "" {
			out = append(out, text(r.spell(s)))
		}
	}
	if last.SQL != "" {
		last.SQL = r.spell(last.SQL)
		out = append(out, last)
	}
	return out
}

// version runs a request that must succeed, on both sides, and names its version.
func (r *caseRun) version(name string, request []sqlite.Statement) {
	r.t.Helper()
	results, id, err := r.node.Transact(r.t.Context(), request)
	if err != nil || results[len(results)-1].Err != nil {
		r.t.Fatalf("%s: %v, %+v", name, err, results)
	}
	r.compare(request, results)
	if id.Version != 0 {
		r.note(name, id)
	}
}

// note names a version's stamp.
func (r *caseRun) note(name string, id changeset.ID) *changeset.Changeset {
	r.t.Helper()
	s, err := r.node.Changeset(r.t.Context(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	c, err := s.Decode()
	if err != nil {
		r.t.Fatal(err)
	}
	r.names[c.Stamp()] = name
	return c
}

// compare runs a request on plain SQLite too: its answers and the rows of the
// table are those of the store.
func (r *caseRun) compare(request []sqlite.Statement, got []sqlite.Result) {
	r.t.Helper()
	want := r.plain.transact(request)
	if len(want) != len(got) {
		r.t.Fatalf("%d results, SQLite has %d: %+v", len(got), len(want), want)
	}
	for i := range want {
		if g, w := describeResult(request[i], got[i]), describeResult(request[i], want[i]); g != w {
			r.t.Errorf("%s\nstore  %s\nSQLite %s", request[i].SQL, g, w)
		}
	}
	for _, table := range []string{"T", "U"} {
		table := r.node.schema.Load().lookup(r.spell(table))
		if table == nil {
			continue
		}
		var key []string
		for _, i := range table.key {
			key = append(key, quoteIdent(table.columns[i].name))
		}
		sql := "SELECT * FROM " + table.name + " ORDER BY " + strings.Join(key, ", ")
		if g, w := r.node.query(sql), r.plain.query(sql); g != w {
			r.t.Errorf("%s holds\n%s\nin SQLite\n%s", table.name, g, w)
		}
	}
}

// prefix is what begins the lines of a table.
func (r *caseRun) prefix(table string) string {
	if table == r.name {
		return ""
	}
	return table + " "
}

// clockLine is a row's clock with its versions by name, and the highest of them.
type clockLine struct {
	text    string
	version changeset.Version
}

// caseClocks has them by key.
type caseClocks map[string]clockLine

func (l caseClocks) String() string {
	var out []string
	for key, line := range l {
		out = append(out, key+"@"+line.text)
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

func (r *caseRun) clockLines() caseClocks {
	lines := caseClocks{}
	for _, name := range []string{"T", "U"} {
		t := r.node.schema.Load().lookup(r.spell(name))
		if t == nil {
			continue
		}
		r.node.eachClock(t, func(key []sqlite.Value, k *changeset.Clock) error {
			line := clockLine{text: fmt.Sprint(k.CausalLength)}
			slices.SortFunc(k.Groups, func(x, y changeset.Group) int { return int(x.Stamp.Version) - int(y.Stamp.Version) })
			for _, g := range k.Groups {
				var columns []string
				for d := range g.Columns.All {
					columns = append(columns, t.columns[t.data[d]].name)
				}
				stamp, ok := r.names[g.Stamp]
				if !ok {
					stamp = fmt.Sprintf("%+v", g.Stamp)
				}
				line.text += fmt.Sprintf(" %s%v", stamp, columns)
				line.version = max(line.version, g.Stamp.Version)
			}
			lines[r.prefix(t.name)+join(key)] = line
			return nil
		})
	}
	return lines
}
