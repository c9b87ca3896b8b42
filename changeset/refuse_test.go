package changeset

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset/hlc"
)

// wire writes the format by hand, right or wrong.
type wire []byte

func (w wire) u(n ...uint64) wire {
	for _, n := range n {
		w = binary.AppendUvarint(w, n)
	}
	return w
}
func (w wire) raw(b ...byte) wire { return append(w, b...) }
func (w wire) s(names ...string) wire {
	for _, s := range names {
		w = append(w.u(uint64(len(s))), s...)
	}
	return w
}
func (w wire) zeros(n int) wire { return append(w, make([]byte, n)...) }

// head is a good header of version 2 without after; its parts may be replaced.
type head struct {
	version  wire
	time     uint64
	actor    byte
	previous byte
	after    wire
}

func goodHead() head {
	return head{version: wire{}.u(2), time: 1 << 40, actor: 9, previous: 1, after: wire{}.u(0)}
}

func (h head) wire() wire {
	w := append(wire{FormatVersion, h.actor}.zeros(ActorSize-1), h.version...)
	w = binary.BigEndian.AppendUint64(w, h.time)
	return append(w.raw(h.previous).zeros(HashSize-1), h.after...)
}

// tables follows a good header with n tables.
func tables(n uint64) wire { return goodHead().wire().u(n) }

// blocks follows a good header with one table t(k, v) of n blocks.
func blocks(n uint64) wire { return tables(1).s("t").u(1, 1).s("k").u(1).s("v").u(n) }

// keys starts a block of rows insertions with v, whose keys come next.
func keys(rows uint64) wire { return blocks(1).u(1).raw(1).u(rows) }

// The kind bytes.
const kInt, kReal, kText, kNull = byte(Integer), byte(Real), byte(Text), byte(Null)

func edit(f func(*head)) wire {
	h := goodHead()
	f(&h)
	return h.wire().u(0)
}

func TestTheHandWrittenBasesAreGood(t *testing.T) {
	for desc, w := range map[string]wire{
		"header": edit(func(*head) {}),
		"table":  keys(2).raw(kInt, 2, 4).raw(kInt, 1, 2),
		"two":    blocks(2).u(1).raw(1).u(1).raw(kInt, 2, kInt, 2).u(2, 1).raw(kInt, 4),
	} {
		if _, err := openAndDecode(w); err != nil {
			t.Errorf("%s: %v", desc, err)
		}
	}
}

