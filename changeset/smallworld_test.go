package changeset

import (
	"fmt"
	"testing"

	"github.com/patinadb/patina/changeset/hlc"
)

const (
	smallKeys    = 2
	smallColumns = 2
	smallEvents  = 4
)

// smallEvent is a write of one row: rank is its place in the order of stamps.
type smallEvent struct {
	key     int
	length  CausalLength
	columns uint8 // bit i: column i
	rank    int
}

func (e smallEvent) set() ColumnSet {
	var s ColumnSet
	for i := range smallColumns {
		if e.columns>>i&1 == 1 {
			s = s.With(i)
		}
	}
	return s
}

// stamp gives ranks 0 and 1, and 2 and 3, one time each, so that actors decide.
func (e smallEvent) stamp() Stamp {
	return Stamp{hlc.Timestamp(10 + e.rank/2), ActorID{byte(1 + e.rank%2)}, Version(1 + e.rank)}
}

// smallShapes lists every event but for its rank: each key, each causal length
// that four writes can reach, with each set of columns for a living row.
func smallShapes() (out []smallEvent) {
	for key := range smallKeys {
		for length := CausalLength(1); length <= smallEvents; length++ {
			for columns := range uint8(1 << smallColumns) {
				if length.Alive() || columns == 0 {
					out = append(out, smallEvent{key: key, length: length, columns: columns})
				}
			}
		}
	}
	return out
}

// smallRow is what a row and its clock come to. Ranks are one higher, 0 is none.
type smallRow struct {
	length    CausalLength
	stamps    [smallColumns]int // of the covered columns
	values    [smallColumns]int // 0 is the apply default
	existence int               // of a row that no column covers
}

// smallOracle is DESIGN section 2, rules 1 to 3, of one key's events among those in
// the set held.
func smallOracle(events []smallEvent, held uint, key int) (r smallRow) {
	for i, e := range events {
		if held>>i&1 == 1 && e.key == key {
			r.length = max(r.length, e.length)
		}
	}
	covered := false
	for i, e := range events {
		if held>>i&1 == 0 || e.key != key || e.length != r.length {
			continue
		}
		if e.columns == 0 {
			r.existence = max(r.existence, e.rank+1)
		}
		for c := range smallColumns {
			if e.columns>>c&1 == 1 && e.rank+1 > r.stamps[c] {
				r.stamps[c], r.values[c], covered = e.rank+1, e.rank+1, true
			}
		}
	}
	if covered {
		r.existence = 0
	}
	return r
}

// smallReplica is the rows of a replica as Merge decides them. It is a value.
type smallReplica struct {
	length [smallKeys]CausalLength
	groups [smallKeys][smallColumns + 1]Group
	count  [smallKeys]int
	values [smallKeys][smallColumns]int
	there  [smallKeys]bool
}

func (p *smallReplica) clock(key int) Clock {
	return Clock{p.length[key], append(make([]Group, 0, smallColumns+2), p.groups[key][:p.count[key]]...)}
}

func (p *smallReplica) keep(key int, k Clock) {
	p.length[key] = k.CausalLength
	p.count[key] = copy(p.groups[key][:], k.Groups)
}

func (p *smallReplica) merge(e smallEvent) Decision {
	k := p.clock(e.key)
	d := k.Merge(e.length, e.set(), e.stamp())
	p.keep(e.key, k)
	switch d.Outcome {
	case Created:
		p.there[e.key], p.values[e.key] = true, [smallColumns]int{}
	case Deleted:
		p.there[e.key], p.values[e.key] = false, [smallColumns]int{}
	}
	for c := range smallColumns {
		if d.Columns.Has(c) {
			p.values[e.key][c] = e.rank + 1
		}
	}
	return d
}

func (p *smallReplica) row(key int) (r smallRow) {
	r.length, r.values = p.length[key], p.values[key]
	for _, g := range p.groups[key][:p.count[key]] {
		rank := int(g.Stamp.Version)
		if g.Columns.IsEmpty() {
			r.existence = rank
		}
		for c := range smallColumns {
			if g.Columns.Has(c) {
				r.stamps[c] = rank
			}
		}
	}
	return r
}

// smallWorld is one set of events, delivered in every order.
type smallWorld struct {
	t      *testing.T
	events []smallEvent
	want   [1 << smallEvents][smallKeys]smallRow // by the set of what was delivered
	orders int
}

