package changeset

import (
	"bytes"
	"errors"
	"runtime/metrics"
	"testing"
)

// maxExpansion bounds what decoding allocates, in bytes for each byte of input:
// a Value of 40 bytes stands for two bytes or more, a Change of 88 for four.
const maxExpansion = 100

// allocated is the sum of all heap allocations of the process so far. Large
// ones, which are those that matter here, are counted at once.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

func FuzzDecode(f *testing.F) {
	for _, file := range goldenFiles(f) {
		f.Add(goldenData(f, file))
	}
	f.Add([]byte(keys(5).raw(kInt, 2, 4, 6, 8)))
	f.Add([]byte(blocks(2).u(1).raw(1).u(1).raw(kInt, 2, kInt, 2).u(2, 1).raw(kInt, 4)))
	f.Fuzz(func(t *testing.T, data []byte) {
		before := allocated()
		s, err := Open(data)
		var c *Changeset
		if err == nil {
			c, err = s.Decode()
		}
		if n := allocated() - before; n > uint64(maxExpansion*len(data)+1<<20) {
			t.Fatalf("%d bytes allocated for %d", n, len(data))
		}
		if err != nil {
			classes := 0
			for _, class := range []error{ErrTruncated, ErrCorrupt, ErrTooLarge, ErrUnsupported} {
				if errors.Is(err, class) {
					classes++
				}
			}
			var e *DecodeError
			if classes != 1 || !errors.As(err, &e) || e.Offset < 0 || e.Offset > len(data) {
				t.Fatalf("%#v", err)
			}
			return
		}
		again, err := Seal(c)
		if err != nil || !bytes.Equal(again.Data, data) || again.Hash != s.Hash {
			t.Fatalf("%v: sealed again\n%x\n%x", err, again.Data, data)
		}
	})
}

func FuzzUnpack(f *testing.F) {
	for _, file := range goldenFiles(f) {
		f.Add(Pack(goldenData(f, file)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		data, err := Unpack(b)
		if err != nil {
			return
		}
		if again, err := Unpack(Pack(data)); err != nil || !bytes.Equal(again, data) {
			t.Fatal(err)
		}
	})
}

func TestDecodeAllocatesInProportionToItsInput(t *testing.T) {
	wide := many(2000, func(i int) Value { return IntegerValue(int64(i)) }, Value{})
	for desc, c := range map[string]*Changeset{"rows": inserted(5000), "wide rows of NULL": wide, "deletions": deletions(20000)} {
		s := mustSeal(t, c)
		before := allocated()
		mustDecode(t, s)
		if n := allocated() - before; n > uint64(maxExpansion*len(s.Data)) {
			t.Errorf("%s: %d bytes for %d", desc, n, len(s.Data))
		}
	}
}

func deletions(n int) *Changeset {
	c := withTable()
	for i := range n {
		c.Tables[0].Changes = append(c.Tables[0].Changes, remove(IntegerValue(int64(i)), 2))
	}
	return c
}
