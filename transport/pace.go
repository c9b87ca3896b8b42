package transport

import (
	"context"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// class is how urgent traffic is, the most urgent first (WIRE.md, priorities).
type class int

const (
	classMembership class = iota // datagrams, and streams of Config.Membership: never wait
	classBroadcast               // uni streams
	classBulk                    // other bi streams
	classes
)

// MinBytesPerSecond is the least byte budget but 0, which is none: below it one
// frame would take longer than the patience of who waits for it.
const MinBytesPerSecond = 64 << 10

const (
	paceChunk = 16 << 10 // what is asked for at a time
	paceBurst = 8        // the budget saves up for this part of a second
	bulkShare = 4        // this part of the budget is bulk's although broadcast waits
)

// pacer holds what this node sends to its budget in bytes per second. Streams
// ask before they write; what QUIC adds, repeats and acknowledges, and all of
// membership, is charged afterwards, by the sampler. So the rate of everything
// is the budget, and membership takes its part from the others.
type pacer struct {
	rate atomic.Int64 // bytes per second; 0: no budget; changed under mu

	mu      sync.Mutex
	at      time.Time               // of the last refill
	tokens  float64                 // bytes that may be sent; negative: owed
	share   float64                 // of tokens, what bulk may take although broadcast waits
	granted float64                 // bytes, since the last charge
	sent    uint64                  // bytes of all links, at the last charge
	queues  [classes][]chan nothing // who waits, in order; the first one's channel is closed
	changed chan nothing            // closed when the rate changes, or broadcast stops waiting
}

type nothing struct{}

func newPacer() *pacer { return &pacer{changed: make(chan nothing)} }

// set changes the budget.
func (p *pacer) set(rate int64, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rate.Swap(rate) != rate {
		p.at, p.tokens, p.share, p.granted = now, 0, 0, 0
		p.wake()
	}
}

// wake lets those whose turn it is look again. The caller holds mu.
func (p *pacer) wake() {
	close(p.changed)
	p.changed = make(chan nothing)
}

// refill adds what the time since the last one brought. The caller holds mu.
func (p *pacer) refill(now time.Time) {
	rate := float64(p.rate.Load())
	gained := rate * max(0, now.Sub(p.at).Seconds())
	p.at = now
	most := max(rate/paceBurst, paceChunk)
	p.tokens = min(most, p.tokens+gained)
	p.share = min(most, p.share+gained/bulkShare)
}

// charge takes account of all that the links have sent since they began. What
// was granted and is not sent yet comes back until it is.
func (p *pacer) charge(sent uint64, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	extra := float64(sent) - float64(p.sent) - p.granted
	p.sent, p.granted = sent, 0
	if p.rate.Load() > 0 {
		p.refill(now)
		p.tokens -= extra
	}
}

// take waits until n bytes of a stream may be sent. Its errors are those of pause.
func (p *pacer) take(s *Stream, n int) error {
	c := s.class()
	if p.rate.Load() == 0 || c == classMembership {
		return nil
	}
	turn := p.join(c)
	defer p.leave(c, turn)
	if err := s.pause(0, turn); err != nil {
		return err
	}
	for {
		wait, changed := p.try(c, float64(n), time.Now())
		if wait == 0 {
			return nil
		}
		if err := s.pause(wait, changed); err != nil {
			return err
		}
	}
}

// join queues; the channel is closed when it is the caller's turn.
func (p *pacer) join(c class) chan nothing {
	p.mu.Lock()
	defer p.mu.Unlock()
	turn := make(chan nothing)
	p.queues[c] = append(p.queues[c], turn)
	if len(p.queues[c]) == 1 {
		close(turn)
	}
	return turn
}

func (p *pacer) leave(c class, turn chan nothing) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(p.queues[c], turn)
	p.queues[c] = slices.Delete(p.queues[c], i, i+1)
	switch {
	case len(p.queues[c]) == 0 && c == classBroadcast:
		p.wake()
	case i == 0 && len(p.queues[c]) > 0:
		close(p.queues[c][0])
	}
}

// try takes n bytes and returns 0, or returns how long to wait at most.
func (p *pacer) try(c class, n float64, now time.Time) (wait time.Duration, changed <-chan nothing) {
	p.mu.Lock()
	defer p.mu.Unlock()
	rate := float64(p.rate.Load())
	if rate == 0 {
		return 0, nil
	}
	p.refill(now)
	lacking := -p.tokens
	if c == classBulk && len(p.queues[classBroadcast]) > 0 {
		lacking = max(lacking, -p.share*bulkShare)
	}
	if lacking >= 0 {
		return time.Duration(lacking/rate*float64(time.Second)) + time.Millisecond, p.changed
	}
	p.tokens -= n
	p.granted += n
	if c == classBulk {
		p.share -= n
	}
	return 0, nil
}

// yielder lets bulk wait while something more urgent is written on the same
// link, which QUIC would serve in turns.
type yielder struct {
	mu     sync.Mutex
	urgent int          // writes
	calm   chan nothing // closed when urgent falls to 0; nil while it is
}

const (
	yieldChunk = 64 << 10 // what bulk writes at a time
	yieldMost  = 20 * time.Millisecond
)

// begin and end enclose an urgent write.
func (y *yielder) begin() {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.urgent++; y.urgent == 1 {
		y.calm = make(chan nothing)
	}
}

func (y *yielder) end() {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.urgent--; y.urgent == 0 {
		close(y.calm)
		y.calm = nil
	}
}

func (y *yielder) busy() <-chan nothing {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.calm
}

// class is how urgent what a stream sends is.
func (s *Stream) class() class {
	switch {
	case s.kind == s.link.membership:
		return classMembership
	case s.recv == nil:
		return classBroadcast
	}
	return classBulk
}

// pause waits for a time, 0 for any, or until wake is closed. It is an error if
// the stream or the link ends before, or the deadline for writing passes.
func (s *Stream) pause(d time.Duration, wake <-chan nothing) error {
	var over <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		over = timer.C
	}
	for {
		at, changed := s.deadline.load()
		var expired <-chan time.Time
		if !at.IsZero() {
			timer := time.NewTimer(time.Until(at))
			defer timer.Stop()
			expired = timer.C
		}
		select {
		case <-over:
			return nil
		case <-wake:
			return nil
		case <-changed:
		case <-expired:
			return os.ErrDeadlineExceeded
		case <-s.done:
			return ErrClosed
		case <-s.link.conn.Context().Done():
			return linkError(context.Cause(s.link.conn.Context()), s.link.addr, s.link.peer.actor)
		}
	}
}

// deadline is a time that may change while somebody waits for it.
type deadline struct {
	mu      sync.Mutex
	at      time.Time    // zero: never
	changed chan nothing // closed when at changes; nil if nobody asked
}

func (d *deadline) store(at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at = at
	if d.changed != nil {
		close(d.changed)
		d.changed = nil
	}
}

func (d *deadline) load() (time.Time, <-chan nothing) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.changed == nil {
		d.changed = make(chan nothing)
	}
	return d.at, d.changed
}

// SetBytesPerSecond changes the budget of Config.BytesPerSecond, 0 for none.
// It may be called at any time.
func (t *Transport) SetBytesPerSecond(rate int64) { t.pace.set(rate, time.Now()) }
