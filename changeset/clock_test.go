package changeset

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/patinadb/patina/changeset/hlc"
)

// event is one row's change as the oracle sees it: plain maps.
type event struct {
	length CausalLength
	stamp  Stamp
	values map[int]int // empty: a deletion, or a creation with only its key
}

func (e event) columns() ColumnSet { return Columns(slices.Collect(maps.Keys(e.values))...) }

// outcome is what a row and its clock come to.
type outcome struct {
	length    CausalLength
	values    map[int]int   // of the columns that are not at their apply default
	stamps    map[int]Stamp // of the covered columns
	existence Stamp         // of a row that no column covers
}

func (o outcome) String() string {
	return fmt.Sprintf("length %d values %v stamps %v existence %v", o.length, o.values, o.stamps, o.existence)
}

// oracle is DESIGN section 2, rules 1 to 3, read off the set of events alone.
func oracle(events []event) outcome {
	o := outcome{values: map[int]int{}, stamps: map[int]Stamp{}}
	for _, e := range events {
		o.length = max(o.length, e.length)
	}
	for _, e := range events {
		if e.length != o.length {
			continue // rule 1
		}
		if len(e.values) == 0 && above(e.stamp, o.existence) {
			o.existence = e.stamp
		}
		for column, value := range e.values { // rule 2; rule 3 is what stays out
			if s, ok := o.stamps[column]; !ok || above(e.stamp, s) {
				o.stamps[column], o.values[column] = e.stamp, value
			}
		}
	}
	if len(o.stamps) > 0 {
		o.existence = Stamp{}
	}
	return o
}

// above is the stamps' order once more, so that the oracle does not rest on Wins.
func above(s, t Stamp) bool {
	if s.Time != t.Time {
		return s.Time > t.Time
	}
	if s.Actor != t.Actor {
		return string(s.Actor[:]) > string(t.Actor[:])
	}
	return s.Version > t.Version
}

// row is a row as a replica keeps it: the clock, and the values that Merge's
// decisions led to.
type row struct {
	clock  Clock
	values map[int]int
	there  bool
}

func (r *row) apply(t *testing.T, e event) {
	d := r.clock.Merge(e.length, e.columns(), e.stamp)
	switch d.Outcome {
	case Created:
		r.there, r.values = true, map[int]int{}
	case Deleted:
		r.there, r.values = false, map[int]int{}
	case Ignored:
		if !d.Columns.IsEmpty() {
			t.Fatalf("ignored with columns: %v", e)
		}
	}
	for i := range d.Columns.All {
		r.values[i] = e.values[i]
	}
	r.check(t)
}

// check holds the clock to the invariants that its doc comment states.
func (r *row) check(t *testing.T) {
	t.Helper()
	k := r.clock
	seen, stamps := map[int]bool{}, map[Stamp]bool{}
	for _, g := range k.Groups {
		if stamps[g.Stamp] {
			t.Fatalf("stamp %v in two groups", g.Stamp)
		}
		stamps[g.Stamp] = true
		if g.Columns.IsEmpty() && len(k.Groups) > 1 || !k.CausalLength.Alive() && !g.Columns.IsEmpty() {
			t.Fatalf("length %d with groups %v", k.CausalLength, k.Groups)
		}
		for i := range g.Columns.All {
			if seen[i] {
				t.Fatalf("column %d in two groups", i)
			}
			seen[i] = true
		}
	}
	if k.CausalLength > 0 && len(k.Groups) == 0 || r.there != k.CausalLength.Alive() {
		t.Fatalf("row there: %v, length %d, groups %v", r.there, k.CausalLength, k.Groups)
	}
	if !k.Covered().Equal(Columns(slices.Collect(maps.Keys(seen))...)) {
		t.Fatalf("covered is not %v", seen)
	}
}

func (r *row) outcome() outcome {
	o := outcome{length: r.clock.CausalLength, values: r.values, stamps: map[int]Stamp{}}
	for _, g := range r.clock.Groups {
		if g.Columns.IsEmpty() {
			o.existence = g.Stamp
		}
		for i := range g.Columns.All {
			o.stamps[i] = g.Stamp
		}
	}
	return o
}

