package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset"
)

// pair links two nodes. Channels that it uses must be made in f: only those
// of the bubble let its time go on.
func pair(t *testing.T, loss float64, f func(t *testing.T, a, b *testNode)) {
	t.Helper()
	bubble(t, 10*time.Millisecond, loss, func(t *testing.T, n *vnet) {
		a, b := n.start(t, 1), n.start(t, 2)
		defer stopAll([]*testNode{a, b})
		a.dial(b)
		time.Sleep(time.Second)
		f(t, a, b)
	})
}

func TestLargestFrameCrossesALossyLink(t *testing.T) {
	pair(t, 0.01, func(t *testing.T, a, b *testNode) {
		want := bytes.Repeat([]byte("0123456789abcdef"), MaxFrame/16)
		got := make(chan bool, 1)
		b.serve = func(_ context.Context, _ changeset.ActorID, s *Stream) {
			_, p, err := s.Receive()
			got <- err == nil && bytes.Equal(p, want)
		}
		s, err := a.OpenUni(t.Context(), actor(2), kindTest)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Send(1, want); err != nil {
			t.Fatal(err)
		}
		s.CloseSend()
		if !<-got {
			t.Error("the frame arrived changed")
		}
		if err := s.Send(1, nil); !errors.Is(err, ErrClosed) {
			t.Errorf("send after the end: %v", err)
		}
		if _, _, err := s.Receive(); !errors.Is(err, ErrOneWay) {
			t.Errorf("receive on a uni stream: %v", err)
		}
	})
}

func TestSendRefusesWhatCannotBeFramed(t *testing.T) {
	pair(t, 0, func(t *testing.T, a, b *testNode) {
		s, _ := a.OpenUni(t.Context(), actor(2), kindTest)
		if err := s.Send(1, make([]byte, MaxFrame+1)); !errors.Is(err, ErrTooLarge) {
			t.Errorf("oversized: %v", err)
		}
		if err := s.Send(0, nil); !errors.Is(err, ErrCorrupt) {
			t.Errorf("type 0: %v", err)
		}
		s.Close()
		if _, err := a.OpenUni(t.Context(), actor(2), 0); err == nil {
			t.Error("opened a stream of kind 0")
		}
		time.Sleep(time.Second)
		a.wantEvents("up 2")
	})
}

func TestCancelReachesThePeerAndSparesTheLink(t *testing.T) {
	pair(t, 0, func(t *testing.T, a, b *testNode) {
		seen := make(chan error, 2)
		b.serve = func(_ context.Context, _ changeset.ActorID, s *Stream) {
			_, _, err := s.Receive()
			if err == nil {
				_, _, err = s.Receive()
			}
			seen <- err
			if s.Kind() == kindTestBi {
				seen <- s.Send(1, []byte("x"))
			}
		}
		s, _ := a.OpenBi(t.Context(), actor(2), kindTestBi)
		s.Send(1, nil)
		time.Sleep(time.Second)
		s.Cancel(42)
		<-s.Done()
		for range 2 {
			err := <-seen
			if ce, ok := errors.AsType[*CancelError](err); !ok || ce.Code != 42 || !ce.Remote {
				t.Errorf("the peer saw %v", err)
			}
		}
		time.Sleep(time.Second)
		a.wantEvents("up 2")
		b.wantEvents("up 1")
	})
}

func TestDeadline(t *testing.T) {
	pair(t, 0, func(t *testing.T, a, b *testNode) {
		b.serve = func(ctx context.Context, _ changeset.ActorID, _ *Stream) { <-ctx.Done() }
		s, _ := a.OpenBi(t.Context(), actor(2), kindTestBi)
		s.SetDeadline(time.Now().Add(3 * time.Second))
		start := time.Now()
		if err := s.Send(1, make([]byte, MaxFrame)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("send: %v", err)
		}
		if _, _, err := s.Receive(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("receive: %v", err)
		}
		if d := time.Since(start); d != 3*time.Second {
			t.Errorf("after %v", d)
		}
		// The frame was cut. Ending the stream must not look like a truncated
		// frame, which would cost the link.
		s.Close()
		time.Sleep(time.Second)
		a.wantEvents("up 2")
	})
}

