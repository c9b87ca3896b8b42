package transport

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset"
)

func TestBetter(t *testing.T) {
	x, y := actor(1), actor(2)
	for _, c := range []struct {
		desc       string
		keep, drop order
	}{
		{"higher epoch", order{2, y, 1}, order{1, x, 9}},
		{"dial of the smaller id", order{1, x, 1}, order{1, y, 9}},
		{"newest dial", order{1, y, 5}, order{1, y, 4}},
	} {
		for _, ids := range [][2]changeset.ActorID{{x, y}, {y, x}} { // both ends
			if !better(c.keep, c.drop, ids[0], ids[1]) || better(c.drop, c.keep, ids[0], ids[1]) {
				t.Errorf("%s: wrong for %v", c.desc, ids)
			}
		}
	}
}

// A node with two addresses is dialled at both: the links differ in the dial
// number only, and both ends must keep the same.
func TestTwoDialsOfOneNodeKeepTheNewest(t *testing.T) {
	bubble(t, 30*time.Millisecond, 0.10, func(t *testing.T, n *vnet) {
		a, b := n.start(t, 1), n.start(t, 2)
		defer stopAll([]*testNode{a, b})
		n.mu.Lock()
		n.nodes[vaddr(77)] = n.nodes[vaddr(2)]
		n.mu.Unlock()
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { a.Dial(t.Context(), vaddr(77)) })
			wg.Go(func() { a.Dial(t.Context(), vaddr(2)) })
		}
		wg.Wait()
		if d, _ := a.work(); d != 2 {
			t.Errorf("%d dials for two addresses", d)
		}
		time.Sleep(drainTime + 2*time.Second)
		agree(t, a, b)
		if l := a.links.best(actor(2)); l.order.dial != 2 {
			t.Errorf("kept dial %d", l.order.dial)
		}
		a.wantEvents("up 2")
		b.wantEvents("up 1")
		a.Dial(t.Context(), vaddr(77))
		a.Dial(t.Context(), vaddr(2))
		if d, _ := a.work(); d != 2 {
			t.Errorf("known addresses were dialled again: %d dials", d)
		}
	})
}

// The moment between the end of a connection and the removal of its link.
func TestDeadLinkIsNeverUsed(t *testing.T) {
	bubble(t, 10*time.Millisecond, 0, func(t *testing.T, n *vnet) {
		a := n.start(t, 1)
		defer a.stop()
		r, now := newRegistry(actor(1)), time.Now()
		var links []*link
		for i := range 3 {
			p := n.dialRaw(t, 9+i, a)
			defer p.stop()
			peer := rawHello(9)
			if i == 2 {
				peer.nonce = [16]byte{99}
			}
			links = append(links, newLink(p.conn, vaddr(9+i), peer, order{epoch: 1, dialer: actor(9), dial: uint64(i)}))
		}
		for _, l := range links[:2] {
			if _, ok := r.add(l, now); !ok {
				t.Fatal("not added")
			}
		}
		if r.best(actor(9)) != links[1] || r.at(vaddr(9)) != links[1] {
			t.Error("the newest link is not in use")
		}
		if _, ok := r.add(links[2], now); ok {
			t.Error("another process was let in beside live links")
		}
		links[1].close(CodeLeaving, "")
		if r.best(actor(9)) != links[0] || r.at(vaddr(10)) != links[0] {
			t.Error("a dead link is in use")
		}
		links[0].close(CodeLeaving, "")
		if r.best(actor(9)) != nil || r.at(vaddr(9)) != nil || len(r.rivals(actor(9), links[2].peer.nonce)) != 0 {
			t.Error("dead links are in use")
		}
		if _, ok := r.add(links[2], now); !ok || r.best(actor(9)) != links[2] {
			t.Error("dead links kept another process out")
		}
		for _, l := range links {
			r.remove(l, now)
			r.remove(l, now)
		}
		if len(r.peers) != 0 || len(r.dirty) != 1 {
			t.Errorf("%d peers left, %d to be told of", len(r.peers), len(r.dirty))
		}
	})
}

