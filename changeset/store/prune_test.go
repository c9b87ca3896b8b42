package store

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/hlc"
	"github.com/patinadb/patina/sync/versions"
)

// prune looks at the log now, and again for as long as there is something to do.
func (n *node) prune(now time.Time) {
	n.t.Helper()
	n.onWriter(func(w *writer) {
		for again := true; again; again = !w.nextPrune.After(now) {
			w.nextPrune = now
			if err := w.pruneLog(now); err != nil {
				n.t.Fatal(err)
			}
		}
	})
}

// logged lists the versions of an actor that the log has.
func (n *node) logged(actor changeset.ActorID) string {
	n.t.Helper()
	var set versions.Set
	for v := range n.Vector().Entry(actor).Applied.Last() {
		_, err := n.Changeset(n.t.Context(), changeset.ID{Actor: actor, Version: v + 1})
		switch {
		case err == nil:
			set.Add(versions.Range{First: v + 1, Last: v + 1})
		case !errors.Is(err, ErrNotInLog):
			n.t.Fatal(err)
		}
	}
	return set.String()
}

// insertRows makes versions of ours, a row each.
func (n *node) insertRows(count int) {
	n.t.Helper()
	for range count {
		n.exec("INSERT INTO item(a) VALUES(hex(randomblob(50)))")
	}
}

// TestLogIsPruned by its bytes and its age, the oldest first, down to the newest of
// each actor.
func TestLogIsPruned(t *testing.T) {
	t.Parallel()
	const entry = 100 // no entry has less bytes than this
	foreign := changeset.NewActorID()
	start := func(t *testing.T, cfg Config, remote time.Duration) *node {
		cfg.Schema = schemaOf(itemsSchema)
		n := start(t, cfg)
		n.insertRows(20)
		apply(t, n, sealAll(t, foreign, hlc.At(time.Now().Add(remote), 0),
			row("item", 1, 1001, "a", strings.Repeat("z", 300)), row("item", 1, 1002, "a", strings.Repeat("z", 300)), row("item", 1, 1003, "a", "x"))...)
		return n
	}
	t.Run("bytes", func(t *testing.T) {
		n := start(t, Config{LogMaxBytes: 16 * entry}, time.Minute)
		own := n.Actor()
		n.prune(time.Now())
		// Ours are older: they go first, and the last of them stays.
		if got, other := n.logged(own), n.logged(foreign); got == "1-20" || !strings.HasSuffix(got, "20") || other != "1-3" || n.Log().Bytes > 16*entry {
			t.Errorf("log has %s of ours and %s, %d bytes", got, other, n.Log().Bytes)
		}
		if l := n.Log(); l.Pruned == 0 || l.Held != "" {
			t.Errorf("state %+v", l)
		}
	})
	t.Run("oldest first", func(t *testing.T) {
		n := start(t, Config{LogMaxBytes: 20 * entry}, -time.Minute)
		n.prune(time.Now())
		if other := n.logged(foreign); other != "3" {
			t.Errorf("log has %s of the one whose are the oldest, %s of ours", other, n.logged(n.Actor()))
		}
	})
	t.Run("age", func(t *testing.T) {
		n := start(t, Config{LogMaxAge: time.Hour}, 2*time.Hour)
		n.prune(time.Now().Add(time.Hour - time.Minute))
		if got := n.logged(n.Actor()); got != "1-20" {
			t.Errorf("within the hour the log has %s", got)
		}
		n.prune(time.Now().Add(time.Hour + time.Minute))
		if got, other := n.logged(n.Actor()), n.logged(foreign); got != "20" || other != "1-3" {
			t.Errorf("after the hour the log has %s, of the younger one %s", got, other)
		}
	})
	t.Run("no bound", func(t *testing.T) {
		n := start(t, Config{}, 0)
		n.prune(time.Now().Add(24 * 365 * time.Hour))
		if got := n.logged(n.Actor()); got != "1-20" {
			t.Errorf("log has %s", got)
		}
	})
}