func (r *row) expect(t *testing.T, desc string, events []event) {
	t.Helper()
	want, got := oracle(events), r.outcome()
	if len(want.values) == 0 && len(got.values) == 0 {
		got.values = want.values
	}
	if got.String() != want.String() {
		t.Fatalf("%s of %v:\n got %v\nwant %v", desc, events, got, want)
	}
}

// columnChoices are the ordinals that events write: few, so that they meet, and
// some beyond 64 and 128.
var columnChoices = []int{0, 1, 2, 63, 64, 70, 130}

func someColumns(r *rand.Rand, value int) map[int]int {
	values := map[int]int{}
	for _, i := range columnChoices {
		if r.IntN(3) == 0 {
			values[i] = value
		}
	}
	return values
}

// TestMergeOfArbitraryEventsAgreesWithTheOracle: any events, causally possible
// or not, in any order and repeated, come to what their set says. That is
// commutativity, associativity and idempotence at once.
func TestMergeOfArbitraryEventsAgreesWithTheOracle(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 1000 {
		var events []event
		for i := range 1 + r.IntN(8) {
			e := event{
				length: CausalLength(1 + r.IntN(4)),
				// Equal times are common; the actor or the version decides.
				stamp:  Stamp{hlc.Timestamp(1 + r.IntN(3)), ActorID{byte(1 + r.IntN(3))}, Version(i + 1)},
				values: someColumns(r, i),
			}
			if !e.length.Alive() {
				e.values = nil
			}
			events = append(events, e)
		}
		for range 4 {
			order := append(slices.Clone(events), events[:r.IntN(len(events)+1)]...)
			r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
			var row row
			for i, e := range order {
				row.apply(t, e)
				row.expect(t, "a prefix", order[:i+1])
			}
			for _, e := range order {
				if d := row.clock.Merge(e.length, e.columns(), e.stamp); d.Outcome != Ignored {
					t.Fatalf("%v again: %v", e, d)
				}
			}
		}
	}
}

// replica is one node that writes and receives.
type replica struct {
	row
	id   ActorID
	next Version
	seen []event
}

// write does one local operation that its row allows, as capture would: inserts
// with all or only some columns, updates, deletions.
func (p *replica) write(t *testing.T, r *rand.Rand, value int) event {
	e := event{length: p.clock.CausalLength, values: someColumns(r, value)}
	p.next++
	e.stamp = Stamp{hlc.Timestamp(1 + r.IntN(3)), p.id, p.next}
	for _, g := range p.clock.Groups { // above all that it overwrites
		if !Wins(e.stamp, g.Stamp) {
			e.stamp.Time = g.Stamp.Time + 1
		}
	}
	switch {
	case !e.length.Alive():
		e.length++
	case r.IntN(3) == 0:
		e.length, e.values = e.length+1, nil
	case len(e.values) == 0:
		e.values[64] = value
	}
	if e.length == p.clock.CausalLength {
		// Cover is the writer's short cut for Merge: both must agree.
		covered := row{Clock{e.length, slices.Clone(p.clock.Groups)}, maps.Clone(p.values), true}
		covered.clock.Cover(e.columns(), e.stamp)
		maps.Copy(covered.values, e.values)
		covered.check(t)
		covered.expect(t, "cover", append(slices.Clone(p.seen), e))
	}
	p.apply(t, e)
	p.seen = append(p.seen, e)
	return e
}

func (p *replica) receive(t *testing.T, e event) {
	p.apply(t, e)
	p.seen = append(p.seen, e)
	p.expect(t, "receipt", p.seen)
}

func TestReplicasThatSawTheSameEventsAgree(t *testing.T) {
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 5))
		replicas := make([]*replica, 2+r.IntN(4))
		for i := range replicas {
			replicas[i] = &replica{id: ActorID{byte(i + 1)}}
		}
		var all []event
		for i := range 25 {
			p := replicas[r.IntN(len(replicas))]
			if len(all) > 0 && r.IntN(2) == 0 {
				p.receive(t, all[r.IntN(len(all))])
				continue
			}
			all = append(all, p.write(t, r, i))
		}
		for _, p := range replicas {
			r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			for _, e := range all {
				p.receive(t, e)
			}
			p.expect(t, fmt.Sprintf("seed %d, the end", seed), all)
		}
	}
}

