package changeset

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset/hlc"
)

// stateGolden is one block byte by byte: see FORMAT.md, State.
const stateGolden = "01" + "027462" + "01" + "01" + "026964" + "03" + "0161" + "0162" + "0163" + // format; table tb, generation 1; key id; columns a, b, c
	"010e" + "01" + "02" + // key 7, causal length 1, two groups
	"0305" + "00000000000000c8" + "00" + "a1000000000000000000000000000001" + "03" + "0102" + "05" + // {a, c} at 200 by actor 1, version 3: 1, NULL
	"0302" + "00000000000000c9" + "01" + "a1000000000000000000000000000002" + "04" + "030178" + // {b} at 201 by actor 2, version 4: 'x'
	"0110" + "02" + "01" + "00" + "00000000000000ca" + "00" + "05" // key 8, deleted: at 202 by actor 1, version 5

func goldenState() *StateBlock {
	one, two := ActorID{0xa1, 15: 1}, ActorID{0xa1, 15: 2}
	return &StateBlock{Name: "tb", Generation: 1, Key: []string{"id"}, Columns: []string{"a", "b", "c"}, Rows: []RowState{
		{[]Value{IntegerValue(7)}, Clock{1, []Group{{Columns(0, 2), Stamp{200, one, 3}}, {Columns(1), Stamp{201, two, 4}}}}, []Value{IntegerValue(1), NullValue(), TextValue("x")}},
		{[]Value{IntegerValue(8)}, Clock{2, []Group{{ColumnSet{}, Stamp{202, one, 5}}}}, nil},
	}}
}

func encodeState(t testing.TB, b *StateBlock) []byte {
	t.Helper()
	e, err := NewStateEncoder(b)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b.Rows {
		e.Add(&b.Rows[i])
	}
	if e.Size() != len(e.b) {
		t.Fatal("size")
	}
	return e.Bytes()
}

func TestStateGolden(t *testing.T) {
	want, err := hex.DecodeString(stateGolden)
	if err != nil {
		t.Fatal(err)
	}
	if got := encodeState(t, goldenState()); !bytes.Equal(got, want) {
		t.Errorf("encoded\n%x, want\n%x", got, want)
	}
	got, err := DecodeState(want)
	if err != nil || !reflect.DeepEqual(got, goldenState()) {
		t.Errorf("%v: decoded\n%+v, want\n%+v", err, got, goldenState())
	}
	for n := range want {
		_, err := DecodeState(want[:n])
		// After a whole row the block could end.
		if rows := n == len(want)-15 || n == 16; rows != (err == nil) || err != nil && !errors.Is(err, ErrTruncated) {
			t.Errorf("the first %d bytes: %v", n, err)
		}
	}
}

// TestStateRoundTrip of random blocks.
func TestStateRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		b := &StateBlock{Name: "t", Generation: CausalLength(2*r.IntN(3) + 1), Key: []string{"k1", "k2"}[:1+r.IntN(2)]}
		for i := range r.IntN(70) {
			b.Columns = append(b.Columns, "c"+strings.Repeat("x", i))
		}
		for range 1 + r.IntN(20) {
			b.Rows = append(b.Rows, randomRowState(r, b))
		}
		encoded := encodeState(t, b)
		got, err := DecodeState(encoded)
		if err != nil {
			t.Fatal(err)
		}
		if again := encodeState(t, got); !bytes.Equal(again, encoded) || len(got.Rows) != len(b.Rows) {
			t.Fatalf("%d rows, encoded again\n%x\n%x", len(got.Rows), again, encoded)
		}
	}
}