// TestPrunedLogAmountsToTheSame after a restart and after a crash.
func TestPrunedLogAmountsToTheSame(t *testing.T) {
	t.Parallel()
	n := start(t, Config{Schema: schemaOf(itemsSchema), LogMaxBytes: 1})
	n.insertRows(30)
	n.exec("DELETE FROM item WHERE id % 3 = 0")
	n.prune(time.Now())
	n.insertRows(2)
	if got := n.logged(n.Actor()); got != "31-33" {
		t.Fatalf("log has %s", got)
	}
	check := func(what string, m *node, own changeset.ActorID) {
		t.Helper()
		if a, b := n.Sums(), m.Sums(); !a.Vector.Equal(b.Vector) || !maps.Equal(a.Tables, b.Tables) {
			t.Errorf("%s: %+v, before %+v", what, b, a)
		}
		if got := m.logged(own); got != "31-33" {
			t.Errorf("%s: log has %s", what, got)
		}
		m.onWriter(func(w *writer) {
			if got := m.internal("SELECT sum(length(data)) FROM __patina_log"); got != fmt.Sprint(w.logBytes) {
				t.Errorf("%s: log of %s bytes, counted %d", what, got, w.logBytes)
			}
		})
	}
	check("after a crash", start(t, Config{Path: snapshotOf(t, n), Schema: n.cfg.Schema}), n.Actor())
	before, head := n.Actor(), n.Sums()
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	n = start(t, n.cfg)
	check("after a restart", n, before)
	if n.Actor() != before || !head.Vector.Equal(n.Sums().Vector) {
		t.Errorf("another actor, or vector %v instead of %v", n.Sums().Vector, head.Vector)
	}
	if id := n.exec("INSERT INTO item(a) VALUES('on')"); id.Version != 34 {
		t.Errorf("the next version is %d", id.Version)
	}
	sealed, err := n.Changeset(t.Context(), changeset.ID{Actor: before, Version: 34})
	if err != nil || sealed.Previous != head.Vector.Entry(before).Head {
		t.Errorf("it follows %x, the head was %x (%v)", sealed.Previous, head.Vector.Entry(before).Head, err)
	}
}

// TestLogIsKeptForPeers that lack something, until nobody heard of them for a while.
func TestLogIsKeptForPeers(t *testing.T) {
	t.Parallel()
	now := time.Now()
	clock := &atomic.Int64{} // nanoseconds on top of now
	n := start(t, Config{Schema: schemaOf(itemsSchema), LogMaxBytes: 1, Now: func() time.Time { return now.Add(time.Duration(clock.Load())) }})
	n.insertRows(10)
	own, near, far := n.Actor(), changeset.NewActorID(), changeset.NewActorID()
	holds := func(ranges ...versions.Range) *versions.Vector {
		v := versions.NewVector()
		v.Put(own, versions.Entry{Applied: versions.SetOf(ranges...)})
		return v
	}
	expect := func(what, logged, held string) {
		t.Helper()
		n.prune(n.cfg.Now())
		if got := n.logged(own); got != logged || !strings.Contains(n.Log().Held, held) || (held == "") != (n.Log().Held == "") {
			t.Errorf("%s: log has %s, held by %q; want %s, %q", what, got, n.Log().Held, logged, held)
		}
	}
	n.KnowPeer(own) // nobody waits for himself
	n.KnowPeer(near)
	expect("a peer that said nothing", "1-10", near.String())
	n.HearVector(near, holds(versions.Range{First: 1, Last: 4}, versions.Range{First: 6, Last: 10}))
	expect("a peer with a gap", "5-10", near.String())
	v := holds(versions.Range{First: 1, Last: 5})
	e := v.Entry(own)
	e.Parked = versions.SetOf(versions.Range{First: 6, Last: 7})
	v.Put(own, e)
	n.HearVector(near, v)
	expect("what is parked there is there", "8-10", near.String())
	n.HearVector(far, holds(versions.Range{First: 1, Last: 10}))
	n.KnowPeer(near)
	expect("two peers", "8-10", near.String())
	n.HearVector(near, holds(versions.Range{First: 1, Last: 10}))
	expect("all hold all", "10", "")

	n.insertRows(2)
	clock.Store(int64(peerKept / 2))
	n.HearVector(far, holds(versions.Range{First: 1, Last: 12}))
	expect("the other one", "11-12", near.String())
	clock.Store(int64(peerKept + time.Minute))
	expect("the one that was silent counts no more", "12", "")
}

