package changeset

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset/hlc"
)

var rewrite = flag.Bool("rewrite", false, "write testdata/*.golden anew; a difference breaks every stored log and every peer")

func mustSeal(t testing.TB, c *Changeset) Sealed {
	t.Helper()
	s, err := Seal(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustDecode(t testing.TB, s Sealed) *Changeset {
	t.Helper()
	c, err := s.Decode()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func testHeader(version Version) Header {
	h := Header{Actor: ActorID{0xa1, 15: 0x01}, Version: version, Time: hlc.Timestamp(1764028800123<<16 | 7)}
	if version > 1 {
		h.Previous = Hash{0xee, 31: 0x02}
	}
	return h
}

func insert(key, value Value) Change {
	return Change{Key: []Value{key}, CausalLength: 1, Columns: Columns(0), Values: []Value{value}}
}

func remove(key Value, length CausalLength) Change {
	return Change{Key: []Value{key}, CausalLength: length}
}

// goldens are the vectors of testdata. Between them they use every rule of
// FORMAT.md; none of them may ever change under one format version.
func goldens() map[string]*Changeset {
	one := func(changes ...Change) []TableChanges {
		return []TableChanges{{Name: "t", Generation: 1, Key: []string{"k"}, Columns: []string{"v"}, Changes: changes}}
	}
	var kinds, mixed []Change
	for i, v := range []Value{
		NullValue(), IntegerValue(0), IntegerValue(-1), IntegerValue(63), IntegerValue(64), IntegerValue(-65),
		IntegerValue(math.MaxInt64), IntegerValue(math.MinInt64), RealValue(0), RealValue(minusNul), RealValue(infinity),
		RealValue(5e-324), TextValue(""), TextValue("é\x00\xff"), BlobValue(nil), BlobValue(bytes.Repeat([]byte{0xb1}, 130)),
	} {
		kinds = append(kinds, insert(IntegerValue(int64(i*100)), v))
		if v.Kind() != Null {
			mixed = append(mixed, insert(v.Canonical(), IntegerValue(int64(i))))
		}
	}
	mixed = slices.Delete(mixed, 8, 9) // -0.0 is 0.0 in a key: it would be there twice
	wide := TableChanges{Name: "wide", Generation: 1, Key: []string{"a", "b"}}
	for i := range 70 {
		wide.Columns = append(wide.Columns, fmt.Sprintf("c%d", i))
	}
	all := Change{Key: []Value{TextValue("x"), RealValue(1)}, CausalLength: 1, Columns: FirstColumns(70)}
	for i := range 70 {
		all.Values = append(all.Values, IntegerValue(int64(i)))
	}
	wide.Changes = []Change{all,
		{Key: []Value{TextValue("x"), RealValue(2)}, CausalLength: 1, Columns: Columns(69), Values: []Value{NullValue()}},
		{Key: []Value{TextValue("w"), RealValue(2)}, CausalLength: 3, Columns: Columns(63, 64), Values: []Value{IntegerValue(1), TextValue("y")}}}
	pairs := TableChanges{Name: "pairs", Generation: 1, Key: []string{"a", "b"}}
	for _, a := range []int64{300, -1, 0, math.MinInt64} {
		for _, b := range []Value{IntegerValue(-200), IntegerValue(2), BlobValue([]byte{9})} {
			pairs.Changes = append(pairs.Changes, Change{Key: []Value{IntegerValue(a), b}, CausalLength: 2})
		}
	}
	followed := testHeader(300)
	followed.After = []ID{{ActorID{1}, 1}, {ActorID{0xa1, 15: 0x01}, 299}, {ActorID{0xff}, MaxVersion}}
	bounds := testHeader(MaxVersion)
	bounds.Time = hlc.Max

	return map[string]*Changeset{
		"empty":         {Header: testHeader(1)},
		"insert":        {Header: testHeader(1), Tables: one(insert(IntegerValue(1), TextValue("one")))},
		"delete":        {Header: testHeader(2), Tables: one(remove(IntegerValue(1), 2), remove(IntegerValue(-3), 2))},
		"key-only":      {Header: testHeader(2), Tables: one(Change{Key: []Value{BlobValue([]byte{1})}, CausalLength: 1})},
		"value-kinds":   {Header: testHeader(3), Tables: one(kinds...)},
		"key-kinds":     {Header: testHeader(3), Tables: one(mixed...)},
		"nulls":         {Header: testHeader(3), Tables: one(insert(IntegerValue(1), NullValue()), insert(IntegerValue(2), NullValue()))},
		"after":         {Header: followed, Tables: one(insert(TextValue("k"), RealValue(2.5)))},
		"header-bounds": {Header: bounds, Tables: one(remove(TextValue("k"), MaxCausalLength))},
		"key-pairs":     {Header: testHeader(4), Tables: []TableChanges{pairs}},
		"wide":          {Header: testHeader(4), Tables: []TableChanges{wide}},
		"tables": {Header: testHeader(5), Tables: []TableChanges{
			{Name: "Beta", Generation: 1, Key: []string{"Id"}, Columns: []string{"zeta", "Alpha"}, Changes: []Change{
				{Key: []Value{IntegerValue(4)}, CausalLength: 1, Columns: Columns(0, 1), Values: []Value{IntegerValue(1), IntegerValue(2)}},
				{Key: []Value{IntegerValue(2)}, CausalLength: 1, Columns: Columns(1), Values: []Value{IntegerValue(3)}},
				remove(IntegerValue(3), 4), remove(IntegerValue(1), 2), remove(IntegerValue(5), 2)}},
			{Name: "beta", Generation: 3, Key: []string{"id"}, Changes: []Change{remove(IntegerValue(1), 2)}},
			{Name: "alpha", Generation: 1, Key: []string{"id"}, Changes: []Change{remove(IntegerValue(1), 2)}}}},
	}
}

// golden renders a vector: what it says, its hash, its bytes.
func golden(c *Changeset, s Sealed) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "actor %v version %d time %v\nprevious %v\n", c.Actor, c.Version, c.Time, c.Previous)
	for _, id := range c.After {
		fmt.Fprintf(&b, "after %v %d\n", id.Actor, id.Version)
	}
	for _, t := range c.Tables {
		fmt.Fprintf(&b, "table %q generation %d key %q columns %q\n", t.Name, t.Generation, t.Key, t.Columns)
		for _, r := range t.Changes {
			fmt.Fprintf(&b, "  %q length %d columns %v values %q\n", r.Key, r.CausalLength, slices.Collect(r.Columns.All), r.Values)
		}
	}
	fmt.Fprintf(&b, "hash %v\n", s.Hash)
	for line := range slices.Chunk(s.Data, 32) {
		fmt.Fprintf(&b, "%x\n", line)
	}
	return b.Bytes()
}

// goldenData reads the bytes of a vector back from its file.
func goldenData(t testing.TB, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, tail, _ := strings.Cut(string(text), "\nhash ")
	_, digits, _ := strings.Cut(tail, "\n")
	data, err := hex.DecodeString(strings.ReplaceAll(digits, "\n", ""))
	if err != nil || len(data) == 0 {
		t.Fatalf("%s: no bytes: %v", file, err)
	}
	return data
}

func goldenFiles(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.golden")
	if err != nil || len(files) == 0 {
		t.Fatal("no testdata/*.golden; run with -rewrite", err)
	}
	return files
}

func TestGoldenVectors(t *testing.T) {
	vectors := goldens()
	for name, c := range vectors {
		t.Run(name, func(t *testing.T) {
			s := mustSeal(t, c)
			file := filepath.Join("testdata", name+".golden")
			got := golden(mustDecode(t, s), s)
			if *rewrite {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s:\n got\n%s\nwant\n%s", file, got, want)
			}
		})
	}
	if files := goldenFiles(t); len(files) != len(vectors) {
		t.Errorf("%d files for %d vectors", len(files), len(vectors))
	}
}

func TestGoldenBytesOpenDecodeAndSealToThemselves(t *testing.T) {
	for _, file := range goldenFiles(t) {
		data := goldenData(t, file)
		s, err := Open(data)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		c := mustDecode(t, s)
		if fmt.Sprint(c.Header) != fmt.Sprint(s.Header) {
			t.Errorf("%s: headers differ: %v and %v", file, c.Header, s.Header)
		}
		again := mustSeal(t, c)
		if !bytes.Equal(again.Data, data) || again.Hash != s.Hash {
			t.Errorf("%s: sealed again:\n%x\n%x", file, again.Data, data)
		}
	}
}

func openAndDecode(data []byte) (*Changeset, error) {
	s, err := Open(data)
	if err != nil {
		return nil, err
	}
	return s.Decode()
}

func TestEveryTruncationIsErrTruncated(t *testing.T) {
	for _, file := range goldenFiles(t) {
		data := goldenData(t, file)
		for i := range data {
			if _, err := openAndDecode(data[:i:i]); !errors.Is(err, ErrTruncated) {
				t.Fatalf("%s cut at %d of %d: %v", file, i, len(data), err)
			}
		}
	}
}

func TestAnotherFormatVersionIsErrUnsupported(t *testing.T) {
	for _, file := range goldenFiles(t) {
		data := goldenData(t, file)
		for _, v := range []byte{0, FormatVersion + 1, 255} {
			data[0] = v
			_, err := Open(data)
			if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "unsupported version") {
				t.Errorf("%s: version %d: %v", file, v, err)
			}
			if _, err := (Sealed{Data: data}).Decode(); !errors.Is(err, ErrUnsupported) {
				t.Errorf("%s: decode of version %d: %v", file, v, err)
			}
		}
	}
}

// TestEveryFlippedBitIsSeen: damage is refused, or it makes another canonical
// changeset with another hash; it never passes for the original.
func TestEveryFlippedBitIsSeen(t *testing.T) {
	for _, file := range goldenFiles(t) {
		data := goldenData(t, file)
		original, err := Open(data)
		if err != nil {
			t.Fatal(err)
		}
		for i := range len(data) * 8 {
			damaged := bytes.Clone(data)
			damaged[i/8] ^= 1 << (i % 8)
			s, err := Open(damaged)
			if err != nil {
				continue
			}
			if s.Hash == original.Hash {
				t.Fatalf("%s: bit %d is not hashed", file, i)
			}
			if c, err := s.Decode(); err == nil && !bytes.Equal(mustSeal(t, c).Data, damaged) {
				t.Fatalf("%s: bit %d: not canonical:\n%x\n%x", file, i, damaged, mustSeal(t, c).Data)
			}
		}
	}
}