func randomRowState(r *rand.Rand, b *StateBlock) (row RowState) {
	value := func() Value {
		return []Value{IntegerValue(r.Int64()), RealValue(r.Float64()), TextValue("text"), BlobValue([]byte{1}), NullValue()}[r.IntN(5)]
	}
	for range b.Key {
		row.Key = append(row.Key, IntegerValue(r.Int64N(100)))
	}
	stamp := func(n int) Stamp {
		return Stamp{hlc.Timestamp(1 + r.Uint64N(1000)), ActorID{1, byte(r.IntN(9)), byte(n)}, 1 + Version(r.Uint64N(1<<40-1))}
	}
	row.Clock.CausalLength = CausalLength(1 + r.IntN(4))
	left := FirstColumns(len(b.Columns))
	for n := 0; row.Clock.CausalLength.Alive() && !left.IsEmpty() && n < 4; n++ {
		var set ColumnSet
		for i := range left.All {
			if r.IntN(3) > 0 {
				set = set.With(i)
			}
		}
		if left = left.Minus(set); set.IsEmpty() {
			continue
		}
		row.Clock.Groups = append(row.Clock.Groups, Group{set, stamp(n)})
		for range set.All {
			row.Values = append(row.Values, value())
		}
	}
	if row.Clock.Groups == nil {
		row.Clock.Groups = []Group{{ColumnSet{}, stamp(0)}}
	}
	return row
}

func TestStateRefusals(t *testing.T) {
	for _, test := range []struct {
		desc   string
		change func(*StateBlock)
		want   error
	}{
		{"a NULL in a key", func(b *StateBlock) { b.Rows[0].Key[0] = NullValue() }, ErrCorrupt},
		{"causal length 0", func(b *StateBlock) { b.Rows[0].Clock.CausalLength = 0 }, ErrCorrupt},
		{"a deleted row with columns", func(b *StateBlock) { b.Rows[0].Clock.CausalLength = 2 }, ErrCorrupt},
		{"no group", func(b *StateBlock) { b.Rows[1].Clock.Groups = nil }, ErrCorrupt},
		{"a column twice", func(b *StateBlock) { b.Rows[0].Clock.Groups[1].Columns = Columns(2) }, ErrCorrupt},
		{"a stamp twice", func(b *StateBlock) { b.Rows[0].Clock.Groups[1].Stamp = b.Rows[0].Clock.Groups[0].Stamp }, ErrCorrupt},
		{"a group too many", func(b *StateBlock) {
			b.Rows[0].Clock.Groups = append(b.Rows[0].Clock.Groups, Group{ColumnSet{}, Stamp{1, ActorID{1}, 1}})
		}, ErrCorrupt},
		{"a column that is not there", func(b *StateBlock) { b.Rows[0].Clock.Groups[1].Columns = Columns(3) }, ErrCorrupt},
		{"version 0", func(b *StateBlock) { b.Rows[1].Clock.Groups[0].Stamp.Version = 0 }, ErrCorrupt},
		{"time 0", func(b *StateBlock) { b.Rows[1].Clock.Groups[0].Stamp.Time = 0 }, ErrCorrupt},
		{"no actor", func(b *StateBlock) { b.Rows[0].Clock.Groups[0].Stamp.Actor = ActorID{} }, ErrCorrupt},
	} {
		b := goldenState()
		test.change(b)
		if _, err := DecodeState(encodeState(t, b)); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", test.desc, err)
		}
	}
	if _, err := DecodeState([]byte{2}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("another format: %v", err)
	}
	if _, err := NewStateEncoder(&StateBlock{Name: "t", Generation: 2, Key: []string{"k"}}); !errors.Is(err, ErrInvalid) {
		t.Errorf("a dead generation: %v", err)
	}
}

func FuzzDecodeState(f *testing.F) {
	f.Add(encodeState(f, goldenState()))
	r := rand.New(rand.NewPCG(5, 6))
	for range 3 {
		b := goldenState()
		for range 5 {
			b.Rows = append(b.Rows, randomRowState(r, b))
		}
		f.Add(encodeState(f, b))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		before := allocated()
		b, err := DecodeState(data)
		if n := allocated() - before; n > uint64(2*maxExpansion*len(data)+1<<20) {
			t.Fatalf("%d bytes allocated for %d", n, len(data))
		}
		if err != nil {
			return
		}
		if again := encodeState(t, b); !bytes.Equal(again, data) {
			t.Fatalf("encoded again\n%x\n%x", again, data)
		}
	})
}
