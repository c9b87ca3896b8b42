package store

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/hlc"
	"github.com/patinadb/patina/changeset/sqlite"
)

// sealAll seals changesets of a made-up actor, chained, one per table list.
func sealAll(t *testing.T, actor changeset.ActorID, at hlc.Timestamp, list ...[]changeset.TableChanges) []changeset.Sealed {
	t.Helper()
	var out []changeset.Sealed
	var previous changeset.Hash
	for i, tables := range list {
		s, err := changeset.Seal(&changeset.Changeset{
			Header: changeset.Header{Actor: actor, Version: changeset.Version(i + 1), Time: at + hlc.Timestamp(i), Previous: previous},
			Tables: tables,
		})
		if err != nil {
			t.Fatal(err)
		}
		previous = s.Hash
		out = append(out, s)
	}
	return out
}

// row makes a one-row change of a table keyed by id: columns and values in turn.
func row(table string, length changeset.CausalLength, key any, cells ...any) []changeset.TableChanges {
	tc := changeset.TableChanges{Name: table, Generation: 1, Key: []string{"id"}}
	ch := changeset.Change{Key: []sqlite.Value{value(key)}, CausalLength: length}
	for i := 0; i < len(cells); i += 2 {
		tc.Columns = append(tc.Columns, cells[i].(string))
		ch.Values = append(ch.Values, value(cells[i+1]))
	}
	ch.Columns = changeset.FirstColumns(len(ch.Values))
	tc.Changes = []changeset.Change{ch}
	return []changeset.TableChanges{tc}
}

func apply(t *testing.T, n *node, sealed ...changeset.Sealed) {
	t.Helper()
	if err := n.Apply(t.Context(), sealed); err != nil {
		t.Fatal(err)
	}
}

func testTime() hlc.Timestamp { return hlc.At(time.Now(), 0) }

func TestUnknownTableParksUntilTheSchemaArrives(t *testing.T) {
	t.Parallel()
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	actor := changeset.NewActorID()
	s := sealAll(t, actor, testTime(), row("later", 1, 1, "v", "x"), row("item", 1, 9, "a", "fits"), row("later", 1, 2, "v", "y", "w", "z"))
	apply(t, n, s...)
	if got := n.query("SELECT a FROM item WHERE id = 9"); got != "'fits'" {
		t.Errorf("a changeset behind a parked one: %q", got)
	}
	if p := n.Parked(); len(p) != 2 || p[0].ID != s[0].ID() || p[0].Reason != "no table later" {
		t.Fatalf("parked %+v", p)
	}
	if e := n.Vector().Entry(actor); e.Applied.Len() != 1 || e.Parked.Len() != 2 || !n.Vector().Holds(s[0].ID()) {
		t.Errorf("entry %+v", e)
	}
	if got, err := n.Changeset(t.Context(), s[0].ID()); err != nil || got.Hash != s[0].Hash {
		t.Errorf("a parked changeset is served: %v", err)
	}
	if err := n.Reload(t.Context(), schemaOf(itemsSchema+"CREATE TABLE later(id INTEGER PRIMARY KEY, v TEXT);")); err != nil {
		t.Fatal(err)
	}
	if got := n.query("SELECT * FROM later"); got != "1|'x'" {
		t.Errorf("rows %q", got)
	}
	if p := n.Parked(); len(p) != 1 || p[0].Reason != "no column later.w" {
		t.Errorf("parked %+v", p)
	}
	results, _, err := n.Migrate(t.Context(), []sqlite.Statement{{SQL: "CREATE TABLE later(id INTEGER PRIMARY KEY, v TEXT, w TEXT DEFAULT 'd')"}})
	if err != nil || results[0].Err != nil {
		t.Fatal(err, results)
	}
	if got := n.query("SELECT * FROM later"); got != "1|'x'|'d'\n2|'y'|'z'" {
		t.Errorf("rows %q", got)
	}
	if p, e := n.Parked(), n.Vector().Entry(actor); len(p) != 0 || e.Applied.Len() != 3 || e.Head != s[2].Hash {
		t.Errorf("parked %+v, entry %+v", p, e)
	}
}

func TestParkedSurvivesRestart(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/n.db"
	n := start(t, Config{Path: path, Schema: schemaOf(itemsSchema)})
	s := sealAll(t, changeset.NewActorID(), testTime(), row("later", 1, 1, "v", "x"))
	apply(t, n, s...)
	digest := n.Vector().Digest()
	n.stop()
	n = start(t, Config{Path: path, Schema: schemaOf(itemsSchema)})
	if p := n.Parked(); len(p) != 1 || p[0].ID != s[0].ID() || n.Vector().Digest() != digest || !n.Vector().Holds(s[0].ID()) {
		t.Errorf("parked %+v", p)
	}
}

