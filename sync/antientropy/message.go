package antientropy

import (
	"bytes"
	"fmt"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/sync/versions"
)

// Frame types, the first argument of Stream.Send.
const (
	FrameDigest uint8 = iota + 1
	FrameVector
	FramePart
	FrameChangeset
	FrameNotInLog
	FrameDone
	FrameBusy
)

// Limits of the frames.
const (
	// MaxPayload is the longest payload of one frame, in bytes.
	MaxPayload = 256 << 10
	// maxNotInLog is the longest NotInLog message, in bytes.
	maxNotInLog = 1 << 20
	// maxPacked is the longest packed changeset: its bytes and a marker.
	maxPacked = changeset.MaxEncodedSize + 1
)

// maxMessage is the longest message of each frame type, in bytes.
var maxMessage = [...]int{
	FrameDigest: len(Digest{}), FrameVector: versions.MaxVectorSize, FramePart: maxPacked,
	FrameChangeset: maxPacked, FrameNotInLog: maxNotInLog, FrameDone: 0, FrameBusy: 0,
}

// Message is what a frame, with the Parts before it, says: one of the types
// below.
type Message interface{ message() }

// The messages; see the package comment.
type (
	// Digest is a versions.Vector.FullDigest.
	Digest [32]byte
	// Vector is what its sender holds.
	Vector struct{ Vector *versions.Vector }
	// Part is a piece of the message that follows; only its size is of interest.
	Part struct{ Size int }
	// Changeset is one answer.
	Changeset struct{ changeset.Sealed }
	// NotInLog is the answer to many versions at once; sorted by actor.
	NotInLog []versions.Need
	// Done says that all is answered.
	Done struct{}
	// Busy refuses a session.
	Busy struct{}
)

func (Digest) message()    {}
func (Vector) message()    {}
func (Part) message()      {}
func (Changeset) message() {}
func (NotInLog) message()  {}
func (Done) message()      {}
func (Busy) message()      {}

// encode returns the frame type of a message and its payload, which pieces cuts.
func encode(m Message) (frame uint8, payload []byte, err error) {
	switch m := m.(type) {
	case Digest:
		return FrameDigest, m[:], nil
	case Vector:
		payload, err = m.Vector.AppendBinary(nil)
		return FrameVector, payload, err
	case Changeset:
		return FrameChangeset, changeset.Pack(m.Data), nil
	case NotInLog:
		return FrameNotInLog, versions.AppendNeeds(nil, m), nil
	case Done:
		return FrameDone, nil, nil
	case Busy:
		return FrameBusy, nil, nil
	}
	return 0, nil, fmt.Errorf("antientropy: encode %T", m)
}

// pieces calls send for each frame that carries the payload, Parts first.
func pieces(frame uint8, payload []byte, send func(frame uint8, payload []byte) error) error {
	for len(payload) > MaxPayload {
		if err := send(FramePart, payload[:MaxPayload]); err != nil {
			return err
		}
		payload = payload[MaxPayload:]
	}
	return send(frame, payload)
}

// decoder reads the messages of one direction of a stream. Its errors are
// *PeerFault. It allocates in proportion to what it was given.
type decoder struct {
	part []byte // the pieces before the frame that ends the message
}

func (d *decoder) decode(frame uint8, payload []byte) (Message, error) {
	m, err := d.message(frame, payload)
	if err != nil {
		return nil, &PeerFault{Reason: fmt.Sprintf("frame of type %d", frame), Err: err}
	}
	return m, nil
}

func (d *decoder) message(frame uint8, payload []byte) (Message, error) {
	if frame == 0 || int(frame) >= len(maxMessage) {
		return nil, fmt.Errorf("unknown type: %w", changeset.ErrUnsupported)
	}
	limit, size := maxMessage[frame], len(d.part)+len(payload)
	switch {
	case len(payload) > MaxPayload:
		return nil, fmt.Errorf("%d bytes in a frame, at most %d: %w", len(payload), MaxPayload, changeset.ErrTooLarge)
	case size > limit:
		return nil, fmt.Errorf("%d bytes, at most %d: %w", size, limit, changeset.ErrTooLarge)
	case frame == FramePart && len(payload) == 0:
		return nil, fmt.Errorf("empty part: %w", changeset.ErrCorrupt)
	case frame == FramePart:
		d.part = append(d.part, payload...)
		return Part{len(payload)}, nil
	case len(d.part) > 0:
		payload = append(d.part, payload...)
		d.part = nil
	}
	return parse(frame, payload)
}

// parse reads a whole message of a known type. What it returns shares nothing
// with payload.
func parse(frame uint8, payload []byte) (Message, error) {
	switch frame {
	case FrameDigest:
		if len(payload) < len(Digest{}) {
			return nil, changeset.ErrTruncated
		}
		return Digest(payload), nil
	case FrameVector:
		v, err := versions.DecodeVector(payload)
		return Vector{v}, err
	case FrameChangeset:
		return parseChangeset(payload)
	case FrameNotInLog:
		needs, err := versions.DecodeNeeds(payload)
		return NotInLog(needs), err
	case FrameDone:
		return Done{}, nil
	}
	return Busy{}, nil
}

func parseChangeset(payload []byte) (Message, error) {
	data, err := changeset.Unpack(payload)
	if err != nil {
		return nil, err
	}
	if len(data) > 0 && len(payload) > 1 && &data[0] == &payload[1] {
		data = bytes.Clone(data) // it was not compressed and shares payload
	}
	sealed, err := changeset.Open(data)
	return Changeset{sealed}, err
}
