package store

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset"
)

// TestRenewalIsToldWhateverBecomesOfTheChangeset: versions of our own that we
// lack make us another actor also if they must wait or cannot apply.
func TestRenewalIsToldWhateverBecomesOfTheChangeset(t *testing.T) {
	t.Parallel()
	late := row("item", 1, 2, "a", "lost")
	unfit := row("item", 1, 2, "a", "lost", "b", nil)
	for _, test := range []struct {
		desc  string
		table []changeset.TableChanges
		after changeset.Version
	}{{"waits", late, 1}, {"does not fit", unfit, 0}} {
		t.Run(test.desc, func(t *testing.T) {
			n := start(t, Config{Schema: schemaOf(itemsSchema)})
			old := n.Actor()
			c := &changeset.Changeset{Header: changeset.Header{Actor: old, Version: 2, Time: testTime(), Previous: changeset.Hash{1}}, Tables: test.table}
			if test.after > 0 {
				c.After = []changeset.ID{{Actor: old, Version: test.after}}
			}
			s, err := changeset.Seal(c)
			if err != nil {
				t.Fatal(err)
			}
			apply(t, n, s)
			select {
			case <-n.Renewed():
			default:
				t.Error("nobody was told")
			}
			if n.Actor() == old {
				t.Error("the actor stayed")
			}
			for range 2 {
				if id := n.exec("INSERT INTO item(a) VALUES('new')"); id.Actor == old {
					t.Errorf("version %+v", id)
				}
			}
		})
	}
}

// TestFullWaitingRoomIsAnError: what was dropped is not held, so its sender must
// not take it for delivered. It is counted, and taken when it comes again.
func TestFullWaitingRoomIsAnError(t *testing.T) {
	t.Parallel()
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	actor, absent := changeset.NewActorID(), changeset.ID{Actor: changeset.NewActorID(), Version: 1}
	seal := func(v int, after ...changeset.ID) changeset.Sealed {
		t.Helper()
		s, err := changeset.Seal(&changeset.Changeset{
			Header: changeset.Header{Actor: actor, Version: changeset.Version(v), Time: testTime(), Previous: changeset.Hash{1}, After: after},
			Tables: row("item", 1, v, "a", "x"),
		})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	var batch []changeset.Sealed
	for v := 2; v < waitingCount+3; v++ {
		batch = append(batch, seal(v, absent))
	}
	batch = append(batch, seal(waitingCount+9))
	if err := n.Apply(t.Context(), batch); !errors.Is(err, errNoRoom) {
		t.Errorf("error %v, want errNoRoom", err)
	}
	if got := n.query("SELECT id FROM item"); got != fmt.Sprint(waitingCount+9) {
		t.Errorf("rows %s: want what need not wait", got)
	}
	if q := n.Queues()[2]; q.Depth != waitingCount || q.Dropped != 1 {
		t.Errorf("waiting room %+v, want it full and one dropped", q)
	}
	apply(t, n, sealAll(t, absent.Actor, testTime(), row("item", 1, 1, "a", "it came"))...)
	if e := n.Vector().Entry(actor); e.Applied.Len() != waitingCount+1 || n.Queues()[2].Depth != 0 {
		t.Errorf("%d applied and %+v once it came", e.Applied.Len(), n.Queues()[2])
	}
	apply(t, n, batch...)
	if e := n.Vector().Entry(actor); int(e.Applied.Len()) != len(batch) {
		t.Errorf("%d of %d applied when they came again", e.Applied.Len(), len(batch))
	}
}

// TestOtherOrderAndCaseOfColumns: tables meet by folded names, whatever order
// each node's columns have.
func TestOtherOrderAndCaseOfColumns(t *testing.T) {
	t.Parallel()
	a := start(t, Config{Schema: schemaOf("CREATE TABLE item(id INTEGER PRIMARY KEY, a TEXT, b INTEGER, c REAL)")})
	b := start(t, Config{Schema: schemaOf("CREATE TABLE ITEM(C REAL, B INTEGER, ID INTEGER PRIMARY KEY, A TEXT)")})
	a.exec("INSERT INTO item VALUES(1, 'x', 2, 3), (2, 'y', NULL, 4)")
	b.pull(a)
	b.exec("UPDATE item SET a = 'z' WHERE id = 1", "UPDATE item SET b = 9", "INSERT INTO item(id, c) VALUES(3, 1)")
	a.exec("UPDATE item SET c = 0.5, b = 8 WHERE id = 2")
	a.pull(b)
	b.pull(a)
	const want = "1|'z'|9|3.0\n2|'y'|%s|0.5\n3|NULL|NULL|1.0"
	got := a.query("SELECT id, a, b, c FROM item")
	if got != strings.Replace(want, "%s", "8", 1) && got != strings.Replace(want, "%s", "9", 1) {
		t.Errorf("rows\n%s", got)
	}
	if other := b.query("SELECT id, a, b, c FROM item"); other != got {
		t.Errorf("rows\n%s\nand there\n%s", got, other)
	}
	if p := append(a.Parked(), b.Parked()...); len(p) > 0 {
		t.Errorf("parked %+v", p)
	}
}
