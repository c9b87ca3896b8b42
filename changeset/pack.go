package changeset

import (
	"fmt"

	"github.com/klauspost/compress/s2"
)

// The packed form: one marker byte, then the bytes as they are or as an s2
// block. The log stores it and the wire carries it; hashes never cover it.
const (
	markerRaw = 0
	markerS2  = 1

	// packAbove is the size from which compression is tried: below it, s2 gains
	// less than a decoder's call costs.
	packAbove = 256
)

// Pack returns the stored and sent form of a sealed changeset's data:
// compressed if that is smaller. It does not keep data.
func Pack(data []byte) []byte {
	if len(data) > packAbove {
		b := make([]byte, 1+s2.MaxEncodedLen(len(data)))
		b[0] = markerS2
		if n := len(s2.Encode(b[1:], data)); n < len(data) {
			// The bound is far above the usual size: do not pin the rest.
			return append(make([]byte, 0, 1+n), b[:1+n]...)
		}
	}
	b := make([]byte, 0, 1+len(data))
	return append(append(b, markerRaw), data...)
}

// Unpack undoes Pack. The result of an uncompressed form shares b. The declared
// size is checked against MaxEncodedSize before anything is allocated. A cut in
// an s2 block cannot be told from other damage: it is ErrCorrupt, and a cut in
// a raw one is found by Open and Decode.
func Unpack(b []byte) ([]byte, error) {
	if len(b) == 0 {
		return nil, &DecodeError{Err: ErrTruncated, Reason: "no marker byte"}
	}
	size := len(b) - 1
	switch b[0] {
	case markerRaw:
	case markerS2:
		n, err := s2.DecodedLen(b[1:])
		if err != nil {
			return nil, &DecodeError{Err: ErrCorrupt, Offset: 1, Reason: "s2 block without a size"}
		}
		size = n
	default:
		return nil, &DecodeError{Err: ErrUnsupported, Reason: fmt.Sprintf("packed form %d", b[0])}
	}
	if size > MaxEncodedSize {
		return nil, &DecodeError{Err: ErrTooLarge, Offset: 1, Reason: fmt.Sprintf("%d bytes, at most %d", size, MaxEncodedSize)}
	}
	if b[0] == markerRaw {
		return b[1:], nil
	}
	data, err := s2.Decode(nil, b[1:])
	if err != nil {
		return nil, &DecodeError{Err: ErrCorrupt, Offset: 1, Reason: "s2 block does not decode"}
	}
	return data, nil
}
