// Package hlc is a hybrid logical clock (Kulkarni et al., "Logical Physical
// Clocks", OPODIS 2014): 48 bits of milliseconds since the Unix epoch and 16
// bits of counter in one comparable number. A counter that overflows carries
// into the milliseconds: the clock is then ahead of the wall until the wall has
// caught up, and still never runs backwards.
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

const (
	counterBits = 16
	maxMillis   = 1<<48 - 1
	maxCounter  = 1<<counterBits - 1

	// lowCounters is the range of the random counter that a clock starts each
	// millisecond with. It leaves fifteen sixteenths of the counter.
	lowCounters = 1 << 12
)

// At returns the timestamp of wall time t with the given counter. Times that 48
// bits of milliseconds do not hold are moved to the nearest that they do.
func At(t time.Time, counter uint16) Timestamp {
	millis := min(max(t.UnixMilli(), 0), maxMillis)
	return Timestamp(millis)<<counterBits | Timestamp(counter)
}

// Time returns the wall part, in UTC, to the millisecond.
func (t Timestamp) Time() time.Time { return time.UnixMilli(int64(t >> counterBits)).UTC() }

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
	first    uint16 // counter of the first timestamp in a new millisecond

	mu   sync.Mutex // guards last
	last Timestamp
}

// New returns a clock on the wall time now. highWater is the mark that the last
// run persisted (0 if none): every timestamp will be above it, so that a restart
// with the wall clock set back does not run backwards. maxDrift bounds how far
// ahead of the wall remote timestamps can drag the clock.
//
// Counters start at a low value that is random for each clock, so that two
// copies of one database that both go on rarely choose the same timestamp.
func New(now func() time.Time, maxDrift time.Duration, highWater Timestamp) *Clock {
	first := uint16(rand.IntN(lowCounters))
	c := &Clock{now: now, maxDrift: maxDrift, first: first, last: highWater}
	if highWater >= c.wall() {
		c.last += Timestamp(first) // the wall will not bring the randomness
	}
	return c
}

// wall is the wall time as the clock uses it. One beyond Max, which no node
// would accept, counts as unknown: the clock then goes on counting from where
// it is instead of making every later write fail.
func (c *Clock) wall() Timestamp {
	if t := At(c.now(), c.first); t <= Max {
		return t
	}
	return 0
}

// Now returns the next timestamp, above every one that Now returned before,
// above every one that Observe accepted, and above the mark given to New. It is
// at most Max as long as those are below Max.
func (c *Clock) Now() Timestamp {
	wall := c.wall()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max(c.last+1, wall)
	return c.last
}

// Observe moves the clock up to t, but not further than maxDrift ahead of the
// wall. It returns how far t is ahead of that bound, at least a millisecond, or
// 0 if it is within. A wall beyond Max bounds nothing; then the clock stays.
func (c *Clock) Observe(t Timestamp) (beyond time.Duration) {
	bound := At(c.now().Add(c.maxDrift), maxCounter)
	c.mu.Lock()
	defer c.mu.Unlock()
	if bound > Max {
		bound = c.last
	}
	c.last = max(c.last, min(t, bound))
	if t > bound {
		return max(t.Time().Sub(bound.Time()), time.Millisecond)
	}
	return 0
}

// Last returns the highest timestamp handed out or observed: the mark to persist.
func (c *Clock) Last() Timestamp {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}
