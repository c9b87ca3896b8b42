package members

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/memberlist"
)

// The library tells nobody who is suspect, nor whether a member that is gone has
// died or left; but its push/pull message carries the state of every entry. So we
// ask it for its table as a peer would, through a pipe, and offer nothing of our
// own. The shapes below are those of the library's wire format, protocol 2.

const (
	pushPullMessage = 6
	tableTimeout    = 2 * time.Second
	tableRows       = 1 << 20 // the library's own limit
)

type pushPullHeader struct {
	Nodes        int
	UserStateLen int
	Join         bool
}

type pushNodeState struct {
	Name        string
	Addr        []byte
	Port        uint16
	Meta        []byte
	Incarnation uint32
	State       int
	Vsn         []uint8
}

// table reads the library's table.
func (c *carrier) table() ([]row, error) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	select {
	case c.streams <- theirs:
	case <-c.ctx.Done():
		theirs.Close()
		return nil, errClosed
	}
	if err := ours.SetDeadline(time.Now().Add(tableTimeout)); err != nil {
		return nil, fmt.Errorf("members: read table: %w", err)
	}
	rows, err := askTable(ours, c.label)
	if err != nil {
		return nil, fmt.Errorf("members: read table: %w", err)
	}
	return rows, nil
}

func askTable(conn net.Conn, label string) ([]row, error) {
	if err := memberlist.AddLabelHeaderToStream(conn, label); err != nil {
		return nil, err
	}
	var handle codec.MsgpackHandle
	question := []byte{pushPullMessage}
	var header []byte
	if err := codec.NewEncoderBytes(&header, &handle).Encode(pushPullHeader{}); err != nil {
		return nil, err
	}
	if _, err := conn.Write(append(question, header...)); err != nil {
		return nil, err
	}
	r := bufio.NewReader(conn)
	kind, err := r.ReadByte()
	if err != nil {
		return nil, err
	}
	if kind != pushPullMessage {
		return nil, fmt.Errorf("message of kind %d", kind)
	}
	return decodeTable(r, &handle)
}

func decodeTable(r io.Reader, handle *codec.MsgpackHandle) ([]row, error) {
	d := codec.NewDecoder(r, handle)
	var header pushPullHeader
	if err := d.Decode(&header); err != nil {
		return nil, err
	}
	if header.Nodes < 0 || header.Nodes > tableRows {
		return nil, fmt.Errorf("%d entries", header.Nodes)
	}
	rows := make([]row, 0, min(header.Nodes, 1024))
	for range header.Nodes {
		var n pushNodeState
		if err := d.Decode(&n); err != nil {
			return nil, err
		}
		addr, _ := netip.AddrFromSlice(n.Addr)
		rows = append(rows, row{n.Name, netip.AddrPortFrom(addr.Unmap(), n.Port), n.Meta, stateOf(n.State)})
	}
	return rows, nil
}

func stateOf(s int) State {
	switch memberlist.NodeStateType(s) {
	case memberlist.StateAlive:
		return Alive
	case memberlist.StateSuspect:
		return Suspect
	case memberlist.StateLeft:
		return Left
	}
	return Dead
}
