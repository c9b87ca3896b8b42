package transport

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/quic-go/quic-go/qlog"
	"github.com/quic-go/quic-go/qlogwriter"
)

// strayLine is from how many packets on a line is logged: a few come after the
// end of any link.
const strayLine = 8

// strays counts packets that are not QUIC or belong to no link. QUIC has dropped
// them, or answered with one packet that is smaller.
type strays struct {
	log *slog.Logger

	mu     sync.Mutex
	count  uint64
	told   uint64         // of count, at the last line
	from   netip.AddrPort // of the last whose sender is known
	logged time.Time
}

var _ qlogwriter.Recorder = (*strays)(nil)

// RecordEvent implements qlogwriter.Recorder for what happens outside of
// connections. The sender is not told.
func (s *strays) RecordEvent(e qlogwriter.Event) {
	switch e.(type) {
	case qlog.PacketDropped, *qlog.PacketDropped, qlog.VersionNegotiationSent, *qlog.VersionNegotiationSent:
		s.add(netip.AddrPort{})
	}
}

// Close implements qlogwriter.Recorder.
func (s *strays) Close() error { return nil }

func (s *strays) add(from netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	if from.IsValid() {
		s.from = from
	}
}

func (s *strays) total() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// report logs, at most once in logInterval, that there are many.
func (s *strays) report(now time.Time) {
	s.mu.Lock()
	n, from := s.count-s.told, s.from
	due := n >= strayLine && (s.logged.IsZero() || now.Sub(s.logged) >= logInterval)
	if due {
		s.told, s.logged, s.from = s.count, now, netip.AddrPort{}
	}
	s.mu.Unlock()
	if !due {
		return
	}
	sender := "unknown"
	if from.IsValid() {
		sender = from.String()
	}
	s.log.Warn("packets that belong to no link are dropped", "peer", sender, "err", fmt.Sprintf("%d since the last line", n))
}

// readStrays takes the packets that are not QUIC, whose senders are known, until
// ctx or the transport ends.
func (t *Transport) readStrays(ctx context.Context) {
	var b [1]byte // of the content nothing is of interest
	for {
		_, from, err := t.quic.ReadNonQUICPacket(ctx, b[:])
		if err != nil {
			return
		}
		addr, err := addrPort(from)
		if err != nil {
			continue
		}
		t.strays.add(addr)
	}
}
