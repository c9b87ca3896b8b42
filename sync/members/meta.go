package members

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/patinadb/patina/changeset"
)

// Limits of a member's meta data (WIRE.md, "Membership"). Together they stay
// below the library's 512 bytes.
const (
	metaVersion   = 1
	maxAPIAddr    = 255
	maxSoftware   = 128
	maxMetaLength = 512
)

// ProtocolVersion is the version of the membership protocol that meta data
// announces.
const ProtocolVersion = 1

// meta is what a member says of itself, beyond its name and its address.
type meta struct {
	actor    changeset.ActorID
	protocol uint64
	apiAddr  string
	software string
}

// appendMeta appends the encoding: version byte, actor, uvarint protocol, then two
// strings, each after its uvarint length.
func appendMeta(b []byte, m meta) []byte {
	b = append(b, metaVersion)
	b = append(b, m.actor[:]...)
	b = binary.AppendUvarint(b, m.protocol)
	for _, s := range [...]string{m.apiAddr, m.software} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return b
}

// decodeMeta reads exactly what appendMeta writes. Its errors are changeset's four:
// truncated, corrupt, too large, unsupported version.
func decodeMeta(b []byte) (meta, error) {
	var m meta
	whole := b
	switch {
	case len(b) > maxMetaLength:
		return m, fmt.Errorf("members: meta data of %d bytes: %w", len(b), changeset.ErrTooLarge)
	case len(b) == 0:
		return m, fmt.Errorf("members: meta data: %w", changeset.ErrTruncated)
	case b[0] > metaVersion:
		return m, fmt.Errorf("members: meta data of version %d: %w", b[0], changeset.ErrUnsupported)
	case b[0] != metaVersion:
		return m, fmt.Errorf("members: meta data of version %d: %w", b[0], changeset.ErrCorrupt)
	case len(b) < 1+changeset.ActorSize:
		return m, fmt.Errorf("members: meta data's actor: %w", changeset.ErrTruncated)
	}
	b = b[1+copy(m.actor[:], b[1:]):]
	var err error
	if m.protocol, b, err = readUvarint(b); err == nil {
		if m.apiAddr, b, err = readString(b, maxAPIAddr); err == nil {
			m.software, b, err = readString(b, maxSoftware)
		}
	}
	if err != nil {
		return meta{}, fmt.Errorf("members: meta data: %w", err)
	}
	// One encoding for each value: no trailing bytes, no padded numbers.
	if !bytes.Equal(appendMeta(nil, m), whole) {
		return meta{}, fmt.Errorf("members: meta data is not canonical: %w", changeset.ErrCorrupt)
	}
	return m, nil
}

func readUvarint(b []byte) (uint64, []byte, error) {
	v, n := binary.Uvarint(b)
	switch {
	case n == 0:
		return 0, nil, changeset.ErrTruncated
	case n < 0:
		return 0, nil, changeset.ErrCorrupt
	}
	return v, b[n:], nil
}

func readString(b []byte, limit uint64) (string, []byte, error) {
	n, b, err := readUvarint(b)
	switch {
	case err != nil:
		return "", nil, err
	case n > limit:
		return "", nil, changeset.ErrTooLarge
	case n > uint64(len(b)):
		return "", nil, changeset.ErrTruncated
	}
	return string(b[:n]), b[n:], nil
}
