package members

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/memberlist"
	"github.com/patinadb/patina/changeset"
)

// The library trusts those who may speak to it: it allocates by a declared number,
// decompresses to 40 MiB, and remembers every name. A member can be hostile, so
// what no node of ours sends is refused before the library reads it.

// Limits of what is handed to the library.
const (
	// MaxMembers is how many processes the library knows at most, those that died
	// lately included.
	MaxMembers     = 4096
	maxStreamBytes = 8 << 20 // twice what a table of MaxMembers can take
)

// Types of messages that nodes of ours send (those of probes.go and table.go left
// out).
const (
	indirectPingMessage = 1
	suspectMessage      = 3
	aliveMessage        = 4
	deadMessage         = 5
	nackMessage         = 11
	errorMessage        = 13
	labelHeader         = 244
)

// admitted are the types that a packet may hold, inside a compound message or
// alone.
var admitted = []byte{pingMessage, indirectPingMessage, ackMessage, suspectMessage, aliveMessage, deadMessage, nackMessage}

// errRefused is what no node of ours sends.
var errRefused = errors.New("members: refused")

func refusal(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errRefused}, args...)...)
}

// checkPacket returns why a packet is refused.
func checkPacket(packet []byte) error {
	b, _, err := memberlist.RemoveLabelHeaderFromPacket(packet) // the library checks the label
	if err != nil {
		return refusal("label: %v", err)
	}
	if len(b) >= 5 && b[0] == crcMessage {
		b = b[5:]
	}
	switch {
	case len(b) == 0:
		return refusal("empty packet")
	case b[0] != compoundMessage:
		return checkMessage(b)
	case len(b) < 2 || len(b) < 2+2*int(b[1]):
		return refusal("compound message of %d bytes", len(b))
	}
	lengths, rest := b[2:2+2*int(b[1])], b[2+2*int(b[1]):]
	for ; len(lengths) > 0; lengths = lengths[2:] {
		n := int(binary.BigEndian.Uint16(lengths))
		if n > len(rest) {
			return refusal("compound message that was cut")
		}
		if err := checkMessage(rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

func checkMessage(b []byte) error {
	switch {
	case len(b) == 0:
		return refusal("empty message")
	case !slices.Contains(admitted, b[0]):
		return refusal("message of type %d", b[0])
	}
	return nil
}

// guardedConn is a stream whose beginning is checked at the first Read, and whose
// length is bounded.
type guardedConn struct {
	net.Conn
	incoming bool
	refused  func(error)

	reader io.Reader // what was checked, then the rest; nil before the first Read
	err    error
}

func (g *guardedConn) Read(b []byte) (int, error) {
	if g.reader == nil && g.err == nil {
		g.check()
	}
	if g.err != nil {
		return 0, g.err
	}
	return g.reader.Read(b)
}

func (g *guardedConn) check() {
	var seen bytes.Buffer
	bounded := io.LimitReader(g.Conn, maxStreamBytes)
	err := checkStream(io.TeeReader(bounded, &seen), g.incoming)
	g.reader = io.MultiReader(&seen, bounded)
	if errors.Is(err, errRefused) {
		g.err = err
		g.refused(err)
	}
}

// checkStream reads the beginning of a stream and returns why it is refused. What
// ends early, the library judges.
func checkStream(r io.Reader, incoming bool) error {
	kind, err := readByte(r)
	if err == nil && kind == labelHeader && incoming {
		var size byte
		if size, err = readByte(r); err == nil {
			_, err = io.CopyN(io.Discard, r, int64(size))
		}
		if err == nil {
			kind, err = readByte(r)
		}
	}
	switch {
	case err != nil:
		return err
	case kind == pushPullMessage:
		return checkTable(r)
	case incoming && kind != pingMessage, !incoming && kind != ackMessage && kind != errorMessage:
		return refusal("stream of type %d", kind)
	}
	return nil
}

func readByte(r io.Reader) (byte, error) {
	var b [1]byte
	_, err := io.ReadFull(r, b[:])
	return b[0], err
}

// checkTable reads the header of a table.
func checkTable(r io.Reader) error {
	var header pushPullHeader
	var handle codec.MsgpackHandle
	if err := codec.NewDecoder(r, &handle).Decode(&header); err != nil {
		return err
	}
	switch {
	case header.Nodes < 0 || header.Nodes > MaxMembers:
		return refusal("a table of %d members, at most %d", header.Nodes, MaxMembers)
	case header.UserStateLen != 0:
		return refusal("%d bytes beside the table", header.UserStateLen)
	}
	return nil
}

// Refused counts what peers sent and no node of ours does.
type Refused struct {
	Packets, Streams uint64
	Members          uint64 // beyond MaxMembers
}

// Refused returns the counts since New.
func (m *Members) Refused() Refused {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.refused
}

// refuse counts, and logs at most one line in warnEvery.
func (m *Members) refuse(from changeset.ActorID, count *uint64, err error) {
	m.mu.Lock()
	*count++
	m.mu.Unlock()
	if m.bridge.admit() {
		m.cfg.Log.Warn("membership traffic is refused", "component", "members", "peer", from, "err", err)
	}
}

// enter reports whether the library may know a name: it does already, or there is
// room.
func (m *Members) enter(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.names[name] {
		return true
	}
	if len(m.names) >= m.limit {
		return false
	}
	m.names[name] = true
	return true
}
