package broadcast

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/patinadb/patina/changeset"
)

// FuzzOpenFrame: a frame of a peer is taken whole or is a fault of a known class; it is
// sent on as it came, and nothing of it is kept but copies.
func FuzzOpenFrame(f *testing.F) {
	changesets := []Item{{Packed: changeset.Pack(sealed(f, 'B', 1).Data)}, {Packed: changeset.Pack(sealed(f, 'B', 2).Data)}}
	ids := []changeset.ID{{Actor: testActor('B'), Version: 1}, {Actor: testActor('C'), Version: changeset.MaxVersion}}
	for _, frame := range framesOf(&Send{Want: ids, Have: ids[:1], Items: changesets}) {
		f.Add(frame.Kind, frame.Payload)
	}
	f.Add(uint8(9), []byte{})
	classes := []error{changeset.ErrTruncated, changeset.ErrCorrupt, changeset.ErrTooLarge, changeset.ErrUnsupported, ErrUnknownFrame}
	f.Fuzz(func(t *testing.T, kind uint8, payload []byte) {
		sent := bytes.Clone(payload)
		ev, err := openFrame(testActor('A'), kind, sent)
		clear(sent)
		if err != nil {
			if !slices.ContainsFunc(classes, func(class error) bool { return errors.Is(err, class) }) {
				t.Fatalf("error of no class: %v", err)
			}
			return
		}
		var again Send
		switch ev := ev.(type) {
		case Received:
			again.Items = []Item{ev.Item}
			if data, err := changeset.Unpack(payload); err != nil || !bytes.Equal(data, ev.Item.Data) {
				t.Fatalf("opened %x, unpacked %x, %v", ev.Item.Data, data, err)
			}
		case Announced:
			again.Have = ev.IDs
		case Wanted:
			again.Want = ev.IDs
		}
		if frames := framesOf(&again); len(frames) != 1 || frames[0].Kind != kind || !bytes.Equal(frames[0].Payload, payload) {
			t.Fatalf("frame %d of %x is sent on as %v", kind, payload, frames)
		}
	})
}
