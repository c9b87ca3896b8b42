package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset"
)

const (
	testBudget     = 256 << 10
	kindMembership = Kind(1)
)

// meter counts the bytes of frames by the kind of their stream.
type meter struct {
	mu    sync.Mutex
	bytes map[Kind]int
}

func (m *meter) serve(_ context.Context, _ changeset.ActorID, s *Stream) {
	for {
		_, b, err := s.Receive()
		if err != nil {
			return
		}
		m.mu.Lock()
		m.bytes[s.Kind()] += len(b)
		m.mu.Unlock()
	}
}

func (m *meter) of(k Kind) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.bytes[k]
}

// paced runs a test with a node of the budget and another that meters what it
// gets. write writes frames of a size to a stream until it fails.
func paced(t *testing.T, budget int64, f func(t *testing.T, a *testNode, m *meter, write func(s *Stream, err error))) {
	t.Helper()
	bubble(t, 20*time.Millisecond, 0, func(t *testing.T, n *vnet) {
		m := &meter{bytes: map[Kind]int{}}
		a := n.start(t, 1, func(c *Config) { c.BytesPerSecond, c.Membership = budget, kindMembership })
		b := n.start(t, 2, func(c *Config) { c.Handler.(*testNode).serve = m.serve })
		defer stopAll([]*testNode{a, b})
		a.dial(b)
		time.Sleep(time.Second)
		var group sync.WaitGroup
		var open []*Stream
		f(t, a, m, func(s *Stream, err error) {
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, s)
			group.Go(func() {
				for s.Send(1, make([]byte, 64<<10)) == nil {
				}
			})
		})
		for _, s := range open {
			s.Cancel(0)
		}
		group.Wait()
	})
}

// TestBudgetHoldsAndSparesMembership: bulk is held to the budget, all that QUIC
// adds included, and datagrams and membership's streams pass as if it were not there.
func TestBudgetHoldsAndSparesMembership(t *testing.T) {
	paced(t, testBudget, func(t *testing.T, a *testNode, m *meter, write func(*Stream, error)) {
		for range 3 {
			write(a.OpenBi(t.Context(), actor(2), kindTestBi))
		}
		time.Sleep(5 * time.Second)
		before := a.Stats().BytesOut
		const seconds = 20
		slowest := time.Duration(0)
		for range 10 * seconds {
			if err := a.SendDatagram(actor(2), make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			s, err := a.OpenBi(t.Context(), actor(2), kindMembership)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Send(1, make([]byte, 1000)); err != nil {
				t.Fatal(err)
			}
			slowest = max(slowest, time.Since(begin))
			s.Close()
			time.Sleep(100*time.Millisecond - time.Since(begin))
		}
		rate := float64(a.Stats().BytesOut-before) / seconds
		if rate > 1.05*testBudget || rate < 0.9*testBudget {
			t.Errorf("%.0f bytes a second, the budget is %d", rate, testBudget)
		}
		if slowest > 5*time.Millisecond {
			t.Errorf("a membership stream waited %v", slowest)
		}
		if got := m.of(kindMembership); got < 1000*(10*seconds-1) {
			t.Errorf("%d bytes of membership's streams arrived", got)
		}
		if got := a.Stats().DatagramsDropped; got != 0 {
			t.Errorf("%d datagrams dropped", got)
		}
	})
}

// TestBroadcastGoesBeforeBulk: both want more than there is; a quarter is left
// to bulk, so that what broadcast loses can be fetched.
func TestBroadcastGoesBeforeBulk(t *testing.T) {
	paced(t, testBudget, func(t *testing.T, a *testNode, m *meter, write func(*Stream, error)) {
		for range 4 {
			write(a.OpenBi(t.Context(), actor(2), kindTestBi))
		}
		write(a.OpenUni(t.Context(), actor(2), kindTest))
		time.Sleep(5 * time.Second)
		bulk, broadcast := m.of(kindTestBi), m.of(kindTest)
		time.Sleep(20 * time.Second)
		bulk, broadcast = m.of(kindTestBi)-bulk, m.of(kindTest)-broadcast
		if part := float64(bulk) / float64(bulk+broadcast); part < 0.2 || part > 0.3 {
			t.Errorf("bulk has %.2f of what was sent: %d bytes, broadcast %d", part, bulk, broadcast)
		}
	})
}

// TestBudgetChanges: it takes effect at once, for who waits too.
func TestBudgetChanges(t *testing.T) {
	paced(t, MinBytesPerSecond, func(t *testing.T, a *testNode, m *meter, write func(*Stream, error)) {
		write(a.OpenBi(t.Context(), actor(2), kindTestBi))
		time.Sleep(10 * time.Second)
		slow := m.of(kindTestBi)
		if slow > 11*MinBytesPerSecond {
			t.Errorf("%d bytes in ten seconds", slow)
		}
		a.SetBytesPerSecond(0)
		time.Sleep(time.Second)
		if got := m.of(kindTestBi); got < 20*slow {
			t.Errorf("%d bytes without a budget, %d with it", got, slow)
		}
		a.SetBytesPerSecond(MinBytesPerSecond)
		time.Sleep(2 * time.Second) // what is on its way arrives
		slow = m.of(kindTestBi)
		time.Sleep(10 * time.Second)
		if got := m.of(kindTestBi) - slow; got > 11*MinBytesPerSecond {
			t.Errorf("%d bytes in ten seconds of a budget that was set again", got)
		}
	})
}

// TestWaitingForTheBudgetEnds: by a deadline, also one that is set meanwhile, by
// a cancel and by the end of the link; the next in the queue goes on.
func TestWaitingForTheBudgetEnds(t *testing.T) {
	paced(t, MinBytesPerSecond, func(t *testing.T, a *testNode, m *meter, _ func(*Stream, error)) {
		begin := time.Now()
		for _, c := range []struct {
			desc string
			end  func(s *Stream)
			want error
		}{
			{"deadline", func(s *Stream) { s.SetDeadline(time.Now().Add(-time.Second)) }, os.ErrDeadlineExceeded},
			{"cancel", func(s *Stream) { s.Cancel(7) }, ErrClosed},
			{"close", func(s *Stream) { s.Close() }, ErrClosed},
			{"end of the link", func(s *Stream) { s.link.close(CodeLeaving, "") }, CodeLeaving},
		} {
			s, err := a.OpenBi(t.Context(), actor(2), kindTestBi)
			if err != nil {
				t.Fatal(err)
			}
			failed := make(chan error, 1)
			go func() { failed <- s.Send(1, make([]byte, 10*MinBytesPerSecond)) }()
			time.Sleep(time.Second)
			c.end(s)
			if err := <-failed; !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", c.desc, err, c.want)
			}
			s.Cancel(0)
		}
		if d := time.Since(begin); d > 5*time.Second {
			t.Errorf("it took %v", d)
		}
		if n := len(a.pace.queues[classBulk]); n != 0 {
			t.Errorf("%d wait still", n)
		}
	})
}

