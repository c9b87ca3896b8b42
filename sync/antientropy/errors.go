package antientropy

import (
	"errors"
	"fmt"
)

// Code is the application error code that a session's stream is cancelled with.
type Code uint64

// The codes. A session that ends well is not cancelled.
const (
	CodeNone       Code = iota // not cancelled
	CodeFault                  // the peer broke the protocol
	CodeIdle                   // nothing moved for IdleLimit, or SessionLimit was reached
	CodeInternal               // our store or our stream failed
	CodeBusy                   // the peer answered Busy, or too many are waiting to be told so
	CodeSuperseded             // the peer's own session goes on instead
	CodeStopped                // this node stops
)

// String returns the code's name.
func (c Code) String() string {
	names := [...]string{"none", "fault", "idle", "internal", "busy", "superseded", "stopped"}
	if c < Code(len(names)) {
		return names[c]
	}
	return fmt.Sprintf("code(%d)", uint64(c))
}

// The ways in which a session ends early without the peer being at fault.
var (
	ErrIdle       = errors.New("antientropy: nothing moved for too long")
	ErrTooLong    = errors.New("antientropy: session reached its time limit")
	ErrCut        = errors.New("antientropy: stream ended before the session was done")
	ErrBusy       = errors.New("antientropy: peer is busy")
	ErrSuperseded = errors.New("antientropy: the peer's own session goes on")
	ErrStopped    = errors.New("antientropy: stopped")
)

// PeerFault is what a peer did against the protocol. If its bytes could not be
// read, it wraps one of changeset's four errors.
type PeerFault struct {
	Reason string
	Err    error // may be nil
}

// Error implements error.
func (f *PeerFault) Error() string {
	if f.Err == nil {
		return "antientropy: peer at fault: " + f.Reason
	}
	return fmt.Sprintf("antientropy: peer at fault: %s: %v", f.Reason, f.Err)
}

// Unwrap returns what was wrong with the bytes.
func (f *PeerFault) Unwrap() error { return f.Err }

func fault(reason string) error { return &PeerFault{Reason: reason} }
