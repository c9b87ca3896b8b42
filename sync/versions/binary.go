package versions

import (
	"encoding/binary"
	"fmt"

	"github.com/patinadb/patina/changeset"
)

// formatVersion is the first byte of an encoded vector and of what its digest
// covers.
const formatVersion = 1

// Limits of an encoded vector. Every node must accept what is within them.
const (
	// MaxActors is the largest number of actors.
	MaxActors = 1 << 16
	// MaxRanges is the largest number of ranges in one set.
	MaxRanges = 1 << 20
	// MaxVectorSize is the largest encoded vector in bytes.
	MaxVectorSize = 4 << 20
)

// Smallest encodings, by which a claimed number is checked before it is believed.
const (
	minRangeSize = 2
	minActorSize = changeset.ActorSize + 1 + 1 + minRangeSize // one parked range
)

// AppendBinary appends s in the form that the package comment describes. A set
// of more than MaxRanges ranges is written all the same; DecodeSet refuses it.
func (s Set) AppendBinary(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(s.ranges)))
	next := changeset.Version(1) // the lowest that the range could begin with
	for _, r := range s.ranges {
		b = binary.AppendUvarint(b, uint64(r.First-next))
		b = binary.AppendUvarint(b, uint64(r.Last-r.First))
		next = r.Last + 2
	}
	return b
}

// DecodeSet reads a set from the beginning of b and returns what follows it.
func DecodeSet(b []byte) (s Set, rest []byte, err error) {
	n, b, err := decodeUvarint(b)
	switch {
	case err != nil:
		return Set{}, nil, fmt.Errorf("number of ranges: %w", err)
	case n > MaxRanges:
		return Set{}, nil, fmt.Errorf("%d ranges in a set, at most %d: %w", n, MaxRanges, changeset.ErrTooLarge)
	case n*minRangeSize > uint64(len(b)):
		return Set{}, nil, fmt.Errorf("%d ranges in %d bytes: %w", n, len(b), changeset.ErrTruncated)
	case n == 0:
		return Set{}, b, nil
	}
	s.ranges = make([]Range, n)
	next := uint64(1)
	for i := range s.ranges {
		var gap, span uint64
		if gap, b, err = decodeUvarint(b); err != nil {
			return Set{}, nil, fmt.Errorf("range %d: %w", i, err)
		}
		if span, b, err = decodeUvarint(b); err != nil {
			return Set{}, nil, fmt.Errorf("range %d: %w", i, err)
		}
		const limit = uint64(changeset.MaxVersion)
		// Each of the three is checked alone first, so that no sum overflows.
		if gap > limit || span > limit || next+gap+span > limit {
			return Set{}, nil, fmt.Errorf("range %d goes beyond the highest version: %w", i, changeset.ErrCorrupt)
		}
		s.ranges[i] = Range{changeset.Version(next + gap), changeset.Version(next + gap + span)}
		next += gap + span + 2
	}
	return s, b, nil
}

// AppendBinary appends v in the form that the package comment describes, or
// fails with changeset.ErrTooLarge if no node would accept it.
func (v *Vector) AppendBinary(b []byte) ([]byte, error) {
	if len(v.items) > MaxActors {
		return nil, fmt.Errorf("versions: encode a vector of %d actors, at most %d: %w", len(v.items), MaxActors, changeset.ErrTooLarge)
	}
	start := len(b)
	b = append(b, formatVersion)
	b = binary.AppendUvarint(b, uint64(len(v.items)))
	for i := range v.items {
		e := v.items[i].entry
		if n := max(len(e.Applied.ranges), len(e.Parked.ranges)); n > MaxRanges {
			return nil, fmt.Errorf("versions: encode %d ranges of actor %s, at most %d: %w", n, v.items[i].actor, MaxRanges, changeset.ErrTooLarge)
		}
		b = append(b, v.items[i].actor[:]...)
		b = e.Applied.AppendBinary(b)
		b = e.Parked.AppendBinary(b)
		if !e.Applied.IsEmpty() {
			b = append(b, e.Head[:]...)
		}
	}
	if n := len(b) - start; n > MaxVectorSize {
		return nil, fmt.Errorf("versions: encode a vector of %d bytes, at most %d: %w", n, MaxVectorSize, changeset.ErrTooLarge)
	}
	return b, nil
}

