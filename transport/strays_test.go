package transport

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
	"time"
)

// junk returns n random bytes that begin with first.
func junk(r *rand.Rand, n int, first ...byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	copy(b, first)
	return b
}

// TestGarbageIsCountedAndLoggedOnce: packets of no link, of any shape, are counted,
// one line a minute tells of them, and links go on.
func TestGarbageIsCountedAndLoggedOnce(t *testing.T) {
	bubble(t, 10*time.Millisecond, 0, func(t *testing.T, n *vnet) {
		a, b := n.start(t, 1), n.start(t, 2)
		defer stopAll([]*testNode{a, b})
		a.dial(b)
		stranger := n.listen(vaddr(77))
		defer stranger.Close()
		to := net.UDPAddrFromAddrPort(vaddr(1))
		stranger.WriteTo([]byte{0, 1}, to)
		time.Sleep(2 * time.Second)
		if got := a.Stats().StrayPackets; got != 1 || a.log.count("\n") != 0 {
			t.Errorf("%d counted of one packet, logged:\n%s", got, a.log.String())
		}
		r := rand.New(rand.NewPCG(1, 1))
		const each = 100
		for range each {
			for _, p := range [][]byte{
				junk(r, 1+r.IntN(1400), 0x00),                     // not QUIC
				junk(r, 1200+r.IntN(200), 0xc0, 9, 9, 9, 9, 8),    // of a version that nobody speaks
				junk(r, 60+r.IntN(1000), 0xc0, 9, 9, 9, 9),        // the same, short
				junk(r, 60+r.IntN(1000), 0xe0, 0, 0, 0, 1, 4),     // no beginning of a handshake
				junk(r, 1+r.IntN(20), 0x40),                       // of a link that is none, too short to be answered
				junk(r, 100+r.IntN(1000), 0x40),                   // the same, answered by a stateless reset or not
				junk(r, 1200+r.IntN(200), 0x80, 0, 0, 0, 0, 4, 4), // version negotiation
			} {
				stranger.WriteTo(p, to)
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		if got := a.Stats().StrayPackets; got < 1+6*each || got > 1+7*each {
			t.Errorf("%d counted of %d", got, 1+7*each)
		}
		if lines := a.log.count("\n"); lines != 1 || a.log.count("packets that belong to no link are dropped") != 1 || a.log.count(vaddr(77).String()) != 1 {
			t.Errorf("logged:\n%s", a.log.String())
		}
		time.Sleep(logInterval)
		for range 2 * strayLine {
			stranger.WriteTo([]byte{0}, to)
		}
		time.Sleep(2 * time.Second)
		if lines := a.log.count("\n"); lines != 2 {
			t.Errorf("%d lines a minute later:\n%s", lines, a.log.String())
		}
		a.wantEvents("up 2")
		afterwards(t, n, a)
	})
}

// TestHandshakesThatNobodyGoesOnWith: first packets that look right and hold
// junk take places for a few seconds, as many as the rate of handshakes allows
// unvalidated addresses, are counted, and keep no peer out.
func TestHandshakesThatNobodyGoesOnWith(t *testing.T) {
	bubble(t, 10*time.Millisecond, 0, func(t *testing.T, n *vnet) {
		a, b := n.start(t, 1), n.start(t, 2)
		defer stopAll([]*testNode{a, b})
		stranger := n.listen(vaddr(77))
		defer stranger.Close()
		r := rand.New(rand.NewPCG(1, 1))
		time.Sleep(time.Second)
		const packets = 20 * handshakeRate
		for i := range packets {
			p := junk(r, 1250, 0xc0, 0, 0, 0, 1, 8)
			binary.BigEndian.PutUint64(p[6:], uint64(i)) // connection ids
			p[14], p[15] = 0, 0                          // no other id, no token
			binary.BigEndian.PutUint16(p[16:], 0x4000|uint16(len(p)-18))
			stranger.WriteTo(p, net.UDPAddrFromAddrPort(vaddr(1)))
		}
		time.Sleep(100 * time.Millisecond)
		b.dial(a)
		time.Sleep(2 * handshakeIdleTimeout)
		if got := a.Stats().Count(CodeUnreachable); got < handshakeRate || got > handshakeRate+5 {
			t.Errorf("%d handshakes were begun for %d packets within a moment, the bound is %d: %v", got, packets, handshakeRate, fmt.Sprint(a.Stats().Ended))
		}
		a.wantEvents("up 2")
	})
}
