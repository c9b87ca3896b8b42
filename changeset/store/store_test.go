package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
	"github.com/patinadb/patina/sync/versions"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(crashEnv); path != "" {
		fmt.Println("failed", crashWriter(path)) // it ends by a kill alone
		os.Exit(1)
	}
	if path := os.Getenv(outsideReaderEnv); path != "" {
		if err := outsideReader(path); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// node is a running store with what the tests want to know of it.
type node struct {
	*Store
	t    *testing.T
	stop func() error

	tampered  bool       // somebody else changed rows or clocks: see checkSums
	damaged   bool       // and the log, or what there is: see checkFile
	mu        sync.Mutex // guards committed
	committed []Committed
}

const itemsSchema = `CREATE TABLE item(id INTEGER PRIMARY KEY, a TEXT, b INTEGER NOT NULL DEFAULT 7, c REAL);
CREATE TABLE service(region TEXT NOT NULL, name TEXT NOT NULL, port INTEGER, note TEXT, PRIMARY KEY(region, name)) WITHOUT ROWID;
CREATE TABLE flag(name TEXT NOT NULL PRIMARY KEY, value TEXT);
CREATE TABLE edge(a TEXT NOT NULL, b TEXT NOT NULL, PRIMARY KEY(a, b));`

func schemaOf(sql string) []SchemaFile { return []SchemaFile{{Name: "test.sql", SQL: sql}} }

// start opens and runs a store on path until the test ends or stop is called.
func start(t *testing.T, cfg Config) *node {
	t.Helper()
	n, err := tryStart(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func tryStart(t *testing.T, cfg Config) (*node, error) {
	n, err := launch(t, cfg)
	if err == nil {
		t.Cleanup(func() {
			if err := n.stop(); err != nil && !errors.Is(err, ErrReplaced) {
				t.Errorf("stop: %v", err)
			}
		})
	}
	return n, err
}

// launch is tryStart for a caller who stops the store.
func launch(t *testing.T, cfg Config) (*node, error) {
	n := &node{t: t}
	if cfg.Path == "" {
		cfg.Path = filepath.Join(t.TempDir(), "node.db")
	}
	cfg.Committed = func(cs []Committed) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.committed = append(n.committed, cs...)
	}
	s, err := Open(t.Context(), cfg)
	if err != nil {
		return nil, err
	}
	n.Store = s
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	n.stop = sync.OnceValue(func() error {
		cancel()
		err := <-ended
		n.checkSums()
		if closed := s.Close(); err == nil {
			err = closed
		}
		n.checkFile()
		return err
	})
	return n, nil
}

// eventually waits for a condition, for at most ten seconds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	ticks := time.NewTicker(time.Millisecond)
	defer ticks.Stop()
	for deadline := time.Now().Add(10 * time.Second); !condition(); <-ticks.C {
		if time.Now().After(deadline) {
			t.Fatalf("did not happen: %s", what)
		}
	}
}

func text(sql string, params ...any) sqlite.Statement {
	st := sqlite.Statement{SQL: sql}
	for _, p := range params {
		st.Params = append(st.Params, value(p))
	}
	return st
}

func value(p any) sqlite.Value {
	switch p := p.(type) {
	case nil:
		return changeset.NullValue()
	case int:
		return changeset.IntegerValue(int64(p))
	case float64:
		return changeset.RealValue(p)
	case string:
		return changeset.TextValue(p)
	case []byte:
		return changeset.BlobValue(p)
	}
	panic(fmt.Sprintf("no value of %T", p))
}

// exec runs statements as one transaction that must succeed.
func (n *node) exec(statements ...string) changeset.ID {
	n.t.Helper()
	var sts []sqlite.Statement
	for _, s := range statements {
		sts = append(sts, sqlite.Statement{SQL: s})
	}
	results, id, err := n.Transact(n.t.Context(), sts)
	if err != nil {
		n.t.Fatalf("%q: %v", statements, err)
	}
	if last := results[len(results)-1]; last.Err != nil {
		n.t.Fatalf("%q: %v", statements, last.Err)
	}
	return id
}

// refused runs one statement that must fail in its slot and returns the text.
func (n *node) refused(sql string) string {
	n.t.Helper()
	results, id, err := n.Transact(n.t.Context(), []sqlite.Statement{{SQL: sql}})
	if err != nil {
		n.t.Fatalf("%q: %v", sql, err)
	}
	if len(results) != 1 || results[0].Err == nil || id.Version != 0 {
		n.t.Fatalf("%q: results %+v, version %d, want one error and no version", sql, results, id.Version)
	}
	return results[0].Err.Error()
}

type rows struct {
	columns []string
	lines   []string
}

func (r *rows) Columns(names []string) error { r.columns = names; return nil }

func (r *rows) Row(values []sqlite.Value) error {
	var cells []string
	for _, v := range values {
		cells = append(cells, v.String())
	}
	r.lines = append(r.lines, strings.Join(cells, "|"))
	return nil
}

// query returns the rows as SQL literals, a line each.
func (n *node) query(sql string) string {
	n.t.Helper()
	var r rows
	if err := n.Query(n.t.Context(), sqlite.Statement{SQL: sql}, &r); err != nil {
		n.t.Fatalf("%q: %v", sql, err)
	}
	return strings.Join(r.lines, "\n")
}

// internal reads with our own permissions.
func (n *node) internal(sql string) string {
	n.t.Helper()
	var r rows
	err := n.readers.use(n.t.Context(), sqlite.ModeInternal, func(c *sqlite.Conn) error { return query(c, sqlite.Statement{SQL: sql}, &r) })
	if err != nil {
		n.t.Fatalf("%q: %v", sql, err)
	}
	return strings.Join(r.lines, "\n")
}

// content is every replicated table, in key order.
func (n *node) content() string {
	n.t.Helper()
	var b strings.Builder
	for _, t := range n.schema.Load().sorted() {
		var key, all []string
		for _, i := range t.key {
			key = append(key, quoteIdent(t.columns[i].name))
		}
		for i := range t.columns {
			all = append(all, quoteIdent(t.columns[i].name))
		}
		fmt.Fprintf(&b, "%s\n%s\n", t.name, n.query("SELECT "+strings.Join(all, ",")+" FROM "+quoteIdent(t.name)+" ORDER BY "+strings.Join(key, ",")))
	}
	return b.String()
}

// clocks is every row clock with actors by their ids.
func (n *node) clocks() string {
	n.t.Helper()
	var b strings.Builder
	for _, t := range n.schema.Load().sorted() {
		fmt.Fprintf(&b, "%s\n", t.name)
		var rows []string
		n.eachClock(t, func(key []sqlite.Value, k *changeset.Clock) error {
			var row strings.Builder
			for _, v := range key {
				fmt.Fprintf(&row, "%v ", v)
			}
			rows = append(rows, row.String()+printClock(t, k))
			return nil
		})
		for _, row := range sortedStrings(rows) {
			fmt.Fprintln(&b, row)
		}
	}
	return b.String()
}

// printClock lists a clock's groups sorted by stamp, with columns by name.
func printClock(t *table, k *changeset.Clock) string {
	var groups []string
	for _, g := range k.Groups {
		var names []string
		for d := range g.Columns.All {
			names = append(names, t.columns[t.data[d]].name)
		}
		groups = append(groups, fmt.Sprintf("%v %v %d %v", g.Stamp.Time, g.Stamp.Actor, g.Stamp.Version, sortedStrings(names)))
	}
	return fmt.Sprintf("cl %d %v", k.CausalLength, sortedStrings(groups))
}

// pull gives n what from has and n lacks, in the given order of versions.
func (n *node) pull(from *node) {
	n.t.Helper()
	n.pullSome(from, func(ids []changeset.ID) []changeset.ID { return ids })
}

func (n *node) pullSome(from *node, choose func([]changeset.ID) []changeset.ID) {
	n.t.Helper()
	var ids []changeset.ID
	for _, need := range versions.Missing(n.Vector(), from.Vector()) {
		for _, r := range need.Ranges {
			for v := r.First; v <= r.Last; v++ {
				ids = append(ids, changeset.ID{Actor: need.Actor, Version: v})
			}
		}
	}
	var batch []changeset.Sealed
	for _, id := range choose(ids) {
		s, err := from.Changeset(n.t.Context(), id)
		if err != nil {
			n.t.Fatal(err)
		}
		batch = append(batch, s)
	}
	if err := n.Apply(n.t.Context(), batch); err != nil {
		n.t.Fatal(err)
	}
}

func sortedStrings(s []string) []string {
	out := append([]string(nil), s...)
	for i := range out {
		for j := i; j > 0 && out[j] < out[j-1]; j-- {
			out[j], out[j-1] = out[j-1], out[j]
		}
	}
	return out
}

func requireEqual(t *testing.T, nodes ...*node) {
	t.Helper()
	for _, n := range nodes[1:] {
		if a, b := nodes[0].Vector().Digest(), n.Vector().Digest(); a != b {
			t.Fatalf("vectors differ: %x, %x", a, b)
		}
		if a, b := nodes[0].Sums(), n.Sums(); !maps.Equal(a.Tables, b.Tables) {
			t.Fatalf("sums differ: %v, %v", a.Tables, b.Tables)
		}
		if a, b := nodes[0].content(), n.content(); a != b {
			t.Fatalf("content differs:\n%s\n--- and\n%s", a, b)
		}
		if a, b := nodes[0].clocks(), n.clocks(); a != b {
			t.Fatalf("clocks differ:\n%s\n--- and\n%s", a, b)
		}
	}
}

func TestWritesReplicateBetweenTwoStores(t *testing.T) {
	a := start(t, Config{Schema: schemaOf(itemsSchema)})
	b := start(t, Config{Schema: schemaOf(itemsSchema)})
	if id := a.exec("INSERT INTO item(id, a) VALUES(1, 'x'), (2, 'y')", "INSERT INTO service VALUES('eu', 'web', 80, NULL)", "INSERT INTO edge VALUES('p', 'q')"); id.Version != 1 || id.Actor != a.Actor() {
		t.Fatalf("version %+v, want 1 of %v", id, a.Actor())
	}
	b.pull(a)
	requireEqual(t, a, b)
	b.exec("UPDATE item SET a = 'z', c = 1 WHERE id = 1", "DELETE FROM item WHERE id = 2", "UPDATE service SET port = 81")
	b.exec("INSERT INTO flag VALUES('dark', 'on')")
	a.exec("UPDATE item SET b = 9 WHERE id = 1")
	a.pull(b)
	b.pull(a)
	requireEqual(t, a, b)
	if got, want := a.query("SELECT * FROM item"), "1|'z'|9|1.0"; got != want {
		t.Fatalf("item is %s, want %s", got, want)
	}
}
