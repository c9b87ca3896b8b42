package simtest

import "time"

// The network.
const (
	packetBytes    = 1200
	packetOverhead = 70 // bytes of IP, UDP, QUIC and its seal
	frameOverhead  = 4  // bytes before a frame's payload
	lineSpeed      = 12_500_000
	slowSpeed      = 100_000 // bytes per second
	slowHandling   = 50 * time.Millisecond
	jitter         = 0.2 // of the latency, at most
	ackDelay       = 26 * time.Millisecond
	maxTries       = 8 // of flights that are lost as a whole; then so is what they belong to
	giveUp         = 2 * time.Second
)

func (s *sim) oneWay(a, b *node) time.Duration { return s.ow[a.region][b.region] }

func (s *sim) rtt(a, b *node) time.Duration { return 2 * s.oneWay(a, b) }

// reaches reports whether packets from a come to b now.
func (s *sim) reaches(a, b *node) bool {
	return !a.down && !b.down && a.sides == b.sides && !b.deaf
}

// transfer says when that many bytes that a sends to b now will have left, and when they
// arrive; never, if ok is false.
func (s *sim) transfer(a, b *node, size int) (left, arrives time.Duration, ok bool) {
	packets := size/packetBytes + 1
	sent, late, ok := s.retransmit(packets, s.rtt(a, b))
	bytes := size*sent/packets + sent*packetOverhead
	s.out.Bytes += bytes
	left = max(s.now, a.line) + time.Duration(bytes)*time.Second/time.Duration(a.speed)
	a.line = left
	way := time.Duration(float64(s.oneWay(a, b)) * (1 + jitter*s.rand.Float64()))
	return left, left + way + late + b.handling, ok && s.reaches(a, b)
}

// carry does something for broadcast at b when that many bytes from a have come there, if
// they do: if neither end has stopped or given up the link meanwhile. It says when they
// will have left.
func (s *sim) carry(a, b *node, size int, do func()) (left time.Duration, ok bool) {
	left, arrives, ok := s.transfer(a, b, size)
	if ok {
		from := a.life
		b.pushAfter(arrives-s.now, func() {
			if a.life == from && s.reaches(a, b) && b.linked[a.index] {
				do()
			}
		})
	}
	return left, ok
}

// retransmit says how many packets it takes until all of that many are there, and how
// much later than the first flight the last of them is. Losses of a flight of which
// something arrives are known from its acknowledgement, after a round trip; of one that
// is lost as a whole only the probe timeout tells, which doubles each time.
func (s *sim) retransmit(packets int, rtt time.Duration) (sent int, late time.Duration, ok bool) {
	timeout := rtt*3/2 + ackDelay
	for wait, silent := timeout, 0; ; {
		sent += packets
		lost := 0
		for range packets {
			if s.rand.Float64() < s.cfg.Loss {
				lost++
			}
		}
		switch {
		case lost == 0:
			return sent, late, true
		case lost < packets:
			late, wait, silent = late+rtt*9/8, timeout, 0
		default:
			late, wait, silent = late+wait, 2*wait, silent+1
			if silent == maxTries {
				return sent, late, false
			}
		}
		packets = lost
	}
}
