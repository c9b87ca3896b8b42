package store

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/sync/versions"
)

// meet gives n a peer's vector.
func (n *node) meet(v *versions.Vector) {
	n.t.Helper()
	if err := n.MeetVector(n.t.Context(), changeset.ActorID{15: 1}, v); err != nil {
		n.t.Fatal(err)
	}
}

// vectorOf has one actor.
func vectorOf(a changeset.ActorID, e versions.Entry) *versions.Vector {
	v := versions.NewVector()
	v.Put(a, e)
	return v
}

// write makes versions of n's own and returns them.
func (n *node) write(versions int) (out []changeset.Sealed) {
	n.t.Helper()
	for range versions {
		s, err := n.Changeset(n.t.Context(), n.exec("INSERT INTO item(a) VALUES('x')"))
		if err != nil {
			n.t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

func between(first, last changeset.Version) versions.Set {
	return versions.SetOf(versions.Range{First: first, Last: last})
}

// TestOwnVersionsAtAPeerMeanANewActor: those above our head, applied there or parked.
func TestOwnVersionsAtAPeerMeanANewActor(t *testing.T) {
	for _, test := range []struct {
		desc    string
		entry   func(head changeset.Hash) versions.Entry
		renewed bool
	}{
		{"our head", func(h changeset.Hash) versions.Entry { return versions.Entry{Applied: between(1, 2), Head: h} }, false},
		{"less than our head", func(h changeset.Hash) versions.Entry { return versions.Entry{Parked: between(1, 1)} }, false},
		{"nothing", func(h changeset.Hash) versions.Entry { return versions.Entry{} }, false},
		{"above our head", func(h changeset.Hash) versions.Entry {
			return versions.Entry{Applied: between(1, 3), Head: changeset.Hash{3}}
		}, true},
		{"parked above our head", func(h changeset.Hash) versions.Entry {
			return versions.Entry{Applied: between(1, 2), Parked: between(3, 3), Head: h}
		}, true},
	} {
		t.Run(test.desc, func(t *testing.T) {
			log := &alarms{}
			n := start(t, Config{Schema: schemaOf(itemsSchema), Log: log.logger()})
			old := n.Actor()
			n.exec("INSERT INTO item(id) VALUES(1)")
			n.exec("INSERT INTO item(id) VALUES(2)")
			v := vectorOf(old, test.entry(n.Vector().Entry(old).Head))
			n.meet(v)
			n.meet(v)
			if renewed := n.Actor() != old; renewed != test.renewed || renewed != (n.Renewals() == 1) || renewed != (log.count("was rolled back") == 1) {
				t.Errorf("actor %v was %v, %d renewals, log %q", n.Actor(), old, n.Renewals(), log.lines)
			}
			if f := n.Forked(); len(f) > 0 {
				t.Errorf("forks %+v", f)
			}
			if id := n.exec("INSERT INTO item(id) VALUES(3)"); id.Actor != n.Actor() {
				t.Errorf("version %+v by %v", id, n.Actor())
			}
			if v := n.Vector().Entry(old).Applied.Last(); test.renewed && v != 2 {
				t.Errorf("the old actor's head is %d", v)
			}
		})
	}
}

// TestForkIsShownByHeads that a peer reports, of anybody and of us.
func TestForkIsShownByHeads(t *testing.T) {
	t.Parallel()
	foreign := changeset.NewActorID()
	for _, test := range []struct {
		desc   string
		has    func(mine, other []changeset.Sealed) versions.Entry
		reason string // begins so; empty: no fork
	}{
		{"the same head", func(mine, _ []changeset.Sealed) versions.Entry {
			return versions.Entry{Applied: between(1, 3), Head: mine[2].Hash}
		}, ""},
		{"a lower head of one history", func(mine, _ []changeset.Sealed) versions.Entry {
			return versions.Entry{Applied: between(1, 2), Head: mine[1].Hash}
		}, ""},
		{"a head among holes of one history", func(mine, _ []changeset.Sealed) versions.Entry {
			return versions.Entry{Applied: between(2, 2), Parked: between(3, 3), Head: mine[1].Hash}
		}, ""},
		{"versions without a head", func(_, _ []changeset.Sealed) versions.Entry {
			return versions.Entry{Applied: between(1, 3)}
		}, ""},
		{"parked versions alone", func(mine, _ []changeset.Sealed) versions.Entry {
			return versions.Entry{Parked: between(1, 3)}
		}, ""},
		{"another head", func(_, other []changeset.Sealed) versions.Entry {
			return versions.Entry{Applied: between(1, 3), Head: other[2].Hash}
		}, "version 3 is "},
		{"another head with holes", func(_, other []changeset.Sealed) versions.Entry {
			return versions.Entry{Applied: between(3, 3), Head: other[2].Hash}
		}, "version 3 is "},
		{"a lower head of another history", func(_, other []changeset.Sealed) versions.Entry {
			return versions.Entry{Applied: between(1, 2), Head: other[1].Hash}
		}, "version 2 is "},
		{"a head that is parked here", func(_, other []changeset.Sealed) versions.Entry {
			return versions.Entry{Applied: between(1, 1), Head: other[0].Hash}
		}, "version 1 is "},
	} {
		t.Run(test.desc, func(t *testing.T) {
			for _, own := range []bool{false, true} {
				log := &alarms{}
				n := start(t, Config{Schema: schemaOf(itemsSchema), Log: log.logger()})
				actor, first := foreign, n.Actor()
				mine := sealAll(t, actor, testTime(), row("later", 1, 1, "v", "x"), row("item", 1, 2, "a", "x"), row("item", 1, 3, "a", "x"))
				if own {
					actor, mine = first, n.write(3)
				} else {
					apply(t, n, mine...)
				}
				_, other := branches(t, actor, 3)
				v := vectorOf(actor, test.has(mine, other))
				n.meet(v)
				n.meet(v)
				f := n.Forked()
				if marked := len(f) > 0; marked != (test.reason != "") || marked && (f[0].Actor != actor || !strings.HasPrefix(f[0].Reason, test.reason)) {
					t.Errorf("own %t: forks %+v, want one that begins with %q", own, f, test.reason)
				}
				if renewed := n.Actor() != first; renewed != (own && test.reason != "") || n.Forks() != uint64(len(f)) || log.count("forked history") != len(f) {
					t.Errorf("own %t: renewed %t, %d forks counted, log %q", own, renewed, n.Forks(), log.lines)
				}
			}
		})
	}
}

// TestWhatTheWriterKnowsDecides: the snapshots that a vector was first compared with
// may be of before a commit that the peer knows of.
func TestWhatTheWriterKnowsDecides(t *testing.T) {
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	own := n.Actor()
	n.exec("INSERT INTO item(id) VALUES(1)")
	v := n.Vector()
	n.onWriter(func(w *writer) {
		if err := w.meetVector(changeset.ActorID{1}, v, []changeset.ActorID{own}); err != nil {
			t.Error(err)
		}
	})
	if n.Actor() != own || len(n.Forked()) > 0 {
		t.Errorf("actor %v was %v, forks %+v", n.Actor(), own, n.Forked())
	}
}

// TestMeetingWaitsForTheWriterOnlyIfItMust: a vector that shows nothing costs no
// turn of it, and who waits stops when its context ends.
func TestMeetingWaitsForTheWriterOnlyIfItMust(t *testing.T) {
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	forked, actor := changeset.NewActorID(), changeset.NewActorID()
	mine, other := branches(t, forked, 2)
	apply(t, n, mine[0], other[1])
	whole, apart := branches(t, actor, 3)
	apply(t, n, whole...)
	release := n.holdWriter()
	n.meet(n.Vector())
	n.meet(versions.NewVector())
	n.meet(vectorOf(changeset.NewActorID(), versions.Entry{Applied: between(1, 9), Head: changeset.Hash{1}}))
	n.meet(vectorOf(actor, versions.Entry{Applied: between(1, 2), Head: whole[1].Hash}))
	n.meet(vectorOf(actor, versions.Entry{Applied: between(1, 9), Head: changeset.Hash{1}}))
	n.meet(vectorOf(forked, versions.Entry{Applied: between(1, 1), Head: other[0].Hash}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	contrary := vectorOf(actor, versions.Entry{Applied: between(1, 3), Head: apart[2].Hash})
	if err := n.MeetVector(ctx, actor, contrary); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v with the writer held, want context.Canceled", err)
	}
	release()
	n.meet(contrary)
	if len(n.Forked()) != 2 {
		t.Errorf("forks %+v", n.Forked())
	}
}

// TestHeadsBeyondTheBoundHaveTheirTurn: a vector with more heads to look up than one
// meeting allows finds the one that contradicts in the end.
func TestHeadsBeyondTheBoundHaveTheirTurn(t *testing.T) {
	t.Parallel()
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	v := versions.NewVector()
	var batch []changeset.Sealed
	for i := range meetLookups + 50 {
		actor := changeset.NewActorID()
		if i == 0 {
			actor = changeset.ActorID{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
		}
		mine := sealAll(t, actor, testTime(), row("item", 1, i, "a", "x"), row("item", 1, i, "b", 1))
		batch = append(batch, mine...)
		head := mine[0].Hash
		if i == 0 { // the last in order
			head = changeset.Hash{1}
		}
		v.Put(actor, versions.Entry{Applied: between(1, 1), Head: head})
	}
	apply(t, n, batch...)
	eventually(t, "the one that contradicts is found", func() bool { n.meet(v); return len(n.Forked()) == 1 })
}
