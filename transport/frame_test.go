package transport

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "rewrite golden vectors in testdata")

// golden compares data with the hexadecimal vector in testdata.
func golden(t *testing.T, name string, data []byte) {
	t.Helper()
	path := "testdata/" + name + ".hex"
	if *rewrite {
		if err := os.WriteFile(path, []byte(hex.EncodeToString(data)+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(data); got != strings.TrimSpace(string(text)) {
		t.Errorf("%s: encoding changed\n got %s\nwant %s", name, got, text)
	}
}

func TestFrameGolden(t *testing.T) {
	b := AppendFrame(nil, 1, nil)
	b = AppendFrame(b, 2, []byte("hello"))
	b = AppendFrame(b, 255, bytes.Repeat([]byte{0xaa}, 300))
	golden(t, "frames", b)
	for _, want := range []struct {
		frame uint8
		n     int
	}{{1, 0}, {2, 5}, {255, 300}} {
		frame, payload, rest, err := DecodeFrame(b)
		if err != nil || frame != want.frame || len(payload) != want.n {
			t.Fatalf("got type %d, %d bytes, %v; want %+v", frame, len(payload), err, want)
		}
		b = rest
	}
	if len(b) != 0 {
		t.Errorf("%d bytes left", len(b))
	}
}

func TestEveryTruncationOfAFrameFails(t *testing.T) {
	b := AppendFrame(nil, 9, bytes.Repeat([]byte("x"), 200))
	for n := range b {
		_, _, _, err := DecodeFrame(b[:n])
		if !errors.Is(err, ErrTruncated) {
			t.Fatalf("%d of %d bytes: %v", n, len(b), err)
		}
		_, _, err = readFrame(bufio.NewReader(bytes.NewReader(b[:n])), nil, MaxFrame)
		if want := error(ErrTruncated); n == 0 {
			if err != io.EOF {
				t.Fatalf("clean end: %v", err)
			}
		} else if !errors.Is(err, want) {
			t.Fatalf("stream of %d of %d bytes: %v", n, len(b), err)
		}
	}
}

func TestMalformedFrames(t *testing.T) {
	for _, c := range []struct {
		desc string
		b    []byte
		want error
		code Code
	}{
		{"next version", []byte{FrameVersion + 1, 1, 0}, ErrUnsupported, CodeFrameUnsupported},
		{"version 0", []byte{0, 1, 0}, ErrUnsupported, CodeFrameUnsupported},
		{"type 0", []byte{1, 0, 0}, ErrCorrupt, CodeFrameCorrupt},
		{"length not minimal", []byte{1, 1, 0x80, 0}, ErrCorrupt, CodeFrameCorrupt},
		{"length of six bytes", []byte{1, 1, 0x80, 0x80, 0x80, 0x80, 0x80, 1}, ErrCorrupt, CodeFrameCorrupt},
		{"one byte over the limit", append([]byte{1, 1}, 0x81, 0x80, 0x80, 0x11), ErrTooLarge, CodeFrameTooLarge},
		{"largest length", []byte{1, 1, 0xff, 0xff, 0xff, 0xff, 0x7f}, ErrTooLarge, CodeFrameTooLarge},
		{"cut payload", []byte{1, 1, 3, 'a', 'b'}, ErrTruncated, CodeFrameTruncated},
	} {
		_, _, _, err := DecodeFrame(c.b)
		if code, ok := frameCode(err); !errors.Is(err, c.want) || !ok || code != c.code {
			t.Errorf("%s: %v (code %v), want %v", c.desc, err, code, c.want)
		}
		for _, other := range []error{ErrTruncated, ErrTooLarge, ErrCorrupt, ErrUnsupported} {
			if other != c.want && errors.Is(err, other) {
				t.Errorf("%s: also %v", c.desc, other)
			}
		}
	}
}

func TestLargestFrameRoundTrips(t *testing.T) {
	payload := make([]byte, MaxFrame)
	payload[MaxFrame-1] = 1
	_, got, err := readFrame(bufio.NewReader(bytes.NewReader(AppendFrame(nil, 1, payload))), nil, MaxFrame)
	if err != nil || !bytes.Equal(got, payload) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
}

func TestDeclaredLengthAllocatesNothing(t *testing.T) {
	head := appendFrameHeader(nil, 1, MaxFrame)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 100 {
		readFrame(bufio.NewReader(bytes.NewReader(head)), nil, MaxFrame)
	}
	runtime.ReadMemStats(&after)
	if per := (after.TotalAlloc - before.TotalAlloc) / 100; per > 4*growStep {
		t.Errorf("a header of %d bytes allocates %d bytes", len(head), per)
	}
}

func FuzzDecodeFrame(f *testing.F) {
	f.Add(AppendFrame(nil, 3, []byte("payload")))
	f.Add([]byte{1, 1, 0x80, 0})
	f.Add([]byte{2, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, payload, rest, err := DecodeFrame(b)
		sf, sp, serr := readFrame(bufio.NewReader(bytes.NewReader(b)), nil, MaxFrame)
		if (err == nil) != (serr == nil) {
			t.Fatalf("decoded: %v, read: %v", err, serr)
		}
		if err != nil {
			if _, ok := frameCode(err); !ok {
				t.Fatalf("error of no class: %v", err)
			}
			return
		}
		if sf != frame || !bytes.Equal(sp, payload) {
			t.Fatal("read and decoded frames differ")
		}
		if again := append(AppendFrame(nil, frame, payload), rest...); !bytes.Equal(again, b) {
			t.Fatalf("%x encodes to %x", b, again)
		}
	})
}

func TestDatagramCodec(t *testing.T) {
	for _, n := range []int{0, 1, 44, 45, 46, MaxDatagram} {
		b := encodeDatagram(datagramMessage, bytes.Repeat([]byte{7}, n))
		if len(b) < minDatagram {
			t.Errorf("payload of %d: %d bytes, below the least", n, len(b))
		}
		kind, payload, err := decodeDatagram(b)
		if err != nil || kind != datagramMessage || len(payload) != n {
			t.Errorf("payload of %d: kind %d, %d bytes, %v", n, kind, len(payload), err)
		}
	}
	golden(t, "datagram", encodeDatagram(datagramMessage, []byte("ping")))
	for _, c := range []struct {
		desc string
		b    []byte
		want error
	}{
		{"empty", nil, ErrTruncated},
		{"header cut", []byte{1, 0}, ErrTruncated},
		{"payload cut", []byte{1, 0, 2, 9}, ErrTruncated},
		{"padding not zero", []byte{1, 0, 1, 9, 0, 1}, ErrCorrupt},
	} {
		if _, _, err := decodeDatagram(c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.desc, err, c.want)
		}
	}
}

func FuzzDecodeDatagram(f *testing.F) {
	f.Add(encodeDatagram(datagramMessage, []byte("ping")))
	f.Add(encodeDatagram(datagramProbe, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		kind, payload, err := decodeDatagram(b)
		if err != nil {
			if _, ok := frameCode(err); !ok {
				t.Fatalf("error of no class: %v", err)
			}
			return
		}
		again := encodeDatagram(kind, payload)
		if n := min(len(again), len(b)); !bytes.Equal(again[:n], b[:n]) || len(again) > max(len(b), minDatagram) {
			t.Fatalf("%x encodes to %x", b, again)
		}
	})
}
