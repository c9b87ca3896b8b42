package store

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/patinadb/patina/changeset"
)

// FuzzDecodeClock: whatever a clock's bytes are, decoding them takes no more
// memory than they stand for, never panics, and what it accepts is written and
// read again as the same clock.
func FuzzDecodeClock(f *testing.F) {
	actors := (&actorTable{}).with(changeset.ActorID{1}).with(changeset.ActorID{2})
	for _, k := range []changeset.Clock{
		{CausalLength: 1, Groups: []changeset.Group{{Columns: changeset.FirstColumns(3), Stamp: changeset.Stamp{Time: testTime(), Actor: actors.ids[0], Version: 1}}}},
		{CausalLength: changeset.MaxCausalLength, Groups: []changeset.Group{{Stamp: changeset.Stamp{Time: 1, Actor: actors.ids[1], Version: changeset.MaxVersion}}}},
		{CausalLength: 3, Groups: []changeset.Group{
			{Columns: changeset.ColumnSet{}.With(1).With(70), Stamp: changeset.Stamp{Time: testTime(), Actor: actors.ids[0], Version: 1 << 20}},
			{Columns: changeset.FirstColumns(1), Stamp: changeset.Stamp{Time: testTime(), Actor: actors.ids[1], Version: 9}},
		}},
	} {
		b := actors.appendClock(nil, &k)
		f.Add(b)
		f.Add(b[:len(b)-1])
	}
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		given := bytes.Clone(b)
		var k, again changeset.Clock
		err := actors.decodeClock(b, &k)
		if !bytes.Equal(b, given) {
			t.Fatal("the input was changed")
		}
		if err != nil {
			if !errors.Is(err, errDamaged) {
				t.Fatalf("error %v, want errDamaged", err)
			}
			return
		}
		if len(k.Groups) == 0 || k.CausalLength == 0 {
			t.Fatalf("accepted %x as %+v", b, k)
		}
		stored := actors.appendClock(nil, &k)
		if err := actors.decodeClock(stored, &again); err != nil || again.CausalLength != k.CausalLength || !sameGroups(k.Groups, again.Groups) {
			t.Fatalf("%+v is %+v when read again, %v", k, again, err)
		}
	})
}

func sameGroups(a, b []changeset.Group) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Stamp != b[i].Stamp || !reflect.DeepEqual(members(a[i].Columns), members(b[i].Columns)) {
			return false
		}
	}
	return true
}

func members(s changeset.ColumnSet) (out []int) {
	for i := range s.All {
		out = append(out, i)
	}
	return out
}
