package changeset

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
)

// ActorSize is the length of an ActorID in bytes.
const ActorSize = 16

// ActorID names the origin of versions: one continuing copy of a database. It
// is 16 random bytes and never changes for the life of that copy.
type ActorID [ActorSize]byte

// NewActorID returns a fresh random id in the form of a version 4 UUID
// (RFC 9562 section 5.4).
func NewActorID() ActorID {
	var a ActorID
	rand.Read(a[:])
	a[6] = a[6]&0x0f | 0x40
	a[8] = a[8]&0x3f | 0x80
	return a
}

// ParseActorID reads the 36-character hyphenated hexadecimal form, in either
// case. Anything else is an error that quotes the input.
func ParseActorID(s string) (ActorID, error) {
	var a ActorID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return a, fmt.Errorf("changeset: actor id %q is not a UUID with hyphens", s)
	}
	digits := s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:]
	if _, err := hex.Decode(a[:], []byte(digits)); err != nil {
		return ActorID{}, fmt.Errorf("changeset: actor id %q is not a UUID with hyphens", s)
	}
	return a, nil
}

// String returns the lower-case UUID with hyphens.
func (a ActorID) String() string {
	var b [36]byte
	hex.Encode(b[:8], a[:4])
	hex.Encode(b[9:13], a[4:6])
	hex.Encode(b[14:18], a[6:8])
	hex.Encode(b[19:23], a[8:10])
	hex.Encode(b[24:], a[10:])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

// IsZero reports whether a is the zero id, which no actor has.
func (a ActorID) IsZero() bool { return a == ActorID{} }

// Compare orders ids by their bytes: -1, 0 or 1.
func (a ActorID) Compare(b ActorID) int { return bytes.Compare(a[:], b[:]) }

// MarshalText implements encoding.TextMarshaler with the form of String.
func (a ActorID) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler; see ParseActorID.
func (a *ActorID) UnmarshalText(b []byte) (err error) {
	*a, err = ParseActorID(string(b))
	return err
}