// TestBulkYieldsOnALink: without a budget too, bulk waits while something more
// urgent is written on the same link, for a while.
func TestBulkYieldsOnALink(t *testing.T) {
	paced(t, 0, func(t *testing.T, a *testNode, m *meter, _ func(*Stream, error)) {
		s, err := a.OpenBi(t.Context(), actor(2), kindTestBi)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		timed := func() time.Duration {
			begin := time.Now()
			if err := s.Send(1, make([]byte, 1000)); err != nil {
				t.Fatal(err)
			}
			return time.Since(begin)
		}
		if d := timed(); d != 0 {
			t.Errorf("it waited %v for nothing", d)
		}
		s.link.yield.begin()
		time.AfterFunc(5*time.Millisecond, s.link.yield.end)
		if d := timed(); d != 5*time.Millisecond {
			t.Errorf("it waited %v, until the other was done it were 5ms", d)
		}
		s.link.yield.begin()
		defer s.link.yield.end()
		if d := timed(); d != yieldMost {
			t.Errorf("it waited %v, the bound is %v", d, yieldMost)
		}
	})
}

// BenchmarkBulk: one stream over loopback, frames of 256 KiB.
func BenchmarkBulk(b *testing.B) {
	frame := bytes.Repeat([]byte{7}, 256<<10)
	t := &testing.T{}
	done := make(chan struct{})
	x := startNode(t, listenLoopback(b), 1)
	y := startNode(t, listenLoopback(b), 2, func(c *Config) {
		c.Handler.(*testNode).serve = func(_ context.Context, _ changeset.ActorID, s *Stream) {
			io.Copy(io.Discard, s.NetConn())
			close(done)
		}
	})
	defer stopAll([]*testNode{x, y})
	if _, err := x.Dial(b.Context(), y.LocalAddr()); err != nil {
		b.Fatal(err)
	}
	s, err := x.OpenBi(b.Context(), actor(2), kindTestBi)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(frame)))
	for b.Loop() {
		if err := s.Send(1, frame); err != nil {
			b.Fatal(err)
		}
	}
	s.CloseSend()
	<-done
}