func TestDecodeRefusesWhatSealDoesNotWrite(t *testing.T) {
	long := strings.Repeat("n", MaxNameSize+1)
	var names []string
	for i := range MaxColumns {
		names = append(names, fmt.Sprint("K", i))
	}
	for _, c := range []struct {
		desc string
		data wire
		want error
		say  string
	}{
		{"actor zero", edit(func(h *head) { h.actor = 0 }), ErrCorrupt, "actor is zero"},
		{"version 0", edit(func(h *head) { h.version = wire{}.u(0) }), ErrCorrupt, "version 0"},
		{"version above the limit", edit(func(h *head) { h.version = wire{}.u(uint64(MaxVersion) + 1) }), ErrCorrupt, "version"},
		{"version in a long varint", edit(func(h *head) { h.version = wire{0x82, 0} }), ErrCorrupt, "minimal"},
		{"time 0", edit(func(h *head) { h.time = 0 }), ErrCorrupt, "time"},
		{"time above Max", edit(func(h *head) { h.time = uint64(hlc.Max) + 1 }), ErrCorrupt, "time"},
		{"version 1 with a previous", edit(func(h *head) { h.version = wire{}.u(1) }), ErrCorrupt, "previous"},
		{"after: not sorted", edit(func(h *head) { h.after = wire{}.u(2).raw(2).zeros(15).u(1).raw(1).zeros(15).u(1) }), ErrCorrupt, "after entry"},
		{"after: an actor twice", edit(func(h *head) { h.after = wire{}.u(2).raw(2).zeros(15).u(1).raw(2).zeros(15).u(2) }), ErrCorrupt, "after entry"},
		{"after: version 0", edit(func(h *head) { h.after = wire{}.u(1).raw(2).zeros(15).u(0) }), ErrCorrupt, "version 0"},
		{"after: actor zero", edit(func(h *head) { h.after = wire{}.u(1).zeros(16).u(1) }), ErrCorrupt, "actor"},
		{"after: itself", edit(func(h *head) { h.after = wire{}.u(1).raw(9).zeros(15).u(2) }), ErrCorrupt, "not below"},
		{"after: more than there is room", edit(func(h *head) { h.after = wire{}.u(1 << 60) }), ErrTruncated, "declared"},

		{"bytes after the end", tables(0).raw(0), ErrCorrupt, "after the end"},
		{"more tables than there is room", tables(1 << 50), ErrTruncated, "tables"},
		{"a table name of nothing", tables(1).s("").u(1, 1).s("k").u(0, 1, 2, 1).raw(kInt, 2).zeros(9), ErrCorrupt, "empty"},
		{"a table name with NUL", tables(1).s("a\x00").u(1, 1).s("k").u(0, 1, 2, 1).raw(kInt, 2), ErrCorrupt, "NUL"},
		{"a table name too long", tables(1).s(long).u(1, 1).s("k").u(0, 1, 2, 1).raw(kInt, 2), ErrTooLarge, "name"},
		{"generation 0", tables(1).s("t").u(0, 1).s("k").u(0, 1, 2, 1).raw(kInt, 2), ErrCorrupt, "generation"},
		{"an even generation", tables(1).s("t").u(2, 1).s("k").u(0, 1, 2, 1).raw(kInt, 2), ErrCorrupt, "generation"},
		{"a generation too high", tables(1).s("t").u(uint64(MaxCausalLength)+1, 1).s("k").u(0, 1, 2, 1).raw(kInt, 2), ErrCorrupt, "generation"},
		{"no key columns", tables(1).s("tt").u(1, 0, 0, 1, 2, 1).raw(kInt, 2).zeros(9), ErrCorrupt, "key"},
		{"a column twice", tables(1).s("t").u(1, 1).s("k").u(1).s("k").u(1, 1).raw(1).u(1).raw(kInt, 2, kInt, 2), ErrCorrupt, "twice"},
		{"a column twice but for case", tables(1).s("t").u(1, 2).s("Key", "kEY").u(0, 1, 2, 1).raw(kInt, 2, kInt, 2), ErrCorrupt, "twice"},
		{"one of many columns twice", tables(1).s("t").u(1, 40).s(names[:39]...).s("k7").u(0, 1, 2, 1).raw(kInt, 2), ErrCorrupt, "twice"},
		{"too many columns", tables(1).s("t").u(1, 1).s("k").u(MaxColumns).s(names...).u(0).zeros(300), ErrTooLarge, "columns"},
		{"a table without blocks", blocks(0).zeros(4), ErrCorrupt, "without changes"},
		{"a table twice", tables(2).s("t").u(1, 1).s("k").u(0, 1, 2, 1).raw(kInt, 2).s("T").u(1, 1).s("k").u(0, 1, 2, 1).raw(kInt, 2), ErrCorrupt, "table is not above"},
		{"tables not sorted", tables(2).s("u").u(1, 1).s("k").u(0, 1, 2, 1).raw(kInt, 2).s("T").u(1, 1).s("k").u(0, 1, 2, 1).raw(kInt, 2), ErrCorrupt, "table is not above"},
		{"generations not sorted", tables(2).s("t").u(3, 1).s("k").u(0, 1, 2, 1).raw(kInt, 2).s("t").u(1, 1).s("k").u(0, 1, 2, 1).raw(kInt, 2), ErrCorrupt, "table is not above"},

		{"causal length 0", blocks(1).u(0, 1).raw(kInt, 2, kInt, 2), ErrCorrupt, "causal length"},
		{"a causal length too high", blocks(1).u(uint64(MaxCausalLength)+1).raw(1).u(1).raw(kInt, 2, kInt, 2), ErrCorrupt, "causal length"},
		{"a bit above the columns", blocks(1).u(1).raw(3).u(1).raw(kInt, 2, kInt, 2), ErrCorrupt, "bits"},
		{"a column that nothing carries", blocks(1).u(2, 1).raw(kInt, 2), ErrCorrupt, "no change carries"},
		{"a block without rows", keys(0).raw(kInt, kInt), ErrCorrupt, "without rows"},
		{"more rows than there is room", keys(1<<40).raw(kInt, 2, kInt, 2), ErrTruncated, "rows"},
		{"more values than there is room", keys(5).raw(kInt, 2, 4, 6, 8), ErrTruncated, "5 rows of 2"},
		{"a block twice", blocks(2).u(1).raw(1).u(1).raw(kInt, 2, kInt, 2).u(1).raw(1).u(1).raw(kInt, 4, kInt, 2), ErrCorrupt, "block is not above"},
		{"causal lengths not sorted", blocks(2).u(2, 1).raw(kInt, 2).u(1).raw(1).u(1).raw(kInt, 4, kInt, 2), ErrCorrupt, "block is not above"},
		{"column sets not sorted", blocks(2).u(1).raw(1).u(1).raw(kInt, 2, kInt, 2).u(1).raw(0).u(1).raw(kInt, 4), ErrCorrupt, "block is not above"},

		{"keys not sorted", keys(2).raw(kInt, 4, 2).raw(kInt, 1, 2), ErrCorrupt, "key"},
		{"a key twice", keys(2).raw(kInt, 4, 4).raw(kInt, 1, 2), ErrCorrupt, "key"},
		{"a key in two blocks", blocks(2).u(1).raw(1).u(1).raw(kInt, 2, kInt, 2).u(2, 1).raw(kInt, 2), ErrCorrupt, "in two blocks"},
		{"NULL in a key", keys(1).raw(0, kNull, kInt, 2), ErrCorrupt, "NULL"},
		{"-0.0 in a key", keys(1).raw(kReal, 0x80).zeros(7).raw(kInt, 2), ErrCorrupt, "-0.0"},
		{"-0.0 in a mixed key", keys(2).raw(0, kInt, kReal, 2, 0x80).zeros(7).raw(kInt, 2, 4), ErrCorrupt, "-0.0"},
		{"a key too long", keys(1).raw(kText).s(strings.Repeat("k", MaxKeySize+1)).raw(kInt, 2), ErrTooLarge, "key"},
		{"a column kind above", keys(1).raw(kInt, 2, 6, 2), ErrCorrupt, "column kind"},
		{"a column of NULL kind", keys(1).raw(kInt, 2, kNull, 0), ErrCorrupt, "column kind"},
		{"a value kind 0", keys(2).raw(kInt, 2, 4, 0, 0, kInt, 2), ErrCorrupt, "value kind"},
		{"a value kind above", keys(2).raw(kInt, 2, 4, 0, 6, kInt, 2), ErrCorrupt, "value kind"},
		{"kinds that are all alike", keys(2).raw(kInt, 2, 4, 0, kInt, kInt, 2, 2), ErrCorrupt, "alike"},
		{"an integer in a long varint", keys(1).raw(kInt, 2, kInt, 0x82, 0), ErrCorrupt, "minimal"},
		{"a length in a long varint", keys(1).raw(kInt, 2, kText, 0x81, 0, 'v'), ErrCorrupt, "minimal"},
		{"an integer of 65 bits", keys(1).raw(kInt, 2, kInt).raw(bytes.Repeat([]byte{255}, 9)...).raw(2), ErrCorrupt, "64-bit"},
		{"NaN", keys(1).raw(kInt, 2, kReal, 0x7f, 0xf8).zeros(6), ErrCorrupt, "not a number"},
		{"a text longer than the rest", keys(1).raw(kInt, 2, kText, 9, 'v'), ErrTruncated, "9 bytes"},
	} {
		got, err := openAndDecode(c.data)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v, %v; want %v with %q", c.desc, got, err, c.want, c.say)
		}
	}
}

