package antientropy

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/sync/versions"
)

// TestSessionsDoNotWaitForMeetings: a store that takes long over a vector holds up
// no session, hears the newest of those that came meanwhile, and not the others.
func TestSessionsDoNotWaitForMeetings(t *testing.T) {
	bubble(t, 2, func(t *testing.T, m *mesh) {
		slow := m.stores[0]
		slow.meetTime = time.Minute
		m.run()
		m.connect()
		time.Sleep(time.Second)
		for v := range changeset.Version(5) {
			m.stores[1].write(t, 2, v+1, v+1, "text")
			m.loops[0].Digest(actor(2), m.stores[1].Vector().Digest())
			m.settle(time.Second)
		}
		if slow.hears(2) != nil {
			t.Fatal("it was not slow")
		}
		if q := m.loops[0].Queues()[2]; q.Depth != 1 || q.Dropped != 0 {
			t.Errorf("%+v, want one vector waiting", q)
		}
		sessions := m.loops[0].Stats()
		if done := sessions.Completed + sessions.Equal; done < 6 {
			t.Errorf("%d sessions", done)
		}
		want := m.stores[1].Vector()
		for slow.hears(2) == nil || !slow.hears(2).Equal(want) {
			time.Sleep(time.Second)
			if slow.met() > 2 {
				t.Fatalf("%d meetings and not the newest vector", slow.met())
			}
		}
	})
}

// TestFullMeetingsDrop the vectors of more peers, never newer ones of a peer.
func TestFullMeetingsDrop(t *testing.T) {
	l := New(Config{Self: actor(1), Store: newMemoryStore()})
	for n := range meetCapacity + 5 {
		l.meetings.add(Hear{actor(n + 2), versions.NewVector()})
	}
	newest := versions.NewVector()
	newest.Put(actor(9), versions.Entry{Applied: parseRanges("1-3")})
	l.meetings.add(Hear{actor(2), newest})
	if q := l.Queues()[2]; q != (Queue{"antientropy.meetings", meetCapacity, meetCapacity, 5}) {
		t.Errorf("%+v", q)
	}
	for n := range meetCapacity {
		h, ok := l.meetings.next()
		if !ok || h.Peer != actor(n+2) || (h.Vector == newest) != (n == 0) {
			t.Fatalf("%d: peer %s, newest %t", n, name(h.Peer), h.Vector == newest)
		}
	}
	if _, ok := l.meetings.next(); ok {
		t.Error("something is left")
	}
}

// TestFailedMeetingIsToldAndForgotten: the next vector is met all the same.
func TestFailedMeetingIsToldAndForgotten(t *testing.T) {
	bubble(t, 2, func(t *testing.T, m *mesh) {
		var log bytes.Buffer
		m.stores[0].meetErr = errors.New("disk full")
		m.loops[0].cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
		m.run()
		m.connect()
		time.Sleep(time.Second)
		m.stores[1].write(t, 2, 1, 1, "text")
		m.loops[0].Digest(actor(2), m.stores[1].Vector().Digest())
		m.settle(time.Second)
		if got := m.stores[0].met(); got < 2 {
			t.Errorf("%d meetings", got)
		}
		m.close()
		if got := strings.Count(log.String(), "disk full"); got != m.stores[0].met() {
			t.Errorf("%d of %d failures told:\n%s", got, m.stores[0].met(), log.String())
		}
	})
}

// TestStopEndsAMeeting that waits for the store.
func TestStopEndsAMeeting(t *testing.T) {
	bubble(t, 2, func(t *testing.T, m *mesh) {
		m.stores[0].meetTime = time.Hour
		m.run()
		m.connect()
		time.Sleep(time.Second)
		synctest.Wait()
		start := time.Now()
		m.close()
		if d := time.Since(start); d > 0 {
			t.Errorf("the stop took %v", d)
		}
	})
}
