package antientropy

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/hlc"
	"github.com/patinadb/patina/sync/versions"
)

// sealed returns a real changeset with one row that holds size bytes of text.
func sealed(t testing.TB, id changeset.ID, text string) changeset.Sealed {
	t.Helper()
	s, err := changeset.Seal(&changeset.Changeset{
		Header: changeset.Header{Actor: id.Actor, Version: id.Version, Time: hlc.Timestamp(1 << 20)},
		Tables: []changeset.TableChanges{{
			Name: "t", Generation: 1, Key: []string{"id"}, Columns: []string{"c"},
			Changes: []changeset.Change{{
				Key: []changeset.Value{changeset.IntegerValue(int64(id.Version))}, CausalLength: 1,
				Columns: changeset.Columns(0), Values: []changeset.Value{changeset.TextValue(text)},
			}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// exampleMessages is one of each, in the order of their frame types.
func exampleMessages(t testing.TB) []Message {
	v := parseVector([]string{"1=1-5,7/9", "2=3"})
	return []Message{
		Digest(v.FullDigest()),
		Vector{v},
		Changeset{sealed(t, changeset.ID{Actor: actor(1), Version: 7}, "hello")},
		NotInLog{{Actor: actor(1), Ranges: parseRanges("1-4,9").Ranges()}, {Actor: actor(3), Ranges: parseRanges("70000").Ranges()}},
		Done{},
		Busy{},
	}
}

type frame struct {
	kind    uint8
	payload []byte
}

func frames(t testing.TB, m Message) (out []frame) {
	t.Helper()
	kind, payload, err := encode(m)
	if err != nil {
		t.Fatal(err)
	}
	pieces(kind, payload, func(kind uint8, payload []byte) error {
		out = append(out, frame{kind, bytes.Clone(payload)})
		return nil
	})
	return out
}

// TestGoldenFrames holds the frames to the bytes in testdata: a difference is a
// change of the protocol.
func TestGoldenFrames(t *testing.T) {
	var out strings.Builder
	out.WriteString("# frame type, payload\n")
	for _, m := range exampleMessages(t) {
		for _, f := range frames(t, m) {
			fmt.Fprintf(&out, "%d %x\n", f.kind, f.payload)
		}
	}
	path := filepath.Join("testdata", "frames.txt")
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
		t.Errorf("the frames changed; got\n%s", out.String())
	}
}

func TestMessagesComeBack(t *testing.T) {
	noise := make([]byte, 700_000) // as it is not compressed, it takes three frames
	for i := range noise {
		noise[i] = byte(i*i>>7 ^ i*31>>3)
	}
	messages := append(exampleMessages(t),
		Changeset{sealed(t, changeset.ID{Actor: actor(1), Version: 1}, strings.Repeat("x", 100_000))},
		Changeset{sealed(t, changeset.ID{Actor: actor(1), Version: 1}, hex.EncodeToString(noise))},
	)
	long := versions.NewVector()
	for n := range 20_000 {
		long.Put(actor(n+1), versions.Entry{Applied: parseRanges("1-9")})
	}
	messages = append(messages, Vector{long})
	var d decoder
	for i, m := range messages {
		all := frames(t, m)
		for j, f := range all {
			got, err := d.decode(f.kind, f.payload)
			clear(f.payload) // the message must not share it
			switch {
			case err != nil:
				t.Fatalf("message %d: %v", i, err)
			case len(f.payload) > MaxPayload:
				t.Fatalf("message %d: a frame of %d bytes", i, len(f.payload))
			case j < len(all)-1:
				if got != (Part{len(f.payload)}) {
					t.Fatalf("message %d: frame %d is %v", i, j, got)
				}
			default:
				same(t, i, got, m)
			}
		}
	}
}

func same(t *testing.T, i int, got, want Message) {
	t.Helper()
	if w, ok := want.(Vector); ok {
		if g, ok := got.(Vector); !ok || !g.Vector.Equal(w.Vector) {
			t.Errorf("message %d: another vector came back", i)
		}
		return
	}
	if w, ok := want.(Changeset); ok {
		if g, ok := got.(Changeset); !ok || g.Hash != w.Hash || !bytes.Equal(g.Data, w.Data) || g.ID() != w.ID() {
			t.Errorf("message %d: another changeset came back", i)
		}
		return
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("message %d: got %v, want %v", i, got, want)
	}
}

func TestDecoderRefuses(t *testing.T) {
	id := hex.EncodeToString(func() []byte { a := actor(1); return a[:] }())
	two := hex.EncodeToString(func() []byte { a := actor(2); return a[:] }())
	for _, test := range []struct {
		desc   string
		frames []frame
		want   error
	}{
		{"type 0", []frame{{0, nil}}, changeset.ErrUnsupported},
		{"a type of a later protocol", []frame{{FrameBusy + 1, nil}}, changeset.ErrUnsupported},
		{"a short digest", []frame{{FrameDigest, make([]byte, 31)}}, changeset.ErrTruncated},
		{"a long digest", []frame{{FrameDigest, make([]byte, 33)}}, changeset.ErrTooLarge},
		{"Done with a payload", []frame{{FrameDone, []byte{0}}}, changeset.ErrTooLarge},
		{"Busy with a payload", []frame{{FrameBusy, []byte{0}}}, changeset.ErrTooLarge},
		{"Done after a part", []frame{{FramePart, []byte{0}}, {FrameDone, nil}}, changeset.ErrTooLarge},
		{"an empty part", []frame{{FramePart, nil}}, changeset.ErrCorrupt},
		{"a frame that is too long", []frame{{FramePart, make([]byte, MaxPayload+1)}}, changeset.ErrTooLarge},
		{"a NotInLog that is too long", parts(FrameNotInLog, maxNotInLog+1), changeset.ErrTooLarge},
		{"a vector that is too long", parts(FrameVector, versions.MaxVectorSize+1), changeset.ErrTooLarge},
		{"parts without end", parts(FramePart, maxPacked+1), changeset.ErrTooLarge},
		{"an empty vector", []frame{{FrameVector, nil}}, changeset.ErrTruncated},
		{"a vector of the next format", []frame{{FrameVector, []byte{2, 0}}}, changeset.ErrUnsupported},
		{"an empty changeset", []frame{{FrameChangeset, nil}}, changeset.ErrTruncated},
		{"a changeset of the next format", []frame{{FrameChangeset, []byte{0, changeset.FormatVersion + 1}}}, changeset.ErrUnsupported},
		{"a NotInLog of nothing", []frame{{FrameNotInLog, nil}}, changeset.ErrTruncated},
		{"a NotInLog of no actor", hexFrame("00"), changeset.ErrCorrupt},
		{"a NotInLog with an empty set", hexFrame("01" + id + "000000"), changeset.ErrCorrupt},
		{"a NotInLog out of order", hexFrame("02" + two + "010000" + id + "010000"), changeset.ErrCorrupt},
		{"a NotInLog with an actor twice", hexFrame("02" + id + "010000" + id + "010000"), changeset.ErrCorrupt},
		{"a NotInLog with more behind it", hexFrame("01" + id + "01000000"), changeset.ErrCorrupt},
		{"a NotInLog of more actors than fit", hexFrame("05" + id + "010000"), changeset.ErrTruncated},
		{"a NotInLog that is cut", hexFrame("01" + id + "020000"), changeset.ErrTruncated},
		{"a NotInLog with a long number", hexFrame("8100" + id + "010000"), changeset.ErrCorrupt},
	} {
		t.Run(test.desc, func(t *testing.T) {
			var d decoder
			for i, f := range test.frames {
				_, err := d.decode(f.kind, f.payload)
				if i < len(test.frames)-1 {
					if err != nil {
						t.Fatalf("frame %d: %v", i, err)
					}
					continue
				}
				var fault *PeerFault
				if !errors.Is(err, test.want) || !errors.As(err, &fault) {
					t.Errorf("got %v, want a fault of the peer: %v", err, test.want)
				}
			}
		})
	}
}

// parts returns size zero bytes as Parts and a last frame.
func parts(kind uint8, size int) (out []frame) {
	pieces(kind, make([]byte, size), func(kind uint8, payload []byte) error {
		out = append(out, frame{kind, payload})
		return nil
	})
	return out
}

func hexFrame(s string) []frame {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return []frame{{FrameNotInLog, b}}
}

func TestEveryTruncatedMessageIsAnError(t *testing.T) {
	for _, m := range exampleMessages(t) {
		for _, f := range frames(t, m) {
			for n := range f.payload {
				var d decoder
				if got, err := d.decode(f.kind, f.payload[:n]); err == nil && f.kind != FrameChangeset {
					t.Errorf("the first %d bytes of type %d are %v", n, f.kind, got)
				}
			}
		}
	}
}

func TestDecoderAllocatesNoMoreThanTheInputIsWorth(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var d decoder
	claim := append([]byte{0xff, 0xff, 0xff, 0x7f}, make([]byte, 1000)...)
	if _, err := d.decode(FrameNotInLog, claim); err == nil {
		t.Error("a claim of 268,435,455 actors was believed")
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 64*uint64(len(claim)) {
		t.Errorf("%d bytes allocated for %d bytes of input", n, len(claim))
	}
}

func fuzzFrame(f *testing.F, kind uint8) {
	for _, m := range exampleMessages(f) {
		for _, x := range frames(f, m) {
			if x.kind == kind {
				f.Add(x.payload)
			}
		}
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		var d decoder
		m, err := d.decode(kind, payload)
		if err != nil {
			var fault *PeerFault
			if !errors.As(err, &fault) {
				t.Fatalf("%v is not a fault of the peer", err)
			}
			return
		}
		again, b, err := encode(m)
		if err != nil || again != kind {
			t.Fatalf("does not encode: type %d, %v", again, err)
		}
		// A changeset may be packed in more than one way, all else in one.
		if kind != FrameChangeset && !bytes.Equal(b, payload) {
			t.Fatalf("accepted %x, writes %x", payload, b)
		}
	})
}

func FuzzVectorFrame(f *testing.F)    { fuzzFrame(f, FrameVector) }
func FuzzChangesetFrame(f *testing.F) { fuzzFrame(f, FrameChangeset) }
func FuzzNotInLogFrame(f *testing.F)  { fuzzFrame(f, FrameNotInLog) }

// FuzzFrames reads any sequence of frames: type, length (two bytes), payload.
func FuzzFrames(f *testing.F) {
	var all []byte
	for _, m := range exampleMessages(f) {
		for _, x := range frames(f, m) {
			all = append(append(all, x.kind, byte(len(x.payload)>>8), byte(len(x.payload))), x.payload...)
		}
	}
	f.Add(all)
	f.Add([]byte{FramePart, 0, 1, 1, FrameVector, 0, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var d decoder
		for len(b) >= 3 {
			n := min(int(b[1])<<8|int(b[2]), len(b)-3)
			m, err := d.decode(b[0], b[3:3+n])
			if (m == nil) != (err != nil) {
				t.Fatalf("message %v with error %v", m, err)
			}
			b = b[3+n:]
		}
	})
}
