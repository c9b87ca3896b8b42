package changeset

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"
)

func noise(n int) []byte {
	r := rand.New(rand.NewPCG(8, 9))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestPackKeepsTheSmallerForm(t *testing.T) {
	for _, c := range []struct {
		desc   string
		data   []byte
		marker byte
	}{
		{"nothing", nil, markerRaw},
		{"small", make([]byte, packAbove), markerRaw},
		{"repetitive", make([]byte, packAbove+1), markerS2},
		{"not compressible", noise(4000), markerRaw},
		{"a changeset", mustSeal(t, inserted(100)).Data, markerS2},
		{"the largest", make([]byte, MaxEncodedSize), markerS2},
	} {
		kept := bytes.Clone(c.data)
		p := Pack(c.data)
		if p[0] != c.marker || len(p) > len(c.data)+1 {
			t.Errorf("%s: marker %d, %d bytes of %d", c.desc, p[0], len(p), len(c.data))
		}
		got, err := Unpack(p)
		if err != nil || !bytes.Equal(got, kept) || !bytes.Equal(c.data, kept) {
			t.Errorf("%s: %v", c.desc, err)
		}
	}
}

func TestPackDoesNotShareItsInput(t *testing.T) {
	data := []byte("abc")
	p := Pack(data)
	data[0] = 'x'
	if string(p[1:]) != "abc" {
		t.Error(p)
	}
}

func TestUnpackErrors(t *testing.T) {
	packed := Pack(make([]byte, 5000))
	huge := binary.AppendUvarint([]byte{markerS2}, MaxEncodedSize+1)
	for _, c := range []struct {
		desc string
		b    []byte
		want error
	}{
		{"nothing", nil, ErrTruncated},
		{"a later form", []byte{2, 0}, ErrUnsupported},
		{"raw above the limit", make([]byte, MaxEncodedSize+2), ErrTooLarge},
		{"s2 that declares more than the limit", huge, ErrTooLarge},
		{"s2 that declares 4 GiB", binary.AppendUvarint([]byte{markerS2}, 1<<32-1), ErrTooLarge},
		{"s2 without a size", []byte{markerS2}, ErrCorrupt},
		{"s2 cut short", packed[:len(packed)-1], ErrCorrupt},
		{"s2 with a tail", append(bytes.Clone(packed), 0), ErrCorrupt},
	} {
		got, err := Unpack(c.b)
		var e *DecodeError
		if !errors.Is(err, c.want) || !errors.As(err, &e) || got != nil {
			t.Errorf("%s: %d bytes, %v; want %v", c.desc, len(got), err, c.want)
		}
	}
	if n := testing.AllocsPerRun(10, func() { _, _ = Unpack(huge) }); n > 10 {
		t.Errorf("%v allocations to refuse", n)
	}
}
