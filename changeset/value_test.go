package changeset

import (
	"bytes"
	"errors"
	"math"
	"testing"
)

var (
	infinity = math.Inf(1)
	minusNul = math.Copysign(0, -1)
)

func TestValuesAreEqualByClassAndBytes(t *testing.T) {
	// Values of different rows are different, those of one row are equal.
	classes := [][]Value{
		{{}, NullValue(), RealValue(math.NaN())},
		{IntegerValue(0)},
		{IntegerValue(1)},
		{IntegerValue(-1)},
		{IntegerValue(math.MaxInt64)},
		{IntegerValue(math.MinInt64)},
		{RealValue(0)},
		{RealValue(minusNul)},
		{RealValue(1)},
		{RealValue(infinity)},
		{RealValue(-infinity)},
		{TextValue(""), TextBytes(nil), TextBytes([]byte{})},
		{TextValue("a"), TextBytes([]byte("a"))},
		{TextValue("A")},
		{TextValue("a ")},
		{TextValue("a\x00b")},
		{TextValue("a\x00")},
		{TextValue("\xff\xfe")},
		{BlobValue(nil), BlobValue([]byte{})},
		{BlobValue([]byte("a"))},
		{BlobValue([]byte{0})},
	}
	type member struct {
		class int
		v     Value
	}
	var all []member
	for i, class := range classes {
		for _, v := range class {
			all = append(all, member{i, v})
		}
	}
	for _, a := range all {
		for _, b := range all {
			same := a.class == b.class
			if a.v.Equal(b.v) != same {
				t.Errorf("%v (%v) equal to %v (%v): %v", a.v, a.v.Kind(), b.v, b.v.Kind(), !same)
			}
			if x, y := AppendValue(nil, a.v), AppendValue(nil, b.v); bytes.Equal(x, y) != same {
				t.Errorf("%v and %v: encoded %x and %x", a.v, b.v, x, y)
			}
		}
	}
}

func TestValuesSurviveEncodingWithTheirRest(t *testing.T) {
	for _, v := range []Value{
		NullValue(), {}, IntegerValue(0), IntegerValue(-1), IntegerValue(63), IntegerValue(64), IntegerValue(-65),
		IntegerValue(math.MaxInt64), IntegerValue(math.MinInt64), RealValue(1.5), RealValue(minusNul), RealValue(-infinity),
		TextValue(""), TextValue("a\x00b\xff"), TextValue(string(make([]byte, 300))), BlobValue([]byte{0, 1}),
	} {
		b := AppendValue([]byte("x"), v)[1:]
		for i := range b {
			if _, _, err := DecodeValue(b[:i]); !errors.Is(err, ErrTruncated) {
				t.Errorf("%v cut at %d: %v", v, i, err)
			}
		}
		got, rest, err := DecodeValue(append(b, "rest"...))
		if err != nil || !got.Equal(v) || string(rest) != "rest" {
			t.Errorf("%v became %v, rest %q, %v", v, got, rest, err)
		}
	}
}

func TestDecodeValueRefusesWhatNoValueEncodesTo(t *testing.T) {
	for desc, b := range map[string][]byte{
		"kind 0":                   {0},
		"kind 6":                   {6},
		"integer, long form":       {byte(Integer), 0x81, 0x00},
		"integer of 65 bits":       {byte(Integer), 255, 255, 255, 255, 255, 255, 255, 255, 255, 2},
		"length, long form":        {byte(Text), 0x80, 0x00},
		"a real that is no number": append([]byte{byte(Real)}, 0x7f, 0xf8, 0, 0, 0, 0, 0, 1),
	} {
		if v, _, err := DecodeValue(b); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v, %v", desc, v, err)
		}
	}
}

func TestValuePrintsAsSQL(t *testing.T) {
	for _, c := range []struct {
		v    Value
		want string
	}{
		{Value{}, "NULL"},
		{IntegerValue(-7), "-7"},
		{RealValue(1), "1.0"},
		{RealValue(1e300), "1e+300"},
		{RealValue(-infinity), "-9e999"},
		{RealValue(infinity), "9e999"},
		{TextValue("it's"), "'it''s'"},
		{BlobValue([]byte{0xab}), "x'ab'"},
	} {
		if got := c.v.String(); got != c.want {
			t.Errorf("%s, not %s", got, c.want)
		}
	}
}

func TestKindsPrintAsTypeof(t *testing.T) {
	for k, want := range map[Kind]string{Integer: "integer", Real: "real", Text: "text", Blob: "blob", Null: "null", 9: "kind(9)"} {
		if k.String() != want {
			t.Errorf("%s, not %s", k, want)
		}
	}
}

func TestCloneSharesNothing(t *testing.T) {
	b := []byte("abc")
	v := BlobValue(b)
	w := v.Clone()
	b[0] = 'x'
	if string(v.Bytes()) != "xbc" || w.Text() != "abc" {
		t.Error(v, w)
	}
}

func TestCanonicalDropsTheSignOfZeroOnly(t *testing.T) {
	if got := RealValue(minusNul).Canonical(); !got.Equal(RealValue(0)) {
		t.Error(got)
	}
	for _, v := range []Value{IntegerValue(math.MinInt64), RealValue(-1), TextValue("-0.0"), {}} {
		if !v.Canonical().Equal(v) {
			t.Error(v)
		}
	}
}