func TestErrorsSayWhere(t *testing.T) {
	good := keys(2).raw(kInt, 2, 4).raw(kInt, 1, 2)
	_, err := openAndDecode(append(slices.Clone(good[:len(good)-2]), 0x81, 0x00))
	var e *DecodeError
	if !errors.As(err, &e) || e.Table != "t" || e.Offset != len(good)-2 || e.Err != ErrCorrupt {
		t.Errorf("%#v", err)
	}
	if want := fmt.Sprintf(`changeset: corrupt at byte %d in table "t": integer is not a minimal 64-bit varint`, len(good)-2); err.Error() != want {
		t.Errorf("%s\nnot %s", err, want)
	}
	if _, err := openAndDecode(good.raw(1)); !errors.As(err, &e) || e.Table != "" || e.Offset != len(good) {
		t.Errorf("%v", err)
	}
}

func TestTheFourErrorsAreDifferent(t *testing.T) {
	all := []error{ErrTruncated, ErrCorrupt, ErrTooLarge, ErrUnsupported, ErrInvalid}
	for i, a := range all {
		for j, b := range all {
			if errors.Is(a, b) != (i == j) || errors.Is(&DecodeError{Err: a}, b) != (i == j) {
				t.Errorf("%v is %v", a, b)
			}
		}
	}
}

func TestTooLargeInputsAreRefusedAtOnce(t *testing.T) {
	data := make([]byte, MaxEncodedSize+1)
	copy(data, goodHead().wire())
	if _, err := Open(data); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	if _, err := (Sealed{Data: data}).Decode(); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	// Within the size, but with more values than a decoder has to hold.
	w := keys(MaxValues/2 + 1).raw(kInt).zeros(MaxValues/2 + 1).raw(kInt).zeros(MaxValues/2 + 1)
	if _, err := openAndDecode(w); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	// Each table below the limit, both together above.
	const rows = MaxValues / 10
	first := mustSeal(t, many(rows, func(i int) Value { return IntegerValue(int64(i)) }, Value{})).Data
	first[len(testHeaderBytes(t))-1]++ // tables
	second := func(rows byte) wire {
		w := wire(bytes.Clone(first)).s("u").u(1, 1).s("k").u(0, 1, 2, uint64(rows)).raw(kInt)
		for i := range rows {
			w = w.raw(2 * i)
		}
		return w
	}
	if _, err := openAndDecode(second(MaxValues - 10*rows)); err != nil {
		t.Error(err)
	}
	if _, err := openAndDecode(second(MaxValues - 10*rows + 1)); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
}

// testHeaderBytes ends with the number of tables, 0.
func testHeaderBytes(t *testing.T) []byte {
	return mustSeal(t, &Changeset{Header: testHeader(2)}).Data
}
