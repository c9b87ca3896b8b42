package changeset

import (
	"errors"
	"fmt"
)

// The ways in which bytes can fail to be a changeset, a packed changeset or a
// value. Every error of Open, Decode, Unpack and DecodeValue is exactly one of
// the four (errors.Is); errors.As with *DecodeError says where.
var (
	// ErrTruncated: the input ends before it is complete, or it declares more
	// than what is left of it could hold.
	ErrTruncated = errors.New("truncated")
	// ErrCorrupt: the input breaks a rule of FORMAT.md; no node wrote it.
	ErrCorrupt = errors.New("corrupt")
	// ErrTooLarge: a limit of the protocol is exceeded. Seal returns it too.
	ErrTooLarge = errors.New("too large")
	// ErrUnsupported: a newer patina wrote the input.
	ErrUnsupported = errors.New("unsupported version")
)

// ErrInvalid is what Seal returns for a changeset that no bytes can stand for:
// our own mistake, never a peer's.
var ErrInvalid = errors.New("changeset is not valid")

// DecodeError says where bytes failed and why. It unwraps to one of the four
// sentinels.
type DecodeError struct {
	Err    error  // ErrTruncated, ErrCorrupt, ErrTooLarge or ErrUnsupported
	Offset int    // of the field that failed, in bytes from the start of the input
	Table  string // being read, empty outside of a table
	Reason string
}

// Error implements error.
func (e *DecodeError) Error() string {
	where := ""
	if e.Table != "" {
		where = fmt.Sprintf(" in table %q", e.Table)
	}
	return fmt.Sprintf("changeset: %v at byte %d%s: %s", e.Err, e.Offset, where, e.Reason)
}

// Unwrap returns the sentinel.
func (e *DecodeError) Unwrap() error { return e.Err }