// twoLinks links a and b twice; the second, kept one is returned.
func twoLinks(t *testing.T, n *vnet, a *testNode) (loser, winner *link) {
	t.Helper()
	n.mu.Lock()
	n.nodes[vaddr(77)] = n.nodes[vaddr(2)]
	n.mu.Unlock()
	a.Dial(t.Context(), vaddr(2))
	loser = a.links.best(actor(2))
	a.Dial(t.Context(), vaddr(77))
	winner = a.links.best(actor(2))
	if loser == winner || winner == nil {
		t.Fatal("no second link")
	}
	return loser, winner
}

func TestDrainWaitsForOpenStreams(t *testing.T) {
	bubble(t, 10*time.Millisecond, 0, func(t *testing.T, n *vnet) {
		a, b := n.start(t, 1), n.start(t, 2)
		defer stopAll([]*testNode{a, b})
		a.dial(b)
		s, err := a.OpenUni(t.Context(), actor(2), kindTest)
		if err != nil {
			t.Fatal(err)
		}
		s.Send(1, []byte("first"))
		loser, _ := twoLinks(t, n, a)
		for _, text := range []string{"5s", "10s", "15s"} {
			time.Sleep(drainTime)
			if err := s.Send(1, []byte(text)); err != nil {
				t.Fatalf("after %s: %v", text, err)
			}
		}
		s.CloseSend()
		time.Sleep(drainTime / 2)
		if !loser.live() {
			t.Error("closed before what was written last could be sent again")
		}
		time.Sleep(drainTime)
		if got := b.received(); !slices.Equal(got, []string{"first", "5s", "10s", "15s"}) {
			t.Errorf("received %q", got)
		}
		if loser.live() {
			t.Error("the drained link lives on")
		}
		a.wantEvents("up 2")
	})
}

func TestDrainIsBounded(t *testing.T) {
	bubble(t, 10*time.Millisecond, 0, func(t *testing.T, n *vnet) {
		a, b := n.start(t, 1), n.start(t, 2)
		defer stopAll([]*testNode{a, b})
		a.dial(b)
		s, _ := a.OpenUni(t.Context(), actor(2), kindTest)
		s.Send(1, []byte("first"))
		twoLinks(t, n, a)
		time.Sleep(drainMax + 2*time.Second)
		if err := s.Send(1, []byte("late")); !errors.Is(err, CodeSuperseded) {
			t.Errorf("send on a link that was drained: %v", err)
		}
		s.Cancel(0)
	})
}

// The survivor dies while the other drains: the other serves again, and nobody
// is told anything.
func TestDrainingLinkTakesOverAgain(t *testing.T) {
	bubble(t, 10*time.Millisecond, 0, func(t *testing.T, n *vnet) {
		a, b := n.start(t, 1), n.start(t, 2)
		defer stopAll([]*testNode{a, b})
		a.dial(b)
		loser, winner := twoLinks(t, n, a)
		time.Sleep(time.Second)
		winner.close(CodeBadDatagram, "test")
		if got := a.links.best(actor(2)); got != loser {
			t.Error("a dead link is still in use")
		}
		time.Sleep(time.Minute)
		if err := a.say(actor(2), "x"); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if got := b.received(); !slices.Equal(got, []string{"x"}) {
			t.Errorf("received %q", got)
		}
		a.wantEvents("up 2")
		b.wantEvents("up 1")
	})
}

func TestConcurrentDialsShareOneAttempt(t *testing.T) {
	bubble(t, 100*time.Millisecond, 0, func(t *testing.T, n *vnet) {
		a, b := n.start(t, 1), n.start(t, 2)
		defer stopAll([]*testNode{a, b})
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if p, err := a.Dial(t.Context(), b.LocalAddr()); err != nil || p.Actor != actor(2) {
					t.Errorf("%+v, %v", p, err)
				}
			})
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := a.Dial(ctx, b.LocalAddr()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("impatient caller: %v", err)
		}
		wg.Wait()
		if d, _ := a.work(); d != 1 {
			t.Errorf("%d dials", d)
		}
		time.Sleep(time.Second)
		_, err := b.Dial(t.Context(), a.LocalAddr())
		if d, _ := b.work(); err != nil || d != 0 {
			t.Errorf("the incoming link was not reused: %d dials, %v", d, err)
		}
	})
}