// deliver goes on from a replica that holds a set of the events.
func (w *smallWorld) deliver(p smallReplica, held uint) {
	if held == 1<<len(w.events)-1 {
		w.orders++
		for _, e := range w.events { // all once more
			if d := p.merge(e); d.Outcome != Ignored {
				w.t.Fatalf("%+v: %+v again is %v", w.events, e, d)
			}
		}
		return
	}
	for i, e := range w.events {
		if held>>i&1 == 1 {
			continue
		}
		next := p
		w.write(&p, e)
		d := next.merge(e)
		for key := range smallKeys {
			got, want := next.row(key), &w.want[held|1<<i][key]
			if got != *want || next.there[key] != want.length.Alive() {
				w.t.Fatalf("%+v: %+v after set %b: key %d is %+v, want %+v (%v)", w.events, e, held, key, got, *want, d)
			}
		}
		w.deliver(next, held|1<<i)
	}
}

// write checks the writer's own way, Cover, where e could be a local update of p.
func (w *smallWorld) write(p *smallReplica, e smallEvent) {
	k := p.clock(e.key)
	if !e.length.Alive() || e.length != k.CausalLength || e.columns == 0 {
		return
	}
	for _, g := range k.Groups {
		if !Wins(e.stamp(), g.Stamp) {
			return
		}
	}
	merged, covered := *p, *p
	merged.merge(e)
	k.Cover(e.set(), e.stamp())
	covered.keep(e.key, k)
	covered.values[e.key] = merged.values[e.key]
	if got, want := covered.row(e.key), merged.row(e.key); got != want {
		w.t.Fatalf("%+v: cover by %+v makes %+v, merge %+v", w.events, e, got, want)
	}
}

// TestSmallWorldIsExact is exhaustive for three replicas, two keys, two columns and
// four writes.
//
// Whatever the replicas do, each holds at each moment what some of the writes came
// to in some order; and a write is a key, the causal length that its author saw or
// the next, a set of columns, and a place in the order of all stamps. So this
// takes every sequence of up to 4 of the 20 events (2 keys; lengths 1 and 3 with 4
// sets of columns each, 2 and 4 with none), in the order of their stamps, the first
// of key 0, as the keys are alike: 84,210 worlds, among them all that 3 replicas
// can make and many that they cannot. Each is delivered in every order, 1,944,410
// in all, and after each delivery both rows
// and clocks must be what the rules say of the set that was delivered. Then all
// come again and change nothing.
func TestSmallWorldIsExact(t *testing.T) {
	t.Parallel()
	shapes := smallShapes()
	worlds, orders := 0, 0
	var extend func(events []smallEvent)
	extend = func(events []smallEvent) {
		if len(events) > 0 {
			w := &smallWorld{t: t, events: events}
			for held := range uint(1) << len(events) {
				for key := range smallKeys {
					w.want[held][key] = smallOracle(events, held, key)
				}
			}
			w.deliver(smallReplica{}, 0)
			worlds, orders = worlds+1, orders+w.orders
		}
		if len(events) == smallEvents || testing.Short() && len(events) == smallEvents-1 {
			return
		}
		for _, e := range shapes {
			if e.rank = len(events); e.rank == 0 && e.key > 0 {
				continue
			}
			extend(append(events[:len(events):len(events)], e))
		}
	}
	extend(nil)
	want := "20 shapes, 84210 worlds, 1944410 orders"
	if testing.Short() {
		want = "20 shapes, 4210 worlds, 24410 orders"
	}
	if got := fmt.Sprintf("%d shapes, %d worlds, %d orders", len(shapes), worlds, orders); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestSmallOracleIsTheOracle: the two were written apart, and say the same.
func TestSmallOracleIsTheOracle(t *testing.T) {
	shapes := smallShapes()
	n := len(shapes)
	for i := range n * n * n {
		small := []smallEvent{shapes[i%n], shapes[i/n%n], shapes[i/n/n]}
		var events []event
		for rank := range small {
			e := &small[rank]
			if e.rank = rank; e.key == 0 {
				events = append(events, e.event())
			}
		}
		r, o := smallOracle(small, 7, 0), oracle(events)
		same := r.length == o.length && r.existence == int(o.existence.Version)
		for c := range smallColumns {
			same = same && r.values[c] == o.values[c] && r.stamps[c] == int(o.stamps[c].Version)
		}
		if !same {
			t.Fatalf("%+v: %+v, the oracle says %v", small, r, o)
		}
	}
}

// event is e as the other oracle takes it.
func (e smallEvent) event() event {
	values := map[int]int{}
	for c := range e.set().All {
		values[c] = e.rank + 1
	}
	return event{e.length, e.stamp(), values}
}
