package versions

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files in testdata")

// goldenVectors are written to testdata in the order given here.
func goldenVectors() []struct {
	desc string
	make func(v *Vector)
} {
	return []struct {
		desc string
		make func(v *Vector)
	}{
		{"no actor", func(*Vector) {}},
		{"one range from 1, the usual case", func(v *Vector) {
			v.Put(actor(0), Entry{Applied: SetOf(Range{1, 70_000}), Head: head(0xabcd)})
		}},
		{"gaps, parked, three actors", func(v *Vector) {
			v.Put(actor(0), Entry{Applied: SetOf(Range{1, 4}, Range{6, 6}, Range{300, 400}), Parked: SetOf(Range{5, 5}, Range{500, 500}), Head: head(1)})
			v.Put(actor(1), Entry{Parked: SetOf(Range{2, 3})})
			v.Put(actor(70_000), Entry{Applied: SetOf(Range{3, 3}), Head: head(2)})
		}},
		{"all versions", func(v *Vector) {
			v.Put(actor(0), Entry{Applied: SetOf(Range{1, changeset.MaxVersion}), Head: head(3)})
		}},
	}
}

// TestGoldenVectors holds the encoding and the digest to the bytes in testdata:
// a difference is a change of the protocol.
func TestGoldenVectors(t *testing.T) {
	var out strings.Builder
	out.WriteString("# name, encoded vector, digest of its applied part\n")
	for _, g := range goldenVectors() {
		v := NewVector()
		g.make(v)
		b, err := v.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "\n%s\n%x\n%x\n", g.desc, b, v.Digest())
		w, err := DecodeVector(b)
		if err != nil || !v.Equal(w) || w.Digest() != v.Digest() {
			t.Errorf("%s: does not come back: %v", g.desc, err)
		}
	}
	path := filepath.Join("testdata", "vectors.txt")
	if *rewrite {
		if err := os.WriteFile(path, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("the encoding changed; got\n%s", out.String())
	}
}

func TestVectorRoundTrip(t *testing.T) {
	for seed := range uint64(1000) {
		v, _, _ := randomVector(rand.New(rand.NewPCG(seed, 4)))
		b, err := v.AppendBinary([]byte("before"))
		if err != nil {
			t.Fatal(err)
		}
		w, err := DecodeVector(b[len("before"):])
		if err != nil || !v.Equal(w) || v.Digest() != w.Digest() {
			t.Fatalf("seed %d: does not come back: %v", seed, err)
		}
	}
}

