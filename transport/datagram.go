package transport

import (
	"encoding/binary"
	"fmt"
)

// Datagrams (WIRE.md, datagrams): type, length, payload, zeros up to
// minDatagram.
const (
	// MaxDatagram is the largest payload of a datagram in bytes. It fits the
	// smallest packet that a link uses.
	MaxDatagram = 1200

	datagramProbe   = 0 // asks for nothing but QUIC's acknowledgement
	datagramMessage = 1

	datagramHeader = 3
	// A peer that restarted answers only packets larger than a stateless reset
	// (42 bytes) with one.
	minDatagram = 48

	datagramQueue = 32 // per link; the newest is dropped on overflow
)

func encodeDatagram(kind uint8, payload []byte) []byte {
	b := make([]byte, max(datagramHeader+len(payload), minDatagram))
	b[0] = kind
	binary.BigEndian.PutUint16(b[1:], uint16(len(payload)))
	copy(b[datagramHeader:], payload)
	return b
}

// decodeDatagram splits a datagram; the payload aliases b. Types that this
// node does not know are for the caller to ignore.
func decodeDatagram(b []byte) (kind uint8, payload []byte, err error) {
	if len(b) < datagramHeader {
		return 0, nil, fmt.Errorf("transport: datagram: %w: %d bytes", ErrTruncated, len(b))
	}
	n := int(binary.BigEndian.Uint16(b[1:]))
	rest := b[datagramHeader:]
	if n > len(rest) {
		return 0, nil, fmt.Errorf("transport: datagram: %w: %d of %d bytes", ErrTruncated, len(rest), n)
	}
	for _, c := range rest[n:] {
		if c != 0 {
			return 0, nil, fmt.Errorf("transport: datagram: %w: padding is not zero", ErrCorrupt)
		}
	}
	return b[0], rest[:n:n], nil
}
