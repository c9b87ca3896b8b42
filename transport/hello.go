package transport

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"unicode/utf8"

	"github.com/patinadb/patina/changeset"
)

// Protocol versions this node speaks. Two nodes talk in the highest version
// that both speak.
const (
	MinVersion = 1
	MaxVersion = 1
)

const (
	helloLayout   = 1  // first byte of a hello's payload
	helloFixed    = 92 // bytes before the first field of variable length
	maxNameBytes  = 64 // of a cluster's and of a node's name
	maxHelloBytes = 512

	frameHello  = 1 // frame types on the hello stream
	frameAccept = 2
)

// hello is what each end says first (WIRE.md, hello).
type hello struct {
	minVersion, maxVersion uint8
	features               uint64 // optional abilities, one bit each; unknown bits are ignored; none defined yet
	actor                  changeset.ActorID
	nonce                  [16]byte // random, one per process start
	epoch                  uint64
	dial                   uint64 // the dialler's count of its dials, from 1; 0 from the listener
	schema                 [32]byte
	advertise              netip.AddrPort // invalid = none
	cluster, name          string
}

func (h hello) append(b []byte) []byte {
	b = append(b, helloLayout, h.minVersion, h.maxVersion)
	b = binary.BigEndian.AppendUint64(b, h.features)
	b = append(b, h.actor[:]...)
	b = append(b, h.nonce[:]...)
	b = binary.BigEndian.AppendUint64(b, h.epoch)
	b = binary.BigEndian.AppendUint64(b, h.dial)
	b = append(b, h.schema[:]...)
	b = appendAddr(b, h.advertise)
	b = appendShort(b, h.cluster)
	return appendShort(b, h.name)
}

func appendShort(b []byte, s string) []byte {
	return append(append(b, uint8(len(s))), s...)
}

// appendAddr writes a length (0, 6 or 18), the IP address and the port.
func appendAddr(b []byte, a netip.AddrPort) []byte {
	if !a.IsValid() {
		return append(b, 0)
	}
	ip := a.Addr().Unmap().WithZone("").AsSlice()
	b = append(b, uint8(len(ip)+2))
	b = append(b, ip...)
	return binary.BigEndian.AppendUint16(b, a.Port())
}

// decodeHello decodes the payload of a hello frame. It is strict: what it
// accepts encodes to the same bytes.
func decodeHello(b []byte) (h hello, err error) {
	if len(b) == 0 {
		return h, fmt.Errorf("hello: %w: no bytes", ErrTruncated)
	}
	if b[0] != helloLayout {
		return h, fmt.Errorf("hello: %w: layout %d, this node reads %d", ErrUnsupported, b[0], helloLayout)
	}
	if len(b) < helloFixed {
		return h, fmt.Errorf("hello: %w: %d bytes", ErrTruncated, len(b))
	}
	h.minVersion, h.maxVersion = b[1], b[2]
	h.features = binary.BigEndian.Uint64(b[3:])
	copy(h.actor[:], b[11:])
	copy(h.nonce[:], b[27:])
	h.epoch = binary.BigEndian.Uint64(b[43:])
	h.dial = binary.BigEndian.Uint64(b[51:])
	copy(h.schema[:], b[59:])
	rest := b[91:]
	if h.advertise, rest, err = decodeAddr(rest); err != nil {
		return h, err
	}
	if h.cluster, rest, err = decodeName(rest, "cluster"); err != nil {
		return h, err
	}
	if h.name, rest, err = decodeName(rest, "name"); err != nil {
		return h, err
	}
	return h, h.validate(rest)
}

func (h hello) validate(rest []byte) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("hello: %w: %d bytes after its end", ErrCorrupt, len(rest))
	case h.minVersion == 0 || h.minVersion > h.maxVersion:
		return fmt.Errorf("hello: %w: versions %d to %d", ErrCorrupt, h.minVersion, h.maxVersion)
	case h.actor.IsZero():
		return fmt.Errorf("hello: %w: zero actor id", ErrCorrupt)
	case h.cluster == "":
		return fmt.Errorf("hello: %w: no cluster", ErrCorrupt)
	}
	return nil
}

func decodeAddr(b []byte) (netip.AddrPort, []byte, error) {
	none := netip.AddrPort{}
	if len(b) == 0 {
		return none, nil, fmt.Errorf("hello: %w before the address", ErrTruncated)
	}
	n := int(b[0])
	if b = b[1:]; n == 0 {
		return none, b, nil
	}
	if n != 6 && n != 18 {
		return none, nil, fmt.Errorf("hello: %w: address of %d bytes", ErrCorrupt, n)
	}
	if len(b) < n {
		return none, nil, fmt.Errorf("hello: %w in the address", ErrTruncated)
	}
	ip, _ := netip.AddrFromSlice(b[:n-2])
	if ip.Is4In6() {
		return none, nil, fmt.Errorf("hello: %w: IPv4 address as IPv6", ErrCorrupt)
	}
	return netip.AddrPortFrom(ip, binary.BigEndian.Uint16(b[n-2:])), b[n:], nil
}

func decodeName(b []byte, what string) (string, []byte, error) {
	if len(b) == 0 {
		return "", nil, fmt.Errorf("hello: %w before the %s", ErrTruncated, what)
	}
	n := int(b[0])
	if b = b[1:]; n > maxNameBytes {
		return "", nil, fmt.Errorf("hello: %s %w: %d bytes", what, ErrTooLarge, n)
	}
	if len(b) < n {
		return "", nil, fmt.Errorf("hello: %w in the %s", ErrTruncated, what)
	}
	if !utf8.Valid(b[:n]) {
		return "", nil, fmt.Errorf("hello: %w: %s is not UTF-8", ErrCorrupt, what)
	}
	return string(b[:n]), b[n:], nil
}