func TestSchemaSkewParksOneChangesetOfABatch(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		desc, reason string
		bad          []changeset.TableChanges
	}{
		{"null", "NOT NULL constraint failed", row("item", 1, 3, "a", "x", "b", nil)},
		{"value of another class", "does not fit", row("item", 1, 3, "b", "12")},
		{"key of another class", "does not fit", row("item", 1, "x", "a", "x")},
		{"another key", "has another key", row("flag", 1, "x", "value", "x")},
		{"strict", "cannot store TEXT", row("strict", 1, 3, "n", "twelve")},
	} {
		t.Run(test.desc, func(t *testing.T) {
			n := start(t, Config{Schema: schemaOf(itemsSchema + "CREATE TABLE strict(id INTEGER PRIMARY KEY, n INTEGER) STRICT;")})
			s := sealAll(t, changeset.NewActorID(), testTime(), row("item", 1, 1, "a", "x"), test.bad, row("item", 1, 2, "a", "y"))
			apply(t, n, s...)
			if p := n.Parked(); len(p) != 1 || p[0].Version != 2 || !strings.Contains(p[0].Reason, test.reason) {
				t.Errorf("parked %+v, want version 2: %s", p, test.reason)
			}
			if got := n.query("SELECT id FROM item"); got != "1\n2" {
				t.Errorf("rows %q", got)
			}
		})
	}
}

