package changeset

import (
	"testing"

	"github.com/patinadb/patina/changeset/hlc"
)

func sumClock(groups ...Group) *Clock { return &Clock{CausalLength: 1, Groups: groups} }

// TestSumSeesEveryPart changes one part of a clock's identity at a time.
func TestSumSeesEveryPart(t *testing.T) {
	columns := []string{"a", "b", "c"}
	key := HashKey(AppendValue(nil, IntegerValue(7)))
	stamp := Stamp{Time: 1000, Actor: ActorID{1}, Version: 5}
	base := NewSummer("t", 1, columns).Clock(key, sumClock(Group{Columns(0, 1), stamp}))
	other := func(f func(s *Stamp)) Stamp { s := stamp; f(&s); return s }
	for _, tt := range []struct {
		desc string
		sum  Sum
	}{
		{"table", NewSummer("u", 1, columns).Clock(key, sumClock(Group{Columns(0, 1), stamp}))},
		{"generation", NewSummer("t", 3, columns).Clock(key, sumClock(Group{Columns(0, 1), stamp}))},
		{"key", NewSummer("t", 1, columns).Clock(HashKey(AppendValue(nil, IntegerValue(8))), sumClock(Group{Columns(0, 1), stamp}))},
		{"kind of key", NewSummer("t", 1, columns).Clock(HashKey(AppendValue(nil, TextValue("7"))), sumClock(Group{Columns(0, 1), stamp}))},
		{"causal length", NewSummer("t", 1, columns).Clock(key, &Clock{3, []Group{{Columns(0, 1), stamp}}})},
		{"time", NewSummer("t", 1, columns).Clock(key, sumClock(Group{Columns(0, 1), other(func(s *Stamp) { s.Time++ })}))},
		{"actor", NewSummer("t", 1, columns).Clock(key, sumClock(Group{Columns(0, 1), other(func(s *Stamp) { s.Actor[15] = 1 })}))},
		{"version", NewSummer("t", 1, columns).Clock(key, sumClock(Group{Columns(0, 1), other(func(s *Stamp) { s.Version++ })}))},
		{"columns", NewSummer("t", 1, columns).Clock(key, sumClock(Group{Columns(0, 2), stamp}))},
		{"no columns", NewSummer("t", 1, columns).Clock(key, sumClock(Group{ColumnSet{}, stamp}))},
		{"column names", NewSummer("t", 1, []string{"a", "x", "c"}).Clock(key, sumClock(Group{Columns(0, 1), stamp}))},
		{"groups", NewSummer("t", 1, columns).Clock(key, sumClock(Group{Columns(0), stamp}, Group{Columns(1), other(func(s *Stamp) { s.Version++ })}))},
	} {
		if tt.sum == base {
			t.Errorf("another %s has the same sum", tt.desc)
		}
	}
}

// TestSumIgnoresWhatIsLocal: order of columns and groups, case of names.
func TestSumIgnoresWhatIsLocal(t *testing.T) {
	key := HashKey(AppendValue(nil, TextValue("k")))
	x, y := Stamp{Time: 1, Actor: ActorID{1}, Version: 1}, Stamp{Time: 2, Actor: ActorID{2}, Version: 9}
	one := NewSummer("T", 1, []string{"a", "B"}).Clock(key, sumClock(Group{Columns(0), x}, Group{Columns(1), y}))
	two := NewSummer("t", 1, []string{"b", "A"}).Clock(key, sumClock(Group{Columns(0), y}, Group{Columns(1), x}))
	if one != two {
		t.Errorf("%x and %x", one, two)
	}
	// The parts add up in any order, and what was added can be taken away.
	var all Sum
	all.Add(one)
	all.Add(Sum{1, ^uint64(0)})
	all.Sub(one)
	all.Sub(Sum{1, ^uint64(0)})
	if !all.IsZero() {
		t.Errorf("%x is left", all)
	}
	if got := DecodeSum(AppendSum(nil, one)); got != one {
		t.Errorf("%x came back as %x", one, got)
	}
}

// TestSumOfFormat holds the definition of FORMAT.md, Sums.
func TestSumOfFormat(t *testing.T) {
	key := HashKey(AppendValue(AppendValue(nil, TextValue("eu")), IntegerValue(-1)))
	k := &Clock{CausalLength: 3, Groups: []Group{
		{Columns(0, 2), Stamp{Time: hlc.Timestamp(1764028800000 << 16), Actor: ActorID{7, 1}, Version: 12}},
		{Columns(1), Stamp{Time: hlc.Timestamp(1764028800001 << 16), Actor: ActorID{9}, Version: 1}},
	}}
	got := NewSummer("Services", 1, []string{"name", "port", "tags"}).Clock(key, k)
	if want := (Sum{0x89f56bd3e2a9447e, 0x6ad5ff4a6e068407}); got != want {
		t.Errorf("sum is {%#x, %#x}, not {%#x, %#x}", got.Low, got.High, want.Low, want.High)
	}
}

// TestSumOfAColumnThatIsNotThere does not end the program.
func TestSumOfAColumnThatIsNotThere(t *testing.T) {
	s := NewSummer("t", 1, []string{"a", "b"})
	stamp := Stamp{Time: 1, Actor: ActorID{1}, Version: 1}
	within := s.Clock(KeyHash{}, &Clock{CausalLength: 1, Groups: []Group{{FirstColumns(2), stamp}}})
	if beyond := s.Clock(KeyHash{}, &Clock{CausalLength: 1, Groups: []Group{{FirstColumns(70), stamp}}}); beyond != within {
		t.Errorf("sum %x, want %x", beyond, within)
	}
}
