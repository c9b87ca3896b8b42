package members

import (
	"bytes"
	"encoding/binary"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/memberlist"
)

// The library does not end a probe that waits for its answer when it is shut down:
// the goroutine would outlive Run by up to eight seconds. So the carrier remembers
// the last pings and answers them itself at the end. The shapes below are those of
// the library's wire format, protocol 2.

const (
	pingMessage     = 0
	ackMessage      = 2
	compoundMessage = 7
	crcMessage      = 12

	// lastPingsKept bounds them: a probe of our own and those for others. Of more,
	// the rest ends by itself in half a second.
	lastPingsKept = 16
)

type pingRequest struct{ SeqNo uint32 }

type ackResponse struct {
	SeqNo   uint32
	Payload []byte
}

// lastPings is a ring of packets that hold a ping.
type lastPings struct {
	packets [lastPingsKept][]byte
	next    int
}

// add keeps the packet if it holds a ping. A ping is always the first message.
func (p *lastPings) add(packet []byte) {
	if firstMessage(packet, pingMessage) != nil {
		p.packets[p.next] = packet
		p.next = (p.next + 1) % lastPingsKept
	}
}

// acks returns packets that answer the pings.
func (p *lastPings) acks(label string) [][]byte {
	var out [][]byte
	for _, packet := range p.packets {
		var ping pingRequest
		var handle codec.MsgpackHandle
		body := firstMessage(packet, pingMessage)
		if body == nil || codec.NewDecoder(bytes.NewReader(body), &handle).Decode(&ping) != nil {
			continue
		}
		ack := []byte{ackMessage}
		var encoded []byte
		if codec.NewEncoderBytes(&encoded, &handle).Encode(ackResponse{SeqNo: ping.SeqNo}) != nil {
			continue
		}
		if packet, err := memberlist.AddLabelHeaderToPacket(append(ack, encoded...), label); err == nil {
			out = append(out, packet)
		}
	}
	return out
}

// firstMessage returns what follows the type byte of a packet's first message, nil
// if that is of another type.
func firstMessage(packet []byte, kind byte) []byte {
	b, _, err := memberlist.RemoveLabelHeaderFromPacket(packet)
	if err != nil {
		return nil
	}
	if len(b) >= 5 && b[0] == crcMessage {
		b = b[5:]
	}
	if len(b) >= 4 && b[0] == compoundMessage && b[1] > 0 {
		start := 2 + 2*int(b[1])
		end := start + int(binary.BigEndian.Uint16(b[2:]))
		if end > len(b) {
			return nil
		}
		b = b[start:end]
	}
	if len(b) < 2 || b[0] != kind {
		return nil
	}
	return b[1:]
}
