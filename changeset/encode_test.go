package changeset

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset/hlc"
)

// withTable returns a valid changeset of one table t(k, v) with the changes.
func withTable(changes ...Change) *Changeset {
	return &Changeset{Header: testHeader(2), Tables: []TableChanges{
		{Name: "t", Generation: 1, Key: []string{"k"}, Columns: []string{"v"}, Changes: changes}}}
}

func TestSealRefusesWhatNoBytesStandFor(t *testing.T) {
	one := IntegerValue(1)
	for _, c := range []struct {
		desc string
		edit func(*Changeset)
		want error
	}{
		{"no actor", func(c *Changeset) { c.Actor = ActorID{} }, ErrInvalid},
		{"version 0", func(c *Changeset) { c.Version = 0 }, ErrInvalid},
		{"version above the limit", func(c *Changeset) { c.Version = MaxVersion + 1 }, ErrInvalid},
		{"no time", func(c *Changeset) { c.Time = 0 }, ErrInvalid},
		{"time above Max", func(c *Changeset) { c.Time = hlc.Max + 1 }, ErrInvalid},
		{"version 1 with a previous", func(c *Changeset) { c.Version = 1 }, ErrInvalid},
		{"after without an actor", func(c *Changeset) { c.After = []ID{{ActorID{}, 1}} }, ErrInvalid},
		{"after with version 0", func(c *Changeset) { c.After = []ID{{ActorID{1}, 0}} }, ErrInvalid},
		{"after twice", func(c *Changeset) { c.After = []ID{{ActorID{1}, 1}, {ActorID{1}, 2}} }, ErrInvalid},
		{"after itself", func(c *Changeset) { c.After = []ID{c.ID()} }, ErrInvalid},
		{"a table twice but for case", func(c *Changeset) { c.Tables = append(c.Tables, c.Tables[0]); c.Tables[1].Name = "T" }, ErrInvalid},
		{"no generation", func(c *Changeset) { c.Tables[0].Generation = 0 }, ErrInvalid},
		{"an even generation", func(c *Changeset) { c.Tables[0].Generation = 2 }, ErrInvalid},
		{"no key columns", func(c *Changeset) { c.Tables[0].Key = nil }, ErrInvalid},
		{"no table name", func(c *Changeset) { c.Tables[0].Name = "" }, ErrInvalid},
		{"NUL in a name", func(c *Changeset) { c.Tables[0].Columns = []string{"a\x00"} }, ErrInvalid},
		{"a name too long", func(c *Changeset) { c.Tables[0].Key = []string{strings.Repeat("k", MaxNameSize+1)} }, ErrTooLarge},
		{"a column twice but for case", func(c *Changeset) { c.Tables[0].Columns = []string{"K"} }, ErrInvalid},
		{"too many columns", func(c *Changeset) { c.Tables[0].Columns = make([]string, MaxColumns) }, ErrTooLarge},
		{"causal length 0", func(c *Changeset) { c.Tables[0].Changes[0].CausalLength = 0 }, ErrInvalid},
		{"a causal length too high", func(c *Changeset) { c.Tables[0].Changes[0].CausalLength = MaxCausalLength + 1 }, ErrInvalid},
		{"a deletion with columns", func(c *Changeset) { c.Tables[0].Changes[0].CausalLength = 2 }, ErrInvalid},
		{"fewer values than columns", func(c *Changeset) { c.Tables[0].Changes[0].Values = nil }, ErrInvalid},
		{"more values than columns", func(c *Changeset) { c.Tables[0].Changes[0].Columns = ColumnSet{} }, ErrInvalid},
		{"a column that has no name", func(c *Changeset) { c.Tables[0].Changes[0].Columns = Columns(1) }, ErrInvalid},
		{"a key too short", func(c *Changeset) { c.Tables[0].Key = []string{"k", "l"} }, ErrInvalid},
		{"NULL in a key", func(c *Changeset) { c.Tables[0].Changes[0].Key = []Value{{}} }, ErrInvalid},
		{"a key too long", func(c *Changeset) { c.Tables[0].Changes[0].Key = []Value{TextBytes(make([]byte, MaxKeySize+1))} }, ErrTooLarge},
		{"a key twice", func(c *Changeset) { c.Tables[0].Changes = append(c.Tables[0].Changes, insert(one, one)) }, ErrInvalid},
		{"a key twice, in two blocks", func(c *Changeset) { c.Tables[0].Changes = append(c.Tables[0].Changes, remove(one, 2)) }, ErrInvalid},
		{"0.0 and -0.0 in keys", func(c *Changeset) {
			c.Tables[0].Changes = []Change{insert(RealValue(0), one), insert(RealValue(minusNul), one)}
		}, ErrInvalid},
	} {
		cs := withTable(insert(one, TextValue("v")))
		mustSeal(t, cs)
		c.edit(cs)
		if _, err := Seal(cs); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, not %v", c.desc, err, c.want)
		}
	}
}