// TestLogIsPrunedByItself once the members had a minute to come up.
func TestLogIsPrunedByItself(t *testing.T) {
	now := time.Now()
	clock := &atomic.Int64{}
	n := start(t, Config{Schema: schemaOf(itemsSchema), LogMaxBytes: 1, Now: func() time.Time { return now.Add(time.Duration(clock.Load())) }})
	n.insertRows(2*pruneEntries + 10)
	n.onWriter((*writer).catchUp)
	if got := n.Log(); got.Pruned != 0 || got.Bytes == 0 {
		t.Errorf("at once: %+v", got)
	}
	clock.Store(int64(pruneAfterStart))
	eventually(t, "the log is pruned", func() bool { return n.Log().Pruned == 2*pruneEntries+9 })
}

// TestFailedPruningLeavesTheLog as it was, in the file and in memory.
func TestFailedPruningLeavesTheLog(t *testing.T) {
	t.Parallel()
	n := start(t, Config{Schema: schemaOf(itemsSchema), LogMaxBytes: 1})
	n.insertRows(10)
	outside(t, n.cfg.Path, "CREATE TRIGGER guard BEFORE DELETE ON __patina_log WHEN old.k & 1099511627775 = 5 BEGIN SELECT RAISE(ABORT, 'on purpose'); END")
	n.onWriter(func(w *writer) {
		size := w.logBytes
		w.nextPrune = time.Now()
		if err := w.pruneLog(time.Now()); err == nil || w.logBytes != size {
			t.Errorf("error %v, %d bytes, before %d", err, w.logBytes, size)
		}
	})
	if got := n.logged(n.Actor()); got != "1-10" || n.Log().Pruned != 0 {
		t.Errorf("log has %s, %+v", got, n.Log())
	}
	outside(t, n.cfg.Path, "DROP TRIGGER guard")
	n.prune(time.Now())
	if got := n.logged(n.Actor()); got != "10" {
		t.Errorf("log has %s", got)
	}
}

// TestLogIsLookedAtWhenSomethingMayGo and left alone before: entries are read from
// the disk for it.
func TestLogIsLookedAtWhenSomethingMayGo(t *testing.T) {
	t.Parallel()
	now := time.Now()
	n := start(t, Config{Schema: schemaOf(itemsSchema), LogMaxBytes: 1 << 40, LogMaxAge: 100 * time.Hour})
	n.tampered, n.damaged = true, true
	n.insertRows(3)
	n.prune(now)
	outside(t, n.cfg.Path, "UPDATE __patina_log SET data = x'00'") // who looks, fails
	looks := func(after time.Duration) (looked bool) {
		n.onWriter(func(w *writer) {
			w.nextPrune = now
			looked = w.pruneLog(now.Add(after)) != nil
		})
		return looked
	}
	for _, test := range []struct {
		after time.Duration
		want  bool
	}{{pruneHeldPeriod, false}, {9 * time.Hour, false}, {10 * time.Hour, true}, {101 * time.Hour, true}} {
		if got := looks(test.after); got != test.want {
			t.Errorf("after %v: looked %v", test.after, got)
		}
	}
	n.onWriter(func(w *writer) { w.logBytes = 1<<40 + 1 })
	if !looks(0) {
		t.Error("not looked at with too many bytes")
	}
}
