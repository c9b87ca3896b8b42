// Package hlc is a hybrid logical clock (Kulkarni et al., "Logical Physical
// Clocks", OPODIS 2014): 48 bits of milliseconds since the Unix epoch and 16
// bits of counter in one comparable number.
package hlc

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// Timestamp is hybrid logical time: milliseconds<<16 | counter. 0 is "none".
type Timestamp uint64

// Max is the highest timestamp that a node accepts: the first instant of the
// year 2200.
const Max Timestamp = 7258118400000 << 16

// At returns the timestamp of wall time t with the given counter.
func At(t time.Time, counter uint16) Timestamp {
	return Timestamp(max(t.UnixMilli(), 0))<<16 | Timestamp(counter)
}

// Time returns the wall part, in UTC, to the millisecond.
func (t Timestamp) Time() time.Time { return time.UnixMilli(int64(t >> 16)).UTC() }

// Counter returns the logical part.
func (t Timestamp) Counter() uint16 { return uint16(t) }

// String prints the wall part as RFC 3339 and the counter after a plus sign.
func (t Timestamp) String() string {
	return fmt.Sprintf("%s+%d", t.Time().Format("2006-01-02T15:04:05.000Z07:00"), t.Counter())
}

// Clock hands out timestamps that never run backwards. It is safe for use by
// several goroutines.
type Clock struct {
	now      func() time.Time
	maxDrift time.Duration

	mu   sync.Mutex // guards last
	last Timestamp
}

// New returns a clock on the wall time now. highWater is the mark that the last
// run persisted (0 if none): every timestamp will be above it, so that a restart
// with the wall clock set back does not run backwards. maxDrift bounds how far
// ahead of the wall remote timestamps can drag the clock.
//
// The counter starts at a random low value, so that two copies of one database
// that wake in the same millisecond rarely choose the same timestamp.
func New(now func() time.Time, maxDrift time.Duration, highWater Timestamp) *Clock {
	start := At(now(), uint16(rand.IntN(1<<12)))
	return &Clock{now: now, maxDrift: maxDrift, last: max(highWater, start)}
}

// Now returns the next timestamp, above every one that Now returned before and
// above every one that Observe accepted.
func (c *Clock) Now() Timestamp {
	wall := At(c.now(), 0)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max(c.last+1, wall)
	return c.last
}

// Observe moves the clock up to t, but not further than maxDrift ahead of the
// wall. It returns how far t is ahead of that bound, 0 if it is within.
func (c *Clock) Observe(t Timestamp) (beyond time.Duration) {
	bound := At(c.now().Add(c.maxDrift), 1<<16-1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max(c.last, min(t, bound))
	if t > bound {
		return t.Time().Sub(bound.Time())
	}
	return 0
}

// Last returns the highest timestamp handed out or observed: the mark to persist.
func (c *Clock) Last() Timestamp {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}