func TestCutFrameIsNotATruncatedOne(t *testing.T) {
	pair(t, 0, func(t *testing.T, a, b *testNode) {
		seen := make(chan error, 1)
		b.serve = func(_ context.Context, _ changeset.ActorID, s *Stream) {
			time.Sleep(10 * time.Second)
			_, _, err := s.Receive()
			seen <- err
		}
		s, _ := a.OpenUni(t.Context(), actor(2), kindTest)
		s.SetDeadline(time.Now().Add(time.Second))
		if err := s.Send(1, make([]byte, MaxFrame)); err == nil {
			t.Fatal("sent")
		}
		if err := s.CloseSend(); err != nil {
			t.Error(err)
		}
		if err := <-seen; errors.Is(err, ErrTruncated) {
			t.Errorf("the peer saw %v", err)
		}
		time.Sleep(time.Second)
		a.wantEvents("up 2")
	})
}

func TestStreamWithoutFramesIsACleanEnd(t *testing.T) {
	pair(t, 0, func(t *testing.T, a, b *testNode) {
		seen := make(chan error, 1)
		b.serve = func(_ context.Context, _ changeset.ActorID, s *Stream) {
			_, _, err := s.Receive()
			seen <- err
		}
		s, _ := a.OpenUni(t.Context(), actor(2), kindTest)
		s.CloseSend()
		if err := <-seen; err != io.EOF {
			t.Errorf("end: %v", err)
		}
	})
}

func TestConcurrentSendIsRefused(t *testing.T) {
	pair(t, 0, func(t *testing.T, a, b *testNode) {
		b.serve = func(ctx context.Context, _ changeset.ActorID, _ *Stream) { <-ctx.Done() }
		s, _ := a.OpenUni(t.Context(), actor(2), kindTest)
		var wg sync.WaitGroup
		wg.Go(func() { s.Send(1, make([]byte, MaxFrame)) })
		time.Sleep(time.Second)
		if err := s.Send(1, nil); !errors.Is(err, ErrConcurrent) {
			t.Errorf("second sender: %v", err)
		}
		s.Close() // unblocks the first
		wg.Wait()
	})
}

func TestNetConnCarriesRawBytes(t *testing.T) {
	pair(t, 0.05, func(t *testing.T, a, b *testNode) {
		b.serve = func(_ context.Context, _ changeset.ActorID, s *Stream) {
			c := s.NetConn()
			io.Copy(c, c)
			c.Close()
		}
		s, _ := a.OpenBi(t.Context(), actor(2), kindTestBi)
		c := s.NetConn()
		if c.RemoteAddr().String() != vaddr(2).String() || c.LocalAddr().(*net.UDPAddr).Port != 8787 {
			t.Errorf("addresses %v, %v", c.LocalAddr(), c.RemoteAddr())
		}
		text := strings.Repeat("raw bytes ", 10_000)
		var wg sync.WaitGroup
		wg.Go(func() {
			if n, err := c.Write([]byte(text)); n != len(text) || err != nil {
				t.Errorf("wrote %d of %d, %v", n, len(text), err)
			}
			s.CloseSend()
		})
		got, err := io.ReadAll(c)
		wg.Wait()
		if err != nil || string(got) != text {
			t.Errorf("%d of %d bytes came back, %v", len(got), len(text), err)
		}
		c.Close()
		<-s.Done()
		c2, _ := a.OpenBi(t.Context(), actor(2), kindTestBi)
		c2.NetConn().SetReadDeadline(time.Now().Add(time.Second))
		if _, err := c2.NetConn().Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v", err)
		}
		c2.Close()
	})
}