// many returns n insertions of ten values each, which share their memory.
func many(n int, key func(int) Value, value Value) *Changeset {
	keys, values := make([]Value, n), slices.Repeat([]Value{value}, 9)
	changes := make([]Change, n)
	for i := range changes {
		keys[i] = key(i)
		changes[i] = Change{Key: keys[i : i+1 : i+1], CausalLength: 1, Columns: FirstColumns(9), Values: values}
	}
	c := withTable(changes...)
	c.Tables[0].Columns = strings.Split("abcdefghi", "")
	return c
}

func TestSealRefusesMoreThanTheProtocolCarries(t *testing.T) {
	third := BlobValue(make([]byte, MaxEncodedSize/3))
	thirds := func(n int) *Changeset {
		c := withTable()
		for i := range n {
			c.Tables[0].Changes = append(c.Tables[0].Changes, insert(IntegerValue(int64(i)), third))
		}
		return c
	}
	integerKey := func(i int) Value { return IntegerValue(int64(i)) }
	realKey := func(i int) Value { return RealValue(float64(i)) }
	const rows = MaxValues / 10
	for _, c := range []struct {
		desc string
		c    *Changeset
		want error
		say  string
	}{
		{"two thirds of the size", thirds(2), nil, ""},
		{"all of it, without headers", thirds(3), ErrTooLarge, fmt.Sprint(MaxEncodedSize)},
		{"a text above it", withTable(insert(IntegerValue(1), TextBytes(make([]byte, MaxEncodedSize+1)))), ErrTooLarge, "bytes of values"},
		{"the most values, eight bytes each", many(rows, realKey, RealValue(1)), ErrTooLarge, "bytes"},
		{"the most values", many(rows, integerKey, Value{}), nil, ""},
		{"a row more", many(rows+1, integerKey, Value{}), ErrTooLarge, "values"},
	} {
		s, err := Seal(c.c)
		if !errors.Is(err, c.want) || err != nil && !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v, not %v", c.desc, err, c.want)
		}
		if err == nil && mustDecode(t, s).Rows() != c.c.Rows() {
			t.Errorf("%s: decodes to other rows", c.desc)
		}
	}
}

func TestSealAfterATooLargeOneIsAsBefore(t *testing.T) {
	want := mustSeal(t, inserted(10))
	if _, err := Seal(withTable(insert(IntegerValue(1), BlobValue(make([]byte, MaxEncodedSize))))); !errors.Is(err, ErrTooLarge) {
		t.Fatal(err)
	}
	if got := mustSeal(t, inserted(10)); !bytes.Equal(got.Data, want.Data) {
		t.Error("the encoder kept something of the failed one")
	}
}

// randomChangeset has several tables, blocks, kinds and key columns.
func randomChangeset(r *rand.Rand) *Changeset {
	value := func() Value {
		switch r.IntN(5) {
		case 0:
			return IntegerValue(r.Int64N(1<<r.IntN(60)+1) - 5)
		case 1:
			return RealValue(r.NormFloat64())
		case 2:
			return TextValue(strings.Repeat("x", r.IntN(20)))
		case 3:
			return BlobValue([]byte{byte(r.IntN(256))})
		}
		return NullValue()
	}
	c := &Changeset{Header: testHeader(400)}
	for i := range r.IntN(4) {
		c.After = append(c.After, ID{ActorID{byte(i + 1)}, Version(1 + r.IntN(300))})
	}
	for i := range 1 + r.IntN(3) {
		t := TableChanges{Name: fmt.Sprintf("t%d", i/2), Generation: CausalLength(1 + i%2*2), Key: []string{"k", "l"}[:1+r.IntN(2)]}
		for j := range r.IntN(80) {
			t.Columns = append(t.Columns, fmt.Sprintf("c%d", j))
		}
		for j := range r.IntN(30) {
			ch := Change{CausalLength: CausalLength(1 + r.IntN(3)), Key: []Value{IntegerValue(int64(j)), TextValue("l")}[:len(t.Key)]}
			if r.IntN(3) == 0 {
				ch.Key[0] = TextValue(fmt.Sprint(j))
			}
			if ch.CausalLength.Alive() && len(t.Columns) > 0 {
				for range r.IntN(4) {
					ch.Columns = ch.Columns.With(r.IntN(len(t.Columns)))
				}
				for range ch.Columns.Len() {
					ch.Values = append(ch.Values, value())
				}
			}
			t.Changes = append(t.Changes, ch)
		}
		c.Tables = append(c.Tables, t)
	}
	return c
}

