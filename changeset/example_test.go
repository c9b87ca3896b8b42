package changeset_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/hlc"
)

// A changeset is sealed at its origin, travels packed, and is decoded where it
// is applied.
func Example() {
	sealed, err := changeset.Seal(&changeset.Changeset{
		Header: changeset.Header{
			Actor:   changeset.ActorID{0xa1},
			Version: 1,
			Time:    hlc.At(time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC), 0),
		},
		Tables: []changeset.TableChanges{{
			Name: "services", Generation: 1, Key: []string{"id"}, Columns: []string{"name", "port"},
			Changes: []changeset.Change{
				{Key: []changeset.Value{changeset.IntegerValue(7)}, CausalLength: 2}, // deleted
				{
					Key: []changeset.Value{changeset.IntegerValue(4)}, CausalLength: 1,
					Columns: changeset.Columns(1), Values: []changeset.Value{changeset.IntegerValue(8080)},
				},
			},
		}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	wire := changeset.Pack(sealed.Data)

	data, err := changeset.Unpack(wire)
	if err != nil {
		fmt.Println(err)
		return
	}
	received, err := changeset.Open(data)
	if err != nil {
		fmt.Println(err)
		return
	}
	c, err := received.Decode()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("same:", received.Hash == sealed.Hash)
	for _, t := range c.Tables {
		for _, change := range t.Changes {
			fmt.Println(t.Name, change.Key, "alive:", change.CausalLength.Alive(), "columns:", t.Columns, change.Values)
		}
	}
	// Output:
	// same: true
	// services [4] alive: true columns: [port] [8080]
	// services [7] alive: false columns: [port] []
}

// Two nodes update different columns of one row at the same time; a third
// deletes it. Whatever the order, the row ends deleted, and a re-insert starts
// it afresh.
func ExampleClock_Merge() {
	stamp := func(t hlc.Timestamp, actor byte) changeset.Stamp {
		return changeset.Stamp{Time: t, Actor: changeset.ActorID{actor}, Version: 1}
	}
	names := [...]string{"ignored", "updated", "created", "deleted"}
	var row changeset.Clock
	show := func(what string, d changeset.Decision) {
		fmt.Print(what, ": ", names[d.Outcome])
		for i := range d.Columns.All {
			fmt.Print(" ", i)
		}
		fmt.Println()
	}
	show("insert of columns 0 and 1", row.Merge(1, changeset.FirstColumns(2), stamp(10, 1)))
	show("later update of 1", row.Merge(1, changeset.Columns(1), stamp(30, 2)))
	show("earlier update of both", row.Merge(1, changeset.FirstColumns(2), stamp(20, 3)))
	show("deletion before all that", row.Merge(2, changeset.ColumnSet{}, stamp(15, 3)))
	show("update of the deleted row", row.Merge(1, changeset.Columns(0), stamp(99, 1)))
	show("re-insert", row.Merge(3, changeset.Columns(0), stamp(40, 2)))
	// Output:
	// insert of columns 0 and 1: created 0 1
	// later update of 1: updated 1
	// earlier update of both: updated 0
	// deletion before all that: deleted
	// update of the deleted row: ignored
	// re-insert: created 0
}

// A decode error says what is wrong, where, and of which class it is.
func ExampleDecodeError() {
	_, err := changeset.Open([]byte{changeset.FormatVersion + 1, 0, 0})
	fmt.Println(err)
	fmt.Println(errors.Is(err, changeset.ErrUnsupported))
	// Output:
	// changeset: unsupported version at byte 0: format version 2, this program reads 1
	// true
}