func encodedExample(t testing.TB) []byte {
	v := NewVector()
	goldenVectors()[2].make(v)
	b, err := v.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestEveryTruncationIsTruncated(t *testing.T) {
	b := encodedExample(t)
	for n := range b {
		if _, err := DecodeVector(b[:n]); !errors.Is(err, changeset.ErrTruncated) {
			t.Errorf("the first %d of %d bytes: %v", n, len(b), err)
		}
	}
}

func TestDecodeVectorRefuses(t *testing.T) {
	id := func(n int) string { a := actor(n); return hex.EncodeToString(a[:]) }
	hash := strings.Repeat("11", 32)
	one := func(n int, sets string) string { return id(n) + sets + hash }
	for _, test := range []struct {
		desc string
		hex  string
		want error
	}{
		{"nothing", "", changeset.ErrTruncated},
		{"the next format", "0200", changeset.ErrUnsupported},
		{"format 0", "0000", changeset.ErrUnsupported},
		{"the next format, cut off", "02", changeset.ErrUnsupported},
		{"bytes after the end", "010000", changeset.ErrCorrupt},
		{"actors out of order", "0102" + one(2, "01000000") + one(1, "01000000"), changeset.ErrCorrupt},
		{"an actor twice", "0102" + one(1, "01000000") + one(1, "01000000"), changeset.ErrCorrupt},
		{"the zero actor", "0101" + strings.Repeat("00", 16) + "01000000" + hash, changeset.ErrCorrupt},
		{"an actor without versions", "0101" + id(1) + "0000" + hash, changeset.ErrCorrupt},
		{"a version applied and parked", "0101" + one(1, "01000501"+"0002"), changeset.ErrCorrupt},
		{"a number that is longer than needed", "0101" + one(1, "0180000000"), changeset.ErrCorrupt},
		{"a version above the highest", "0101" + one(1, "0100ffffffffff1f"+"00"), changeset.ErrCorrupt},
		{"versions that overflow", "0101" + one(1, "01ffffffffffffffff7fffffffffffffffff7f00"), changeset.ErrCorrupt},
		{"a number of more than 63 bits", "0101" + one(1, "01ffffffffffffffffff0100"), changeset.ErrCorrupt},
		{"more actors than fit", "010a" + one(1, "01000000"), changeset.ErrTruncated},
		{"more actors than allowed", "01818004", changeset.ErrTooLarge},
		{"more ranges than allowed", "0101" + one(1, "81804000"), changeset.ErrTooLarge},
	} {
		t.Run(test.desc, func(t *testing.T) {
			b, err := hex.DecodeString(test.hex)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := DecodeVector(b); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
	t.Run("more bytes than allowed", func(t *testing.T) {
		b := make([]byte, MaxVectorSize+1)
		b[0] = formatVersion
		if _, err := DecodeVector(b); !errors.Is(err, changeset.ErrTooLarge) {
			t.Errorf("got %v", err)
		}
	})
}

func TestAppendBinaryRefusesWhatNobodyWouldAccept(t *testing.T) {
	v := NewVector()
	v.items = make([]item, MaxActors+1)
	if _, err := v.AppendBinary(nil); !errors.Is(err, changeset.ErrTooLarge) {
		t.Errorf("too many actors: %v", err)
	}
	many := Set{ranges: make([]Range, MaxRanges+1)}
	for i := range many.ranges {
		many.ranges[i] = Range{changeset.Version(2*i + 1), changeset.Version(2*i + 1)}
	}
	v = NewVector()
	v.Put(actor(1), Entry{Applied: many})
	if _, err := v.AppendBinary(nil); !errors.Is(err, changeset.ErrTooLarge) {
		t.Errorf("too many ranges: %v", err)
	}
	v = NewVector()
	many.ranges = many.ranges[:MaxRanges]
	for n := range 9 { // 2 MiB each
		v.Put(actor(n), Entry{Applied: many})
	}
	if _, err := v.AppendBinary(nil); !errors.Is(err, changeset.ErrTooLarge) {
		t.Errorf("too many bytes: %v", err)
	}
}

// TestDecodingAllocatesNoMoreThanTheInputIsWorth feeds claims of large numbers
// with little behind them.
func TestDecodingAllocatesNoMoreThanTheInputIsWorth(t *testing.T) {
	id := actor(1)
	claims := [][]byte{
		append([]byte{1, 0xff, 0xff, 0x03}, make([]byte, 1000)...),                                         // 65,535 actors
		append(append([]byte{1, 1}, id[:]...), append([]byte{0xff, 0xff, 0x3f}, make([]byte, 1000)...)...), // 1,048,575 ranges
	}
	for i, b := range claims {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := DecodeVector(b); err == nil {
			t.Errorf("claim %d was believed", i)
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 64*uint64(len(b)) {
			t.Errorf("claim %d: %d bytes allocated for %d bytes of input", i, n, len(b))
		}
	}
}

func FuzzDecodeVector(f *testing.F) {
	for _, g := range goldenVectors() {
		v := NewVector()
		g.make(v)
		b, _ := v.AppendBinary(nil)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := DecodeVector(b)
		if err != nil {
			classes := 0
			for _, class := range []error{changeset.ErrTruncated, changeset.ErrCorrupt, changeset.ErrTooLarge, changeset.ErrUnsupported} {
				if errors.Is(err, class) {
					classes++
				}
			}
			if classes != 1 {
				t.Fatalf("%v is of %d classes", err, classes)
			}
			return
		}
		again, err := v.AppendBinary(nil)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("accepted %x, writes %x, %v", b, again, err)
		}
		if w, err := DecodeVector(again); err != nil || w.Digest() != v.Digest() || !w.Equal(v) {
			t.Fatalf("%x does not come back: %v", b, err)
		}
	})
}
