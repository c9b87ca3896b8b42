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
// not take it for delivered.
func TestFullWaitingRoomIsAnError(t *testing.T) {
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
}

// TestIndexThatRaisesParks: the error of an index that an outside program made
// stops the one changeset alone.
func TestIndexThatRaisesParks(t *testing.T) {
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	outside(t, n.cfg.Path, "CREATE INDEX j ON item(json_extract(a, '$'))")
	s := sealAll(t, changeset.NewActorID(), testTime(), row("item", 1, 1, "a", "1"), row("item", 1, 2, "a", "no json"), row("item", 1, 3, "a", "3"))
	apply(t, n, s...)
	if got := n.query("SELECT group_concat(id) FROM item"); got != "'1,3'" {
		t.Errorf("rows %s", got)
	}
	if p := n.Parked(); len(p) != 1 || !strings.Contains(p[0].Reason, "malformed JSON") {
		t.Errorf("parked %+v", p)
	}
}