func TestMergeByExample(t *testing.T) {
	early, late := Stamp{Time: 5, Actor: ActorID{1}, Version: 1}, Stamp{Time: 9, Actor: ActorID{2}, Version: 1}
	alive := func(groups ...Group) Clock { return Clock{1, groups} }
	for _, c := range []struct {
		desc    string
		clock   Clock
		length  CausalLength
		columns ColumnSet
		stamp   Stamp
		want    Outcome
		won     ColumnSet
	}{
		{"a first insert creates", Clock{}, 1, Columns(0, 1), early, Created, Columns(0, 1)},
		{"an update of an absent row creates", Clock{}, 1, Columns(1), early, Created, Columns(1)},
		{"a deletion of an absent row is kept", Clock{}, 2, ColumnSet{}, early, Deleted, ColumnSet{}},
		{"length 0 is nothing", Clock{}, 0, Columns(0), late, Ignored, ColumnSet{}},
		{"a later update wins its columns", alive(Group{Columns(0, 1), early}), 1, Columns(1), late, Updated, Columns(1)},
		{"an earlier one wins what nobody wrote", alive(Group{Columns(0), late}), 1, Columns(0, 1), early, Updated, Columns(1)},
		{"an earlier one loses", alive(Group{Columns(0, 1), late}), 1, Columns(1), early, Ignored, ColumnSet{}},
		{"an early deletion beats a late update", alive(Group{Columns(0), late}), 2, ColumnSet{}, early, Deleted, ColumnSet{}},
		{"an update of a shorter life loses", Clock{2, []Group{{Stamp: early}}}, 1, Columns(0), late, Ignored, ColumnSet{}},
		{"a re-insert starts afresh", Clock{2, []Group{{Stamp: late}}}, 3, Columns(0), early, Created, Columns(0)},
		{"a longer life replaces a living row", alive(Group{Columns(0, 1), late}), 3, Columns(1), early, Created, Columns(1)},
		{"of two deletions the later stamp stays", Clock{2, []Group{{Stamp: early}}}, 2, ColumnSet{}, late, Updated, ColumnSet{}},
		{"a key-only row takes a first column from an earlier stamp", alive(Group{Stamp: late}), 1, Columns(3), early, Updated, Columns(3)},
		{"a key-only insert does not cover columns", alive(Group{Columns(0), early}), 1, ColumnSet{}, late, Ignored, ColumnSet{}},
		{"a row that lost all groups takes any stamp", alive(), 1, ColumnSet{}, early, Updated, ColumnSet{}},
	} {
		got := c.clock.Merge(c.length, c.columns, c.stamp)
		if got.Outcome != c.want || !got.Columns.Equal(c.won) {
			t.Errorf("%s: %v", c.desc, got)
		}
	}
}

// TestEqualTimesDoNotMixRows: two whole-row writes of one instant end as one of
// the two, not as a row that nobody wrote.
func TestEqualTimesDoNotMixRows(t *testing.T) {
	a := event{1, Stamp{7, ActorID{1}, 50}, map[int]int{0: 1, 1: 9}}
	b := event{1, Stamp{7, ActorID{2}, 3}, map[int]int{0: 9, 1: 1}}
	for _, order := range [][]event{{a, b}, {b, a}} {
		var r row
		for _, e := range order {
			r.apply(t, e)
		}
		if !maps.Equal(r.values, b.values) || len(r.clock.Groups) != 1 {
			t.Errorf("%v", r.outcome())
		}
	}
}

func TestCoverJoinsWhatOneStampWrote(t *testing.T) {
	old, own := Stamp{Time: 5, Actor: ActorID{1}, Version: 1}, Stamp{Time: 9, Actor: ActorID{2}, Version: 1}
	r := row{clock: Clock{1, []Group{{Columns(0, 1, 2), old}}}, there: true}
	for _, column := range []int{0, 2} {
		r.clock.Cover(Columns(column), own)
		r.check(t)
	}
	if o := r.outcome(); o.stamps[0] != own || o.stamps[1] != old || o.stamps[2] != own {
		t.Error(o)
	}
}
