package broadcast

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/patinadb/patina/changeset"
)

func TestIDsByExample(t *testing.T) {
	a, b := testActor(1), testActor(2)
	for _, test := range []struct {
		desc, hex string
		ids       []changeset.ID
	}{
		{"one", "01" + "01000000000000000000000000000001" + "01" + "04" + "00", []changeset.ID{{Actor: a, Version: 5}}},
		{"neighbours, a gap and another actor", "02" + "01000000000000000000000000000001" + "02" + "00" + "01" + "01" + "00" + "02000000000000000000000000000002" + "01" + "c701" + "00",
			[]changeset.ID{{Actor: a, Version: 1}, {Actor: a, Version: 2}, {Actor: a, Version: 5}, {Actor: b, Version: 200}}},
	} {
		want, err := hex.DecodeString(test.hex)
		if err != nil {
			t.Fatal(err)
		}
		mixed := append(slices.Clone(test.ids), test.ids...)
		rand.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
		if got := AppendIDs(nil, mixed); !bytes.Equal(got, want) {
			t.Errorf("%s: %x, want %x", test.desc, got, want)
		}
		if got, err := DecodeIDs(want); err != nil || !slices.Equal(got, test.ids) {
			t.Errorf("%s: %v, %v", test.desc, got, err)
		}
	}
}

// TestMostIDs fit in every grouping.
func TestMostIDs(t *testing.T) {
	for _, actors := range []int{1, 7, MaxIDs} {
		var ids []changeset.ID
		for i := range MaxIDs {
			id := changeset.ID{Version: changeset.MaxVersion - changeset.Version(2*i)}
			id.Actor[0], id.Actor[1], id.Actor[2] = 1, byte(i%actors>>8), byte(i%actors)
			ids = append(ids, id)
		}
		got, err := DecodeIDs(AppendIDs(nil, ids))
		if err != nil || len(got) != MaxIDs {
			t.Errorf("%d actors: %d ids, %v", actors, len(got), err)
		}
	}
}

func TestMalformedIDs(t *testing.T) {
	actor := testActor(1)
	list := func(head byte, parts ...[]byte) []byte { return append([]byte{head}, bytes.Join(parts, nil)...) }
	for _, test := range []struct {
		desc string
		b    []byte
		want error
	}{
		{"empty", nil, changeset.ErrTruncated},
		{"none", list(0), changeset.ErrCorrupt},
		{"no actor", list(1), changeset.ErrTruncated},
		{"actor cut", list(1, actor[:15]), changeset.ErrTruncated},
		{"no versions", list(1, actor[:], []byte{0, 0, 0}), changeset.ErrCorrupt},
		{"versions cut", list(1, actor[:], []byte{2, 0, 0}), changeset.ErrTruncated},
		{"the zero actor", list(1, make([]byte, 16), []byte{1, 0, 0}), changeset.ErrCorrupt},
		{"an actor twice", list(2, actor[:], []byte{1, 0, 0}, actor[:], []byte{1, 0, 0}), changeset.ErrCorrupt},
		{"something follows", list(1, actor[:], []byte{1, 0, 0, 7}), changeset.ErrCorrupt},
		{"number not in its shortest form", []byte{0x80, 0}, changeset.ErrCorrupt},
		{"more actors than bytes", []byte{0x81, 8}, changeset.ErrTruncated},
		{"too many bytes", make([]byte, maxIDsSize+1), changeset.ErrTooLarge},
		{"a range of very many", list(1, actor[:], []byte{1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f}), changeset.ErrTooLarge},
		{"too many in two ranges", list(1, actor[:], []byte{2, 0, 0xff, 7, 0, 0}), changeset.ErrTooLarge},
	} {
		if ids, err := DecodeIDs(test.b); !errors.Is(err, test.want) || ids != nil {
			t.Errorf("%s: %v, %d ids", test.desc, err, len(ids))
		}
	}
}

// FuzzDecodeIDs: what is accepted is canonical, bounded and written again as it was.
func FuzzDecodeIDs(f *testing.F) {
	a := testActor(1)
	f.Add(AppendIDs(nil, []changeset.ID{{Actor: a, Version: 1}, {Actor: a, Version: 9}, {Actor: testActor(2), Version: changeset.MaxVersion}}))
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, b []byte) {
		ids, err := DecodeIDs(b)
		if err != nil {
			return
		}
		if len(ids) > MaxIDs {
			t.Fatal(len(ids))
		}
		if again := AppendIDs(nil, ids); !bytes.Equal(again, b) {
			t.Fatalf("%x again: %x", b, again)
		}
	})
}
