package store

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// sealAfter seals one changeset of a made-up actor that comes after others.
func sealAfter(t *testing.T, id changeset.ID, tables []changeset.TableChanges, after ...changeset.ID) changeset.Sealed {
	t.Helper()
	h := changeset.Header{Actor: id.Actor, Version: id.Version, Time: testTime(), After: after}
	if id.Version > 1 {
		h.Previous = changeset.Hash{1}
	}
	s, err := changeset.Seal(&changeset.Changeset{Header: h, Tables: tables})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestMisfitParksWithoutWaiting: what the schema cannot hold would wait for
// nothing, and take the room of those that can.
func TestMisfitParksWithoutWaiting(t *testing.T) {
	t.Parallel()
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	actor, absent := changeset.NewActorID(), changeset.ID{Actor: changeset.NewActorID(), Version: 1}
	apply(t, n,
		sealAfter(t, changeset.ID{Actor: actor, Version: 2}, row("item", 1, 1, "d", "x"), absent),
		sealAfter(t, changeset.ID{Actor: actor, Version: 1}, row("item", 1, 2, "a", "x"), absent))
	if p := n.Parked(); len(p) != 1 || p[0].Version != 2 || p[0].Reason != "no column item.d" {
		t.Errorf("parked %+v", p)
	}
	if got := n.Queues()[2].Depth; got != 1 {
		t.Errorf("%d wait, want the one that fits", got)
	}
}

// TestFullDiskWhileTheParkedAreJudged: SQLite then takes the whole transaction
// back, and nothing of it may go on alone.
func TestFullDiskWhileTheParkedAreJudged(t *testing.T) {
	t.Parallel()
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	actor := changeset.NewActorID()
	s := sealAll(t, actor, testTime(), row("item", 1, 1, "d", strings.Repeat("x", 300_000)), row("item", 1, 2, "d", "small"))
	apply(t, n, s...)
	limit := func(pages string) {
		t.Helper()
		var err error
		n.onWriter(func(w *writer) {
			w.conn.SetMode(sqlite.ModeInternal)
			err = w.conn.Exec("PRAGMA max_page_count = " + pages)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	release := n.holdWriter() // no tick comes before the limit
	outside(t, n.cfg.Path, "ALTER TABLE item ADD COLUMN d TEXT")
	n.writer.conn.SetMode(sqlite.ModeInternal)
	if err := n.writer.conn.Exec("PRAGMA max_page_count = 1"); err != nil { // SQLite takes the present size
		t.Fatal(err)
	}
	release()
	if err := n.Reload(t.Context(), nil); !errors.Is(err, sqlite.ErrFull) {
		t.Errorf("reload: %v, want ErrFull", err)
	}
	if got := n.internal("SELECT count(*) FROM __patina_log UNION ALL SELECT count(*) FROM __patina_parked"); got != "0\n2" || len(n.Parked()) != 2 {
		t.Errorf("logged and parked: %s; %+v", got, n.Parked())
	}
	limit("1000000")
	if err := n.Reload(t.Context(), nil); err != nil {
		t.Errorf("reload once there is room: %v", err)
	}
	if got := n.query("SELECT id, length(d) FROM item"); got != "1|300000\n2|5" || len(n.Parked()) != 0 {
		t.Errorf("rows %s, parked %+v", got, n.Parked())
	}
}

// TestDamagedRowKeepsItsParkedAndNobodyFromStarting.
func TestDamagedRowKeepsItsParkedAndNobodyFromStarting(t *testing.T) {
	t.Parallel()
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	n.exec("INSERT INTO item(id) VALUES(1)")
	apply(t, n, sealAll(t, changeset.NewActorID(), testTime(), row("item", 1, 1, "d", "x"), row("item", 1, 2, "d", "y"))...)
	n.stop()
	outside(t, n.cfg.Path, "UPDATE __patina_clk_item SET m = x'01'; ALTER TABLE item ADD COLUMN d TEXT")
	n = start(t, Config{Path: n.cfg.Path, Schema: schemaOf(itemsSchema)})
	n.tampered = true
	if p := n.Parked(); len(p) != 1 || p[0].Version != 1 || !strings.Contains(p[0].Reason, "damaged") {
		t.Errorf("parked %+v", p)
	}
	if got := n.query("SELECT id, d FROM item"); got != "1|NULL\n2|'y'" {
		t.Errorf("rows %s", got)
	}
}

// TestManyParkedStayCheap: neither parking nor judging one looks at all others
// for each.
func TestManyParkedStayCheap(t *testing.T) {
	many := 5000
	if testing.Short() {
		many = 1000
	}
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	var list [][]changeset.TableChanges
	for i := range many {
		list = append(list, row("item", 1, i, "d", "x"))
	}
	s := sealAll(t, changeset.NewActorID(), testTime(), list...)
	for i := many - 500; i >= 0; i -= 500 { // from behind
		apply(t, n, s[i:i+500]...)
	}
	p := n.Parked()
	for i := range p {
		if p[i].Version != changeset.Version(i+1) {
			t.Fatalf("parked %d is version %d", i, p[i].Version)
		}
	}
	if err := n.Reload(t.Context(), schemaOf(strings.Replace(itemsSchema, "c REAL)", "c REAL, d TEXT)", 1))); err != nil {
		t.Fatal(err)
	}
	if got := n.query("SELECT count(*) FROM item WHERE d = 'x'"); got != strconv.Itoa(many) || len(n.Parked()) != 0 || len(p) != many {
		t.Errorf("%s rows, %d parked before and %d now", got, len(p), len(n.Parked()))
	}
}

// TestWaitingRoomCountsMemory: a value in memory is many times its bytes on the
// wire, and one changeset that is larger than the room must still get in.
func TestWaitingRoomCountsMemory(t *testing.T) {
	t.Parallel()
	in, err := newIncoming(sealAll(t, changeset.NewActorID(), testTime(), row("item", 1, 1, "a", nil, "b", 1, "c", nil))[0])
	if err != nil || in.size < len(in.sealed.Data)+4*32 {
		t.Errorf("size %d of %d bytes, %v", in.size, len(in.sealed.Data), err)
	}
	room, now := newWaitingRoom(), testTime().Time()
	large := func(v changeset.Version) incoming {
		l := incoming{size: waitingBytes + 1}
		l.sealed.Version = v
		l.sealed.After = []changeset.ID{{Version: 99}}
		return l
	}
	if !room.add(large(1), now) || room.add(large(2), now) || !room.add(large(1), now) {
		t.Error("want the first alone")
	}
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	if ready := room.take(n.Vector(), now); len(ready) != 0 {
		t.Errorf("%d left before their time", len(ready))
	}
	if ready := room.take(n.Vector(), now.Add(waitLimit)); len(ready) != 1 || room.bytes != 0 {
		t.Errorf("%d ready, %d bytes left", len(ready), room.bytes)
	}
}
