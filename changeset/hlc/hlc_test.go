package hlc

import (
	"sync"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// fixed returns a wall clock that a test moves, starting at noon.
func fixed() (now func() time.Time, set func(time.Time)) {
	t := noon
	return func() time.Time { return t }, func(to time.Time) { t = to }
}

func TestAtAndTimeAreInverse(t *testing.T) {
	for _, c := range []struct {
		desc    string
		wall    time.Time
		counter uint16
		millis  int64
	}{
		{"epoch", time.UnixMilli(0), 0, 0},
		{"noon with a counter", noon, 65535, noon.UnixMilli()},
		{"below a millisecond is cut", noon.Add(999 * time.Microsecond), 3, noon.UnixMilli()},
		{"before the epoch is the epoch", time.UnixMilli(-5), 1, 0},
		{"beyond 48 bits is the last that they hold", time.UnixMilli(1 << 50), 7, 1<<48 - 1},
	} {
		got := At(c.wall, c.counter)
		if got.Time().UnixMilli() != c.millis || got.Counter() != c.counter {
			t.Errorf("%s: %d ms + %d", c.desc, got.Time().UnixMilli(), got.Counter())
		}
	}
	if want := At(time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC), 0); Max != want {
		t.Errorf("Max is %v, not %v", Max, want)
	}
	if got := At(noon, 5).String(); got != "2026-11-25T12:00:00.000Z+5" {
		t.Error(got)
	}
}

func TestNowIsMonotoneWhateverTheWallDoes(t *testing.T) {
	now, set := fixed()
	c := New(now, time.Second, 0)
	last := Timestamp(0)
	for i, wall := range []time.Duration{0, 0, 1, -time.Hour, -100 * 365 * 24 * time.Hour, time.Hour, time.Hour, 0} {
		set(noon.Add(wall))
		got := c.Now()
		if got <= last {
			t.Fatalf("step %d: %v after %v", i, got, last)
		}
		if wall >= 0 && got < At(noon.Add(wall), 0) {
			t.Fatalf("step %d: %v is below the wall", i, got)
		}
		if last = got; c.Last() != got {
			t.Fatalf("step %d: last is %v, not %v", i, c.Last(), got)
		}
	}
}

func TestNowIsAboveTheHighWaterMark(t *testing.T) {
	now, set := fixed()
	mark := At(noon.Add(time.Hour), 40000)
	c := New(now, time.Second, mark)
	first := c.Now()
	if first <= mark || first > mark+lowCounters {
		t.Errorf("%v is not just above %v", first, mark)
	}
	set(noon.Add(2 * time.Hour))
	if got := c.Now(); got.Time() != noon.Add(2*time.Hour) {
		t.Errorf("%v does not follow the wall beyond the mark", got)
	}
}

func TestCountersStartLowAndDifferBetweenClocks(t *testing.T) {
	now, set := fixed()
	for _, mark := range []Timestamp{0, At(noon.Add(time.Minute), 0)} {
		seen := map[Timestamp]bool{}
		for range 20 {
			set(noon)
			c := New(now, time.Second, mark)
			c.Now()
			set(noon.Add(10 * time.Second)) // also in a later millisecond
			got := c.Now()
			if got.Counter() > lowCounters+1 {
				t.Fatalf("counter starts at %d", got.Counter())
			}
			seen[got] = true
		}
		if len(seen) < 10 {
			t.Errorf("mark %v: 20 clocks chose only %d timestamps", mark, len(seen))
		}
	}
}

func TestCounterOverflowCarriesIntoTheMilliseconds(t *testing.T) {
	now, set := fixed()
	c := New(now, time.Second, At(noon, maxCounter-lowCounters))
	last := c.Now()
	for range 2 * lowCounters {
		got := c.Now()
		if got != last+1 {
			t.Fatalf("%v after %v", got, last)
		}
		last = got
	}
	if last.Time() != noon.Add(time.Millisecond) {
		t.Errorf("%v did not carry", last)
	}
	set(noon.Add(5 * time.Millisecond))
	if got := c.Now(); got.Time() != noon.Add(5*time.Millisecond) {
		t.Errorf("%v did not return to the wall", got)
	}
}

func TestObserveIsBoundedByDriftAndReportsTheExcess(t *testing.T) {
	const drift = 500 * time.Millisecond
	bound := At(noon.Add(drift), maxCounter)
	for _, c := range []struct {
		desc   string
		remote Timestamp
		last   Timestamp // 0: unchanged
		beyond time.Duration
	}{
		{"from the past", At(noon.Add(-time.Hour), 0), 0, 0},
		{"a little ahead", At(noon.Add(time.Millisecond), 9), At(noon.Add(time.Millisecond), 9), 0},
		{"at the bound", bound, bound, 0},
		{"a millisecond beyond", At(noon.Add(drift+time.Millisecond), 0), bound, time.Millisecond},
		{"an hour ahead", At(noon.Add(time.Hour), 5), bound, time.Hour - drift},
		{"Max", Max, bound, Max.Time().Sub(noon.Add(drift))},
	} {
		now, _ := fixed()
		k := New(now, drift, At(noon, 0))
		before := k.Last()
		if c.last == 0 {
			c.last = before
		}
		if beyond := k.Observe(c.remote); beyond != c.beyond {
			t.Errorf("%s: beyond by %v, not %v", c.desc, beyond, c.beyond)
		}
		if k.Last() != c.last {
			t.Errorf("%s: clock at %v, not %v", c.desc, k.Last(), c.last)
		}
		if next := k.Now(); next <= c.last || c.remote <= bound && next <= c.remote {
			t.Errorf("%s: then %v", c.desc, next)
		}
	}
}

func TestWallBeyondMaxDoesNotPoisonTheClock(t *testing.T) {
	now, set := fixed()
	c := New(now, time.Second, 0)
	before := c.Now()
	set(time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC))
	if got := c.Now(); got != before+1 {
		t.Errorf("%v, not the one after %v", got, before)
	}
	if beyond := c.Observe(Max); beyond != Max.Time().Sub(noon) {
		t.Errorf("beyond by %v", beyond)
	}
	if got := c.Now(); got != before+2 {
		t.Errorf("%v after observing Max, not two after %v", got, before)
	}
	if got := New(now, time.Second, before).Now(); got > before+lowCounters {
		t.Errorf("a new clock starts at %v", got)
	}
}

func TestClockIsSafeForConcurrentUse(t *testing.T) {
	c := New(time.Now, time.Second, 0)
	const goroutines, each = 4, 500
	got := make([][]Timestamp, goroutines)
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for i := range each {
				c.Observe(At(time.Now(), uint16(i)))
				got[g] = append(got[g], c.Now())
			}
		})
	}
	wg.Wait()
	seen := map[Timestamp]bool{}
	for _, ts := range got {
		for i, v := range ts {
			if seen[v] || i > 0 && v <= ts[i-1] {
				t.Fatalf("%v twice or backwards", v)
			}
			seen[v] = true
		}
	}
}
