package antientropy

import (
	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/sync/versions"
)

// SessionID names a session within one Machine.
type SessionID uint64

// Event is what happened: one of the types below. Events of sessions that the
// machine has closed are ignored.
type Event interface{ event() }

// The events.
type (
	// PeerUp: a link to Peer exists. May come again for the same peer.
	PeerUp struct{ Peer changeset.ActorID }
	// PeerDown: no link to Peer is left.
	PeerDown struct{ Peer changeset.ActorID }
	// Probe: Peer said what the digest of its applied vector is.
	Probe struct {
		Peer   changeset.ActorID
		Digest [32]byte
	}
	// Incoming: Peer opened a stream. Session is a fresh one from NewSession.
	Incoming struct {
		Session SessionID
		Peer    changeset.ActorID
	}
	// Opened: the stream that Open asked for exists.
	Opened struct{ Session SessionID }
	// Received: the frame that Read asked for.
	Received struct {
		Session SessionID
		Message Message
	}
	// Ended: Read found the end of the stream: a clean one if Err is io.EOF.
	Ended struct {
		Session SessionID
		Err     error
	}
	// Fetched: the first Count of the ids that Fetch asked for are dealt with:
	// sent, but for Absent, which are not in the log. Count is at least 1.
	Fetched struct {
		Session SessionID
		Count   int
		Absent  []changeset.ID
	}
	// Progressed: a piece of a long message went out.
	Progressed struct{ Session SessionID }
	// Flushed: CloseSend is done, and so is every Send before it.
	Flushed struct{ Session SessionID }
	// Applied: the batch is durable, or the store failed.
	Applied struct {
		Session SessionID
		Err     error
	}
	// SendFailed: nothing more can be sent. Why, the peer may still say.
	SendFailed struct {
		Session SessionID
		Err     error
	}
	// Failed: the session cannot go on: a *PeerFault, or a failure of ours or of
	// the stream.
	Failed struct {
		Session SessionID
		Err     error
	}
)

func (PeerUp) event()     {}
func (PeerDown) event()   {}
func (Probe) event()      {}
func (Incoming) event()   {}
func (Opened) event()     {}
func (Received) event()   {}
func (Ended) event()      {}
func (Fetched) event()    {}
func (Progressed) event() {}
func (Flushed) event()    {}
func (Applied) event()    {}
func (SendFailed) event() {}
func (Failed) event()     {}

// Effect is what the machine wants done: one of the types below. Per session,
// Send, Fetch and CloseSend are done one after the other in the order given, at
// most MaxOrders waiting; Read and Apply are each outstanding at most once. No
// effect of a session follows its Close.
type Effect interface{ effect() }

// MaxOrders bounds the Send, Fetch and CloseSend effects of a session that are
// not yet done.
const MaxOrders = 8

// The effects.
type (
	// Open a stream to Peer; answer with Opened or Failed.
	Open struct {
		Session SessionID
		Peer    changeset.ActorID
	}
	// Send Message; answer only if that fails, with SendFailed.
	Send struct {
		Session SessionID
		Message Message
	}
	// Fetch IDs from the log and send each that is there, in this order; answer
	// with Fetched, sooner than the end if it takes long, or SendFailed or Failed.
	Fetch struct {
		Session SessionID
		IDs     []changeset.ID
	}
	// CloseSend ends our direction of the stream; answer with Flushed or SendFailed.
	CloseSend struct{ Session SessionID }
	// Read one frame; answer with Received, Ended, or Failed if it is malformed.
	Read struct{ Session SessionID }
	// Apply Batch and wait until it is durable; answer with Applied.
	Apply struct {
		Session SessionID
		Batch   []changeset.Sealed
	}
	// Hear that Peer holds what Vector says, and perhaps more; no answer.
	Hear struct {
		Peer   changeset.ActorID
		Vector *versions.Vector
	}
	// Close forgets the session. Unless Code is CodeNone the stream is cancelled
	// with it. Err says why, nil after a session that ended well.
	Close struct {
		Session SessionID
		Code    Code
		Err     error
	}
)

func (Open) effect()      {}
func (Send) effect()      {}
func (Fetch) effect()     {}
func (CloseSend) effect() {}
func (Read) effect()      {}
func (Apply) effect()     {}
func (Hear) effect()      {}
func (Close) effect()     {}

// Stats counts since the machine was made, but for the last four, which are of
// now.
type Stats struct {
	Started    uint64 // sessions that we began
	Served     uint64 // sessions that a peer began and we accepted
	Refused    uint64 // sessions that a peer began and we answered with Busy
	Equal      uint64 // ended well with the digests
	Completed  uint64 // ended well with Done
	Busy       uint64 // refused by the peer, or given up for the peer's own
	Failed     uint64 // all other ends, the next two among them
	Faults     uint64 // ended by a fault of the peer
	Idle       uint64 // ended by IdleLimit or SessionLimit
	Suppressed uint64 // probes with another digest that could bring nothing new

	Sent      uint64 // changesets
	Received  uint64 // changesets, duplicates among them
	Duplicate uint64 // received, but held meanwhile

	NotInLogSent     uint64 // ranges that we had no changesets for
	NotInLogReceived uint64 // ranges that a peer had no changesets for

	Initiated int    // sessions in progress that we began
	Serving   int    // sessions in progress that a peer began
	Peers     int    // peers that are up
	Unserved  uint64 // versions that the last sessions of the peers left unserved
}

// Unserved is what the last session with a peer left out because it was not in
// the peer's log. If no peer can serve a range, only state transfer can.
type Unserved struct {
	Peer  changeset.ActorID
	Needs []versions.Need
}
