package transport

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func sampleHello() hello {
	h := hello{
		minVersion: 1, maxVersion: 3, features: 5, actor: actor(9), epoch: 1 << 40, dial: 7,
		advertise: netip.MustParseAddrPort("192.0.2.1:8787"), cluster: "prod-1", name: "näme",
	}
	for i := range h.nonce {
		h.nonce[i] = byte(i)
	}
	h.schema[0], h.schema[31] = 0xaa, 0xbb
	return h
}

func TestHelloGolden(t *testing.T) {
	h := sampleHello()
	b := h.append(nil)
	golden(t, "hello", b)
	got, err := decodeHello(b)
	if err != nil || got != h {
		t.Fatalf("got %+v, %v\nwant %+v", got, err, h)
	}
	if n := len(hello{cluster: strings.Repeat("c", maxNameBytes), name: strings.Repeat("n", maxNameBytes), advertise: netip.MustParseAddrPort("[2001:db8::1]:1")}.append(nil)); n > maxHelloBytes {
		t.Errorf("the largest hello has %d bytes, above the limit", n)
	}
}

func TestEveryTruncationOfAHelloFails(t *testing.T) {
	b := sampleHello().append(nil)
	for n := range b {
		if _, err := decodeHello(b[:n]); !errors.Is(err, ErrTruncated) {
			t.Fatalf("%d of %d bytes: %v", n, len(b), err)
		}
	}
}

func TestMalformedHellos(t *testing.T) {
	edit := func(f func(*hello)) []byte {
		h := sampleHello()
		f(&h)
		return h.append(nil)
	}
	raw := func(i int, c byte) []byte {
		b := sampleHello().append(nil)
		b[i] = c
		return b
	}
	for _, c := range []struct {
		desc string
		b    []byte
		want error
	}{
		{"next layout", raw(0, helloLayout+1), ErrUnsupported},
		{"byte after the end", append(sampleHello().append(nil), 0), ErrCorrupt},
		{"no versions", edit(func(h *hello) { h.minVersion = 0 }), ErrCorrupt},
		{"versions reversed", edit(func(h *hello) { h.minVersion, h.maxVersion = 3, 2 }), ErrCorrupt},
		{"zero actor", edit(func(h *hello) { h.actor = [16]byte{} }), ErrCorrupt},
		{"no cluster", edit(func(h *hello) { h.cluster = "" }), ErrCorrupt},
		{"cluster too long", edit(func(h *hello) { h.cluster = strings.Repeat("x", maxNameBytes+1) }), ErrTooLarge},
		{"name not UTF-8", edit(func(h *hello) { h.name = "\xff" }), ErrCorrupt},
		{"address of 5 bytes", raw(91, 5), ErrCorrupt},
	} {
		if _, err := decodeHello(c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.desc, err, c.want)
		}
	}
}

func FuzzDecodeHello(f *testing.F) {
	f.Add(sampleHello().append(nil))
	f.Add([]byte{helloLayout + 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := decodeHello(b)
		if err != nil {
			if _, ok := frameCode(err); !ok {
				t.Fatalf("error of no class: %v", err)
			}
			return
		}
		if again := h.append(nil); !bytes.Equal(again, b) {
			t.Fatalf("%x encodes to %x", b, again)
		}
	})
}