// contents lists a changeset by names, in no particular order: what it means.
func contents(c *Changeset) []string {
	out := []string{fmt.Sprint(c.ID(), c.Time, c.Previous)}
	for _, id := range c.After {
		out = append(out, fmt.Sprint("after ", id))
	}
	for _, t := range c.Tables {
		for _, ch := range t.Changes {
			line := fmt.Sprint(t.Name, t.Generation, t.Key, ch.Key, ch.CausalLength)
			at := 0
			for i := range ch.Columns.All {
				line += fmt.Sprintf(" %s=%v(%v)", t.Columns[i], ch.Values[at], ch.Values[at].Kind())
				at++
			}
			out = append(out, line)
		}
	}
	slices.Sort(out)
	return out
}

func TestAnyOrderSealsToTheSameBytesAndMeansTheSame(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 7))
	for range 500 {
		c := randomChangeset(r)
		want := contents(c)
		s := mustSeal(t, c)
		decoded := mustDecode(t, s)
		if got := contents(decoded); !slices.Equal(got, want) {
			t.Fatalf("decoded\n%v\nnot\n%v", got, want)
		}
		if again := mustSeal(t, decoded); !bytes.Equal(again.Data, s.Data) {
			t.Fatal("decoded and sealed again differs")
		}
		r.Shuffle(len(c.After), func(i, j int) { c.After[i], c.After[j] = c.After[j], c.After[i] })
		r.Shuffle(len(c.Tables), func(i, j int) { c.Tables[i], c.Tables[j] = c.Tables[j], c.Tables[i] })
		for _, t := range c.Tables {
			r.Shuffle(len(t.Changes), func(i, j int) { t.Changes[i], t.Changes[j] = t.Changes[j], t.Changes[i] })
		}
		before := fmt.Sprint(c)
		shuffled := mustSeal(t, c)
		if got := fmt.Sprint(c); got != before {
			t.Fatalf("Seal changed its input:\n%v\n%v", got, before)
		}
		if !bytes.Equal(shuffled.Data, s.Data) || shuffled.Hash != s.Hash || fmt.Sprint(shuffled.Header) != fmt.Sprint(s.Header) {
			t.Fatal("another order gives other bytes")
		}
	}
}

func TestDecodedColumnsAreThoseCarried(t *testing.T) {
	c := &Changeset{Header: testHeader(2), Tables: []TableChanges{
		{Name: "none", Generation: 1, Key: []string{"k"}, Columns: []string{"a"}},
		{Name: "t", Generation: 1, Key: []string{"k"}, Columns: []string{"a", "b", "c"}, Changes: []Change{
			{Key: []Value{RealValue(minusNul)}, CausalLength: 1, Columns: Columns(2), Values: []Value{RealValue(minusNul)}},
			{Key: []Value{IntegerValue(1)}, CausalLength: 1, Columns: Columns(0), Values: []Value{IntegerValue(7)}},
			remove(IntegerValue(2), 2)}}}}
	d := mustDecode(t, mustSeal(t, c))
	if len(d.Tables) != 1 || !slices.Equal(d.Tables[0].Columns, []string{"a", "c"}) || d.Rows() != 3 {
		t.Fatalf("%+v", d.Tables)
	}
	changes := d.Tables[0].Changes
	if !changes[1].Columns.Equal(Columns(1)) || !changes[1].Values[0].Equal(RealValue(minusNul)) || !changes[1].Key[0].Equal(RealValue(0)) {
		t.Errorf("%+v", changes[1])
	}
	if changes[2].Values != nil || !changes[2].Columns.IsEmpty() {
		t.Errorf("%+v", changes[2])
	}
}

func TestCodecAllocatesLittle(t *testing.T) {
	c := inserted(100)
	s := mustSeal(t, c)
	e := new(encoder) // Seal's own come from a pool, which forgets some when it likes
	for desc, f := range map[string]func(){
		"seal":   func() { _, _ = e.seal(c) },
		"open":   func() { _, _ = Open(s.Data) },
		"decode": func() { mustDecode(t, s) },
	} {
		if n := testing.AllocsPerRun(50, f); n > 10 {
			t.Errorf("%s: %v allocations", desc, n)
		}
	}
}