// TestUpdateWaitsForItsInsert: a changeset whose `after` is absent is neither
// visible nor held until that came, or for two seconds.
func TestUpdateWaitsForItsInsert(t *testing.T) {
	t.Parallel()
	a := start(t, Config{Schema: schemaOf(itemsSchema)})
	b := start(t, Config{Schema: schemaOf(itemsSchema)})
	insert := a.exec("INSERT INTO item(id, a, c) VALUES(1, 'x', 5)")
	b.pull(a)
	update := b.exec("UPDATE item SET b = 8")
	get := func(from *node, id changeset.ID) changeset.Sealed {
		t.Helper()
		s, err := from.Changeset(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	u, i := get(b, update), get(a, insert)
	if len(u.After) != 1 || u.After[0] != insert {
		t.Fatalf("after is %v, want %v", u.After, insert)
	}
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	apply(t, n, u)
	if n.Vector().Holds(update) || n.query("SELECT count(*) FROM item") != "0" {
		t.Error("the update was seen before its insert")
	}
	apply(t, n, i)
	if !n.Vector().Holds(update) || n.query("SELECT b FROM item") != "8" {
		t.Error("the update did not follow its insert")
	}
	requireEqual(t, b, n)

	lone := start(t, Config{Schema: schemaOf(itemsSchema)})
	begin := time.Now()
	apply(t, lone, u)
	eventually(t, "the update leaves the waiting room", func() bool { return lone.Vector().Holds(update) })
	if d := time.Since(begin); d < waitLimit {
		t.Errorf("the update waited %v, want %v", d, waitLimit)
	}
	// Rule 3: the row is made, with what the update does not carry at its apply default.
	if got := lone.query("SELECT * FROM item"); got != "1|NULL|8|NULL" {
		t.Errorf("row %s", got)
	}
	apply(t, lone, i)
	requireEqual(t, b, lone)
}

func TestMergeRules(t *testing.T) {
	t.Parallel()
	low, high := changeset.ActorID{1}, changeset.ActorID{2}
	at := testTime()
	for _, test := range []struct {
		desc, want string
		a, b       []changeset.TableChanges
		bTime      hlc.Timestamp
	}{
		{"later time wins", "1|'b'|7|NULL", row("item", 1, 1, "a", "a"), row("item", 1, 1, "a", "b"), at + 9},
		{"earlier time loses", "1|'a'|7|NULL", row("item", 1, 1, "a", "a"), row("item", 1, 1, "a", "b"), at - 9},
		{"equal time: the higher actor wins", "1|'b'|7|NULL", row("item", 1, 1, "a", "a"), row("item", 1, 1, "a", "b"), at},
		{"columns merge apart", "1|'a'|3|NULL", row("item", 1, 1, "a", "a"), row("item", 1, 1, "b", 3), at},
		{"delete beats later update", "", row("item", 2, 1), row("item", 1, 1, "a", "b"), at + 9},
		{"longer life starts afresh", "1|NULL|3|NULL", row("item", 1, 1, "a", "a"), row("item", 3, 1, "b", 3), at - 9},
	} {
		t.Run(test.desc, func(t *testing.T) {
			x, y := sealAll(t, low, at, test.a), sealAll(t, high, test.bTime, test.b)
			n, m := start(t, Config{Schema: schemaOf(itemsSchema)}), start(t, Config{Schema: schemaOf(itemsSchema)})
			apply(t, n, x[0])
			apply(t, n, y[0])
			apply(t, m, y[0])
			apply(t, m, x[0], x[0])
			if got := n.query("SELECT * FROM item"); got != test.want {
				t.Errorf("row %s, want %s", got, test.want)
			}
			requireEqual(t, n, m)
		})
	}
}

// TestLocalWriteBeatsAStampFromTheFuture: whoever overwrites a row that a fast
// clock stamped wins, without dragging the clock of anything else.
func TestLocalWriteBeatsAStampFromTheFuture(t *testing.T) {
	t.Parallel()
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	ahead := hlc.At(time.Now().Add(time.Hour), 0)
	s := sealAll(t, changeset.NewActorID(), ahead, row("item", 1, 1, "a", "future"))
	apply(t, n, s...)
	if n.Drifted() != 1 {
		t.Errorf("drifted %d, want 1", n.Drifted())
	}
	out := n.together(
		[]sqlite.Statement{text("INSERT INTO item(id, a) VALUES(2, 'plain')")},
		[]sqlite.Statement{text("UPDATE item SET a = 'mine' WHERE id = 1")},
		[]sqlite.Statement{text("INSERT INTO item(id, a) VALUES(3, 'plain')")},
	)
	var times []hlc.Timestamp
	for i, o := range out {
		if o.failure() != "" {
			t.Fatalf("request %d: %s", i, o.failure())
		}
		c, err := n.Changeset(t.Context(), o.id)
		if err != nil {
			t.Fatal(err)
		}
		times = append(times, c.Time)
	}
	soon := hlc.At(time.Now().Add(time.Minute), 0)
	if times[1] <= ahead || times[0] > soon || times[2] > soon {
		t.Errorf("times %v: want only the second above %v", times, ahead)
	}
	m := start(t, Config{Schema: schemaOf(itemsSchema)})
	m.pull(n)
	requireEqual(t, n, m)
	if got := m.query("SELECT a FROM item WHERE id = 1"); got != "'mine'" {
		t.Errorf("a is %s", got)
	}
}

// TestApplyIgnoresTriggersChecksAndGenerated: those hold where a row is written.
func TestApplyIgnoresChecksAndFillsGenerated(t *testing.T) {
	t.Parallel()
	const schema = "CREATE TABLE c(id INTEGER PRIMARY KEY, v INTEGER CHECK(v < 10), d INTEGER AS (v * 2) STORED);"
	n := start(t, Config{Schema: schemaOf(schema)})
	apply(t, n, sealAll(t, changeset.NewActorID(), testTime(), row("c", 1, 1, "v", 50))...)
	if got := n.query("SELECT * FROM c"); got != "1|50|100" {
		t.Errorf("row %s, parked %v", got, n.Parked())
	}
	if got := n.refused("INSERT INTO c(id, v) VALUES(2, 11)"); !strings.Contains(got, "CHECK constraint failed") {
		t.Errorf("error %q", got)
	}
}

func TestOwnVersionsFromAPeerMeanANewActor(t *testing.T) {
	t.Parallel()
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	old := n.Actor()
	n.exec("INSERT INTO item(id, a) VALUES(1, 'x')")
	lost := sealAll(t, old, testTime(), row("item", 1, 1, "a", "x"), row("item", 1, 2, "a", "lost"))
	apply(t, n, lost[1])
	if n.Actor() == old {
		t.Fatal("the actor stayed")
	}
	if id := n.exec("INSERT INTO item(id, a) VALUES(3, 'new')"); id.Actor != n.Actor() || id.Version != 1 {
		t.Errorf("version %+v", id)
	}
	if got := n.query("SELECT id FROM item"); got != "1\n2\n3" {
		t.Errorf("rows %q", got)
	}
}

func TestTryApplyDropsWhenFull(t *testing.T) {
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	release := n.holdWriter()
	actor, full := changeset.NewActorID(), false
	var list [][]changeset.TableChanges
	for i := range applyCapacity + 10 {
		list = append(list, row("item", 1, i, "a", fmt.Sprint(i)))
	}
	for _, s := range sealAll(t, actor, testTime(), list...) {
		full = !n.TryApply(s) || full
	}
	release()
	if !full || n.Queues()[1].Dropped != 10 {
		t.Errorf("queues %+v, want 10 dropped", n.Queues())
	}
}