// DecodeVector reads a vector that fills b. It keeps nothing of b. It accepts
// only the canonical form: what it accepts, AppendBinary writes again byte for
// byte.
func DecodeVector(b []byte) (*Vector, error) {
	v, err := decodeVector(b)
	if err != nil {
		return nil, fmt.Errorf("versions: decode vector: %w", err)
	}
	return v, nil
}

func decodeVector(b []byte) (*Vector, error) {
	switch {
	case len(b) == 0:
		return nil, changeset.ErrTruncated
	case b[0] != formatVersion:
		return nil, fmt.Errorf("format %d, not %d: %w", b[0], formatVersion, changeset.ErrUnsupported)
	case len(b) > MaxVectorSize:
		return nil, fmt.Errorf("%d bytes, at most %d: %w", len(b), MaxVectorSize, changeset.ErrTooLarge)
	}
	n, b, err := decodeUvarint(b[1:])
	switch {
	case err != nil:
		return nil, fmt.Errorf("number of actors: %w", err)
	case n > MaxActors:
		return nil, fmt.Errorf("%d actors, at most %d: %w", n, MaxActors, changeset.ErrTooLarge)
	case n*minActorSize > uint64(len(b)):
		return nil, fmt.Errorf("%d actors in %d bytes: %w", n, len(b), changeset.ErrTruncated)
	}
	v := &Vector{items: make([]item, 0, n)}
	var last changeset.ActorID // zero, so that a zero actor is out of order
	for i := range n {
		var it item
		if it, b, err = decodeItem(b); err != nil {
			return nil, fmt.Errorf("actor %d: %w", i, err)
		}
		if it.actor.Compare(last) <= 0 {
			return nil, fmt.Errorf("actor %d is not above the one before: %w", i, changeset.ErrCorrupt)
		}
		last = it.actor
		v.items = append(v.items, it)
	}
	if len(b) > 0 {
		return nil, fmt.Errorf("%d bytes after the end: %w", len(b), changeset.ErrCorrupt)
	}
	return v, nil
}

func decodeItem(b []byte) (it item, rest []byte, err error) {
	if len(b) < changeset.ActorSize {
		return item{}, nil, changeset.ErrTruncated
	}
	it.actor = changeset.ActorID(b[:changeset.ActorSize])
	it.entry = new(Entry)
	if it.entry.Applied, b, err = DecodeSet(b[changeset.ActorSize:]); err != nil {
		return item{}, nil, fmt.Errorf("applied: %w", err)
	}
	if it.entry.Parked, b, err = DecodeSet(b); err != nil {
		return item{}, nil, fmt.Errorf("parked: %w", err)
	}
	if it.entry.isEmpty() {
		return item{}, nil, fmt.Errorf("no version: %w", changeset.ErrCorrupt)
	}
	if it.entry.Applied.Intersects(it.entry.Parked) {
		return item{}, nil, fmt.Errorf("a version is both applied and parked: %w", changeset.ErrCorrupt)
	}
	if it.entry.Applied.IsEmpty() {
		return it, b, nil
	}
	if len(b) < changeset.HashSize {
		return item{}, nil, changeset.ErrTruncated
	}
	it.entry.Head = changeset.Hash(b[:changeset.HashSize])
	return it, b[changeset.HashSize:], nil
}

// decodeUvarint reads the shortest form of a number below 2^63.
func decodeUvarint(b []byte) (n uint64, rest []byte, err error) {
	n, size := binary.Uvarint(b)
	switch {
	case size == 0:
		return 0, nil, changeset.ErrTruncated
	case size < 0 || n >= 1<<63:
		return 0, nil, fmt.Errorf("number too large: %w", changeset.ErrCorrupt)
	case size > 1 && b[size-1] == 0:
		return 0, nil, fmt.Errorf("number not in its shortest form: %w", changeset.ErrCorrupt)
	}
	return n, b[size:], nil
}
