package members

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset"
)

var goldenMeta = meta{actor: testActor(0x17), protocol: 300, apiAddr: "10.0.0.1:8080", software: "0.1.0"}

const goldenMetaHex = "01" + "17000000000040008000000000000017" + "ac02" + "0d" + "31302e302e302e313a38303830" + "05" + "302e312e30"

func TestMetaGolden(t *testing.T) {
	b := appendMeta(nil, goldenMeta)
	if hex.EncodeToString(b) != goldenMetaHex {
		t.Errorf("encoded as %x", b)
	}
	if m, err := decodeMeta(b); err != nil || m != goldenMeta {
		t.Errorf("decoded as %+v: %v", m, err)
	}
}

func TestMetaTruncated(t *testing.T) {
	b := appendMeta(nil, goldenMeta)
	for i := range b {
		if _, err := decodeMeta(b[:i]); !errors.Is(err, changeset.ErrTruncated) {
			t.Errorf("%d bytes: %v", i, err)
		}
	}
}

func TestMetaFaults(t *testing.T) {
	b := appendMeta(nil, goldenMeta)
	with := func(change func(b []byte) []byte) []byte { return change(bytes.Clone(b)) }
	long := goldenMeta
	long.apiAddr = strings.Repeat("x", maxAPIAddr+1)
	for _, tc := range []struct {
		desc string
		b    []byte
		want error
	}{
		{"next version", with(func(b []byte) []byte { b[0]++; return b }), changeset.ErrUnsupported},
		{"version 0", with(func(b []byte) []byte { b[0] = 0; return b }), changeset.ErrCorrupt},
		{"trailing byte", with(func(b []byte) []byte { return append(b, 0) }), changeset.ErrCorrupt},
		{"padded number", with(func(b []byte) []byte { b[18] = 0x82; return append(b[:19], append([]byte{0}, b[19:]...)...) }), changeset.ErrCorrupt},
		{"number of 11 bytes", append(bytes.Clone(b[:17]), bytes.Repeat([]byte{0xff}, 11)...), changeset.ErrCorrupt},
		{"long string", appendMeta(nil, long), changeset.ErrTooLarge},
		{"long input", make([]byte, maxMetaLength+1), changeset.ErrTooLarge},
	} {
		if _, err := decodeMeta(tc.b); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.desc, err, tc.want)
		}
	}
	longest := meta{testActor(1), 1<<64 - 1, strings.Repeat("x", maxAPIAddr), strings.Repeat("y", maxSoftware)}
	if n := len(appendMeta(nil, longest)); n > maxMetaLength {
		t.Errorf("the longest is %d bytes", n)
	}
}

func FuzzMeta(f *testing.F) {
	f.Add(appendMeta(nil, goldenMeta))
	f.Add(appendMeta(nil, meta{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := decodeMeta(b); err == nil && !bytes.Equal(appendMeta(nil, m), b) {
			t.Errorf("%x is another encoding of %+v", b, m)
		}
	})
}
