package store

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
	"github.com/patinadb/patina/sync/versions"
)

// fillFrom takes the whole state of a store, as the two nodes would, and returns how
// many rows came.
func (n *node) fillFrom(from *node) int64 {
	n.t.Helper()
	held, first := n.Vector().AppliedOnly(), from.Vector()
	if err := n.BeginFill(n.t.Context(), from.Actor(), first, from.StateTables()); err != nil {
		n.t.Fatal(err)
	}
	for !n.Filling().Complete {
		n.takePart(from, held)
	}
	return n.Filling().Rows
}

func (n *node) takePart(from *node, held *versions.Vector) {
	n.t.Helper()
	p, err := from.ReadState(n.t.Context(), n.Filling().Cursor, held)
	if err == nil {
		err = n.FillPart(n.t.Context(), p)
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

// forget empties the log but for each actor's newest, as pruning does.
func (n *node) forget() {
	n.t.Helper()
	n.damaged = true
	n.onWriter(func(w *writer) {
		err := w.transaction(func() error {
			return w.conn.Exec("DELETE FROM __patina_log WHERE k NOT IN (SELECT max(k) FROM __patina_log GROUP BY k >> 40)")
		})
		if err != nil {
			n.t.Error(err)
		}
	})
}

// longHistory fills a store with rows of every layout, deleted ones, columns of several
// stamps, versions of other actors.
func longHistory(t *testing.T, n, peer *node) {
	t.Helper()
	for i := range 30 {
		n.exec(fmt.Sprintf("INSERT INTO item(id, a) VALUES(%d, 'x'), (%d, 'y')", i, i+100), fmt.Sprintf("INSERT INTO flag VALUES('f%d', %d)", i, i),
			fmt.Sprintf("INSERT INTO service(region, name) VALUES('r%d', 'n%d')", i%7, i), fmt.Sprintf("INSERT INTO edge VALUES('a%d', 'b')", i))
	}
	peer.pull(n)
	peer.exec("UPDATE item SET b = id WHERE id % 3 = 0", "UPDATE service SET note = name", "DELETE FROM flag WHERE value % 5 = 0")
	n.exec("UPDATE item SET c = 1.5 WHERE id % 4 = 0", "DELETE FROM item WHERE id % 10 = 7", "DELETE FROM edge WHERE a < 'a2'", "DELETE FROM service WHERE region = 'r3'")
	peer.exec("INSERT INTO flag VALUES('f0', 'again')")
	n.pull(peer)
	peer.pull(n)
	requireEqual(t, n, peer)
}

// forgotten returns a store with a long history that its log does not have any more,
// and an empty one.
func forgotten(t *testing.T) (n, empty *node) {
	t.Helper()
	cfg := Config{Schema: schemaOf(itemsSchema)}
	n, peer, empty := start(t, cfg), start(t, cfg), start(t, cfg)
	longHistory(t, n, peer)
	n.forget()
	return n, empty
}

// TestFillOfAnEmptyStore: rows, clocks, sums and vector are the source's, and what both
// write afterwards merges.
func TestFillOfAnEmptyStore(t *testing.T) {
	t.Parallel()
	n, empty := forgotten(t)
	if rows := empty.fillFrom(n); rows < 150 {
		t.Errorf("%d rows came", rows)
	}
	if lacks, err := empty.SettleFill(t.Context()); err != nil || len(lacks) != 0 || empty.Filling() != nil {
		t.Fatalf("lacks %v, %v", lacks, err)
	}
	requireEqual(t, n, empty)
	if _, err := empty.Changeset(t.Context(), changeset.ID{Actor: n.Actor(), Version: 1}); !errors.Is(err, ErrNotInLog) {
		t.Errorf("what came as state is served: %v", err)
	}
	empty.exec("UPDATE item SET a = 'here'", "DELETE FROM edge", "INSERT INTO flag VALUES('new', 1)")
	n.exec("INSERT INTO edge VALUES('a1', 'b')", "UPDATE flag SET value = 'there'", "DELETE FROM service")
	n.pull(empty)
	empty.pull(n)
	requireEqual(t, n, empty)
	empty = reopened(t, empty, empty.cfg.Path, "")
	requireEqual(t, n, empty)
}

// TestFillOfAStoreThatWasAway brings only what its vector does not cover.
func TestFillOfAStoreThatWasAway(t *testing.T) {
	t.Parallel()
	cfg := Config{Schema: schemaOf(itemsSchema)}
	n, peer, away := start(t, cfg), start(t, cfg), start(t, cfg)
	longHistory(t, n, peer)
	away.pull(n)
	n.exec("UPDATE item SET a = 'later' WHERE id IN (1, 2)", "DELETE FROM flag WHERE name = 'f1'", "INSERT INTO edge VALUES('later', 'b')")
	away.exec("UPDATE item SET b = 77 WHERE id = 1", "INSERT INTO flag VALUES('away', 1)", "DELETE FROM item WHERE id = 2")
	n.exec("UPDATE service SET port = 9 WHERE region = 'r1' AND name = 'n1'")
	n.forget()
	if rows := away.fillFrom(n); rows != 5 {
		t.Errorf("%d rows came", rows)
	}
	if lacks, err := away.SettleFill(t.Context()); err != nil || len(lacks) != 0 {
		t.Fatalf("lacks %v, %v", lacks, err)
	}
	n.pull(away)
	requireEqual(t, n, away)
}

// TestFillWhileTheSourceWrites: the store is being filled until it has the rest of
// every transaction that it saw a part of, over restarts of both.
func TestFillWhileTheSourceWrites(t *testing.T) {
	t.Parallel()
	n, empty := forgotten(t)
	held, first := empty.Vector().AppliedOnly(), n.Vector()
	if err := empty.BeginFill(t.Context(), n.Actor(), first, n.StateTables()); err != nil {
		t.Fatal(err)
	}
	empty.takePart(n, held) // of edge
	n.exec("INSERT INTO edge VALUES('half', 'b'), ('a0', 'back')", "UPDATE item SET a = 'half' WHERE id = 1")
	n.exec("INSERT INTO service(region, name) VALUES('only', 'later')")
	empty = reopened(t, empty, empty.cfg.Path, "")
	if f := empty.Filling(); f == nil || f.Source != n.Actor() || f.Complete || f.Cursor == nil || !f.First.Equal(first) || f.Rows == 0 {
		t.Fatalf("after a restart %+v", f)
	}
	n = reopened(t, n, n.cfg.Path, "")
	n.damaged = true
	for !empty.Filling().Complete {
		empty.takePart(n, held)
	}
	if _, err := empty.ReadState(t.Context(), nil, held); !errors.Is(err, ErrFilling) {
		t.Errorf("a store that is being filled gave state: %v", err)
	}
	lacks, err := empty.SettleFill(t.Context())
	if err != nil || len(lacks) != 1 || lacks[0].Actor != n.Actor() || lacks[0].Len() != 2 {
		t.Fatalf("lacks %v, %v", lacks, err)
	}
	if got := empty.query("SELECT a FROM item WHERE id = 1"); got != "'half'" {
		t.Errorf("item 1 is %s", got)
	}
	empty = reopened(t, empty, empty.cfg.Path, "")
	if f := empty.Filling(); f == nil || !f.Complete {
		t.Fatalf("after a restart %+v", f)
	}
	empty.pull(n)
	if lacks, err := empty.SettleFill(t.Context()); err != nil || len(lacks) != 0 || empty.Filling() != nil {
		t.Fatalf("lacks %v, %v", lacks, err)
	}
	requireEqual(t, n, empty)
}

// TestFillNeedsTheTables of the source, with their columns.
func TestFillNeedsTheTables(t *testing.T) {
	t.Parallel()
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	n.exec("INSERT INTO item(id) VALUES(1)")
	for schema, want := range map[string]string{
		"CREATE TABLE item(id INTEGER PRIMARY KEY, a TEXT, b INTEGER NOT NULL DEFAULT 7, c REAL)": "no table edge",
		strings.Replace(itemsSchema, ", c REAL", "", 1):                                           "no column item.c",
		strings.Replace(itemsSchema, "PRIMARY KEY(a, b)", "PRIMARY KEY(b, a)", 1):                 "table edge has another key",
	} {
		empty := start(t, Config{Schema: schemaOf(schema)})
		err := empty.BeginFill(t.Context(), n.Actor(), n.Vector(), n.StateTables())
		if err == nil || !strings.Contains(err.Error(), want) || empty.Filling() != nil {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// TestFillPartIsAllOrNothing: a block that does not fit leaves rows, cursor and sums.
func TestFillPartIsAllOrNothing(t *testing.T) {
	t.Parallel()
	cfg := Config{Schema: schemaOf(itemsSchema)}
	n, empty := start(t, cfg), start(t, cfg)
	n.exec("INSERT INTO item(id, a) VALUES(1, 'x')")
	if err := empty.FillPart(t.Context(), StatePart{Vector: n.Vector()}); !errors.Is(err, errNotFilling) {
		t.Errorf("without a begin: %v", err)
	}
	if err := empty.BeginFill(t.Context(), n.Actor(), n.Vector(), n.StateTables()); err != nil {
		t.Fatal(err)
	}
	before := empty.Filling()
	names := n.StateTables()[2]
	e, err := changeset.NewStateEncoder(&names)
	if err != nil || names.Name != "item" {
		t.Fatal(names.Name, err)
	}
	stamp := changeset.Stamp{Time: 1 << 40, Actor: n.Actor(), Version: 1}
	for _, key := range []sqlite.Value{changeset.IntegerValue(5), changeset.TextValue("no integer")} {
		e.Add(&changeset.RowState{Key: []sqlite.Value{key}, Clock: changeset.Clock{CausalLength: 1, Groups: []changeset.Group{{Columns: changeset.Columns(0), Stamp: stamp}}}, Values: []sqlite.Value{changeset.TextValue("v")}})
	}
	err = empty.FillPart(t.Context(), StatePart{Block: e.Bytes(), Vector: n.Vector()})
	if err == nil || !strings.Contains(err.Error(), "row 'no integer'") {
		t.Errorf("a key that does not fit: %v", err)
	}
	if empty.Filling() != before || empty.query("SELECT count(*) FROM item") != "0" || empty.Vector().Len() != 0 {
		t.Errorf("%+v, %s", empty.Filling(), empty.content())
	}
	if err := empty.FillPart(t.Context(), StatePart{Block: []byte{1, 2}, Vector: n.Vector()}); !errors.Is(err, changeset.ErrTruncated) {
		t.Errorf("half a block: %v", err)
	}
}