// Incoming streams run on a bounded number of goroutines; the rest wait and
// none is lost.
func TestIncomingStreamsAreBounded(t *testing.T) {
	const streams = 3 * uniWorkers
	pair(t, 0, func(t *testing.T, a, b *testNode) {
		var running, most, served atomic.Int64
		free := make(chan struct{})
		b.serve = func(ctx context.Context, _ changeset.ActorID, s *Stream) {
			n := running.Add(1)
			defer running.Add(-1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			select {
			case <-free:
			case <-ctx.Done():
			}
			if _, _, err := s.Receive(); err == nil {
				served.Add(1)
			}
		}
		for range streams {
			if err := a.say(actor(2), "x"); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		if most.Load() != uniWorkers {
			t.Errorf("%d at once, want %d", most.Load(), uniWorkers)
		}
		close(free)
		time.Sleep(time.Second)
		if served.Load() != streams {
			t.Errorf("served %d of %d", served.Load(), streams)
		}
	})
}

func TestOpenWaitsForThePeersLimit(t *testing.T) {
	pair(t, 0, func(t *testing.T, a, b *testNode) {
		b.serve = func(ctx context.Context, _ changeset.ActorID, _ *Stream) { <-ctx.Done() }
		for i := range maxIncomingUni {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, err := a.OpenUni(ctx, actor(2), kindTest)
			cancel()
			if err != nil {
				t.Fatalf("stream %d: %v", i, err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.OpenUni(ctx, actor(2), kindTest); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("one stream more: %v", err)
		}
	})
}

func TestDatagrams(t *testing.T) {
	pair(t, 0, func(t *testing.T, a, b *testNode) {
		if err := a.SendDatagram(actor(9), nil); !errors.Is(err, ErrNoLink) {
			t.Errorf("no link: %v", err)
		}
		if err := a.SendDatagram(actor(2), make([]byte, MaxDatagram+1)); !errors.Is(err, ErrDatagramTooLarge) {
			t.Errorf("too large: %v", err)
		}
		largest := strings.Repeat("x", MaxDatagram)
		for _, text := range []string{"", "small", largest} {
			if err := a.SendDatagram(actor(2), []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		b.mu.Lock()
		defer b.mu.Unlock()
		slices.Sort(b.datagrams) // the network may reorder them
		if want := []string{"", "small", largest}; !slices.Equal(b.datagrams, want) {
			t.Errorf("%d datagrams arrived", len(b.datagrams))
		}
	})
}

func TestDatagramQueueDropsAndCounts(t *testing.T) {
	pair(t, 0, func(t *testing.T, a, b *testNode) {
		l := a.links.best(actor(2))
		for range 10_000 {
			a.SendDatagram(actor(2), make([]byte, MaxDatagram))
		}
		q := a.Queues()[0]
		if q.Capacity != datagramQueue || q.Depth > q.Capacity || q.Dropped == 0 {
			t.Errorf("queue %+v", q)
		}
		if err := errors.Join(fill(a, l)); !errors.Is(err, ErrQueueFull) {
			t.Errorf("full queue: %v", err)
		}
		time.Sleep(5 * time.Second)
		s := a.Stats()
		if got := b.Stats().DatagramsIn; got == 0 || s.DatagramsDropped == 0 {
			t.Errorf("%d arrived, %d dropped", got, s.DatagramsDropped)
		}
	})
}

// fill sends until the queue is full.
func fill(n *testNode, l *link) error {
	for {
		if err := n.SendDatagram(l.peer.actor, nil); err != nil {
			return err
		}
	}
}

func TestStatsCountBytes(t *testing.T) {
	pair(t, 0, func(t *testing.T, a, b *testNode) {
		a.say(actor(2), strings.Repeat("x", 100_000))
		time.Sleep(time.Second)
		s := a.Stats()
		if len(s.Peers) != 1 || s.Peers[0].BytesOut < 100_000 || s.Peers[0].Links != 1 || s.BytesOut != s.Peers[0].BytesOut {
			t.Errorf("stats %+v", s)
		}
		a.links.best(actor(2)).close(CodeLeaving, "")
		time.Sleep(time.Second)
		if s := a.Stats(); len(s.Peers) != 0 || s.BytesOut < 100_000 {
			t.Errorf("stats after the end %+v", s)
		}
	})
}

// TestStatsMeasureLoss: the share of packets that are lost, and that it fades.
func TestStatsMeasureLoss(t *testing.T) {
	bubble(t, 10*time.Millisecond, 0, func(t *testing.T, n *vnet) {
		a, b := n.start(t, 1), n.start(t, 2)
		defer stopAll([]*testNode{a, b})
		a.dial(b)
		time.Sleep(5 * time.Minute) // QUIC looks for the largest packet that passes, and loses some
		if loss := a.Stats().Peers[0].Loss; loss > 0.05 {
			t.Errorf("loss %.3f where none is", loss)
		}
		n.setLoss(0.2)
		for range 60 {
			for range 10 {
				a.SendDatagram(actor(2), make([]byte, 1000))
				time.Sleep(time.Millisecond)
			}
			time.Sleep(time.Second)
		}
		if loss := a.Stats().Peers[0].Loss; loss < 0.1 || loss > 0.3 {
			t.Errorf("loss %.3f, the network loses 0.2", loss)
		}
		n.setLoss(0)
		time.Sleep(10 * lossWindow)
		if loss := a.Stats().Peers[0].Loss; loss > 0.01 {
			t.Errorf("loss %.3f, the network has lost nothing for ten minutes", loss)
		}
	})
}
