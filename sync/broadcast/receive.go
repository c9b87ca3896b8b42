package broadcast

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/patinadb/patina/changeset"
)

// The kinds of frames in a broadcast stream.
const (
	FrameChangeset uint8 = 1 // one packed changeset
	FrameHave      uint8 = 2 // ids of changesets that the sender has
	FrameWant      uint8 = 3 // ids of changesets that the sender asks for
)

// ErrUnknownFrame is the fault of a peer that sent another kind of frame.
var ErrUnknownFrame = errors.New("unknown kind of frame")

// ErrStopped is returned by Receive when the Loop has ended.
var ErrStopped = errors.New("broadcast: loop has ended")

// PeerError says that a peer sent what no correct peer sends. Err is one of
// changeset's errors or ErrUnknownFrame.
type PeerError struct {
	Peer changeset.ActorID
	Err  error
}

// Error implements error.
func (e *PeerError) Error() string { return fmt.Sprintf("broadcast: peer %s sent: %v", e.Peer, e.Err) }

// Unwrap returns Err.
func (e *PeerError) Unwrap() error { return e.Err }

// Stream is one incoming stream of frames.
type Stream interface {
	// Receive returns the next frame, io.EOF at a clean end. The payload is valid
	// until the next call.
	Receive() (frame uint8, payload []byte, err error)
}

// Receive reads one stream of a peer to its end, and returns nil at a clean one.
// It returns a *PeerError at the first frame that is not a well-formed changeset;
// those before it count. It waits while the Loop is busy, at the peer's cost.
func (l *Loop) Receive(ctx context.Context, from changeset.ActorID, s Stream) error {
	for {
		frame, payload, err := s.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("broadcast: receive from %s: %w", from, err)
		}
		ev, err := openFrame(from, frame, payload)
		if err != nil {
			l.malformed.Add(1)
			return &PeerError{from, err}
		}
		select {
		case l.received <- ev:
		case <-ctx.Done():
			return ctx.Err()
		case <-l.done:
			return ErrStopped
		}
	}
}

// openFrame decodes a frame of a peer. It keeps nothing of the payload.
func openFrame(from changeset.ActorID, frame uint8, payload []byte) (Event, error) {
	switch frame {
	case FrameChangeset:
		item, err := openItem(payload)
		return Received{from, item}, err
	case FrameHave:
		ids, err := DecodeIDs(payload)
		return Announced{from, ids}, err
	case FrameWant:
		ids, err := DecodeIDs(payload)
		return Wanted{from, ids}, err
	}
	return nil, fmt.Errorf("%w: %d", ErrUnknownFrame, frame)
}

// openItem checks a packed changeset and copies it: the item outlives the frame, and
// its packed bytes are what is forwarded.
func openItem(payload []byte) (Item, error) {
	packed := bytes.Clone(payload)
	data, err := changeset.Unpack(packed)
	if err != nil {
		return Item{}, err
	}
	sealed, err := changeset.Open(data)
	if err != nil {
		return Item{}, err
	}
	return Item{sealed, packed}, nil
}

// framesOf returns the frames of a batch: first what lets the peer send something.
func framesOf(s *Send) (out []Frame) {
	if len(s.Want) > 0 {
		out = append(out, Frame{FrameWant, AppendIDs(nil, s.Want)})
	}
	if len(s.Have) > 0 {
		out = append(out, Frame{FrameHave, AppendIDs(nil, s.Have)})
	}
	for i := range s.Items {
		out = append(out, Frame{FrameChangeset, s.Items[i].Packed})
	}
	return out
}
