package transport

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patinadb/patina/changeset"
)

func TestIdleLinkStaysUp(t *testing.T) {
	bubble(t, 100*time.Millisecond, 0.10, func(t *testing.T, n *vnet) {
		a, b := n.start(t, 1), n.start(t, 2)
		defer a.stop()
		defer b.stop()
		a.dial(b)
		time.Sleep(20 * time.Minute)
		a.wantEvents("up 2")
		b.wantEvents("up 1")
		at, ok := a.LastReceived(actor(2))
		if age := time.Since(at); !ok || age > maxIdleTimeout {
			t.Errorf("last packet %v ago", age)
		}
		if rtt := a.Peers()[0].RTT; rtt < 200*time.Millisecond || rtt > 300*time.Millisecond {
			t.Errorf("RTT %v, the path has 200ms", rtt)
		}
	})
}

func TestPartitionIsReportedOnceAndHeals(t *testing.T) {
	bubble(t, 10*time.Millisecond, 0, func(t *testing.T, n *vnet) {
		a, b := n.start(t, 1), n.start(t, 2)
		defer a.stop()
		defer b.stop()
		a.dial(b)
		time.Sleep(time.Second)
		n.setLoss(1)
		time.Sleep(2 * time.Second)
		before := time.Now()
		a.say(actor(2), "lost")
		time.Sleep(15 * time.Second)
		at, ok := a.LastReceived(actor(2))
		if age := time.Since(at); !ok || age < 15*time.Second || age > 20*time.Second {
			t.Errorf("the link is up (%v), its last packet came %v ago", ok, age)
		}
		time.Sleep(45 * time.Second)
		a.wantEvents("up 2", "down 2")
		b.wantEvents("up 1", "down 1")
		a.wantEnded(CodeIdle, false, 1)
		if _, ok := a.LastReceived(actor(2)); ok {
			t.Error("a lost peer has a last packet")
		}
		if err := a.say(actor(2), "x"); !errors.Is(err, ErrNoLink) {
			t.Errorf("send without a link: %v", err)
		}
		if _, err := a.Dial(t.Context(), b.LocalAddr()); !errors.Is(err, CodeUnreachable) {
			t.Errorf("dial into the partition: %v", err)
		}
		if d := time.Since(before); d > 2*time.Minute {
			t.Errorf("the failed dial took %v", d)
		}
		n.setLoss(0)
		a.dial(b)
		time.Sleep(time.Second)
		a.wantEvents("up 2", "down 2", "up 2")
		b.wantEvents("up 1", "down 1", "up 1")
	})
}

// slowUp is a handler that takes its time to learn of a peer.
type slowUp struct {
	*testNode
	delay time.Duration
}

func (s slowUp) PeerUp(p Peer) {
	time.Sleep(s.delay)
	s.testNode.PeerUp(p)
}

func (s slowUp) Stream(ctx context.Context, from changeset.ActorID, st *Stream) {
	s.event("stream", from)
	s.testNode.Stream(ctx, from, st)
}

func TestPeerUpComesBeforeWhatThePeerSends(t *testing.T) {
	bubble(t, 10*time.Millisecond, 0, func(t *testing.T, n *vnet) {
		a := n.start(t, 1)
		b := n.start(t, 2, func(c *Config) { c.Handler = slowUp{c.Handler.(*testNode), 5 * time.Second} })
		defer stopAll([]*testNode{a, b})
		a.dial(b)
		if err := a.say(actor(2), "early"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		b.wantEvents("up 1", "stream 1")
		if got := b.received(); !slices.Equal(got, []string{"early"}) {
			t.Errorf("received %q", got)
		}
	})
}

func TestLinkThatEndsBeforeItIsAnnouncedIsNotSpokenOf(t *testing.T) {
	bubble(t, 10*time.Millisecond, 0, func(t *testing.T, n *vnet) {
		first, second := n.start(t, 1), n.start(t, 2)
		b := n.start(t, 3, func(c *Config) { c.Handler = slowUp{c.Handler.(*testNode), 5 * time.Second} })
		defer stopAll([]*testNode{first, b})
		first.dial(b)
		time.Sleep(time.Second)
		second.dial(b)
		time.Sleep(time.Second)
		second.stop()
		time.Sleep(time.Minute)
		b.wantEvents("up 1")
	})
}

func TestLeavingIsSaid(t *testing.T) {
	bubble(t, 10*time.Millisecond, 0, func(t *testing.T, n *vnet) {
		a, b := n.start(t, 1), n.start(t, 2)
		defer a.stop()
		a.dial(b)
		time.Sleep(time.Second)
		b.stop()
		b.wantEvents("up 1", "down 1")
		time.Sleep(100 * time.Millisecond)
		a.wantEvents("up 2", "down 2")
		a.wantEnded(CodeLeaving, true, 1)
		if _, err := b.conn.WriteTo(nil, a.conn.LocalAddr()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Run left its socket open: %v", err)
		}
		if _, err := b.Dial(t.Context(), a.LocalAddr()); !errors.Is(err, ErrNotRunning) {
			t.Errorf("dial after the stop: %v", err)
		}
	})
}

// restart kills node i and starts it again under the same address.
func restart(t *testing.T, n *vnet, old *testNode, i int, edit ...func(*Config)) *testNode {
	t.Helper()
	old.kill()
	time.Sleep(500 * time.Millisecond)
	return n.start(t, i, append([]func(*Config){func(c *Config) { c.Epoch = 2 }}, edit...)...)
}

// The reset key is kept over restarts, so the first packet on the old link ends
// it.
func TestRestartKillsTheOldLinkByReset(t *testing.T) {
	bubble(t, 50*time.Millisecond, 0, func(t *testing.T, n *vnet) {
		a, b := n.start(t, 1), n.start(t, 2)
		defer a.stop()
		a.dial(b)
		time.Sleep(time.Second)
		b = restart(t, n, b, 2)
		defer b.stop()
		a.wantEvents("up 2")
		if err := a.SendDatagram(actor(2), []byte("ping")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond)
		a.wantEvents("up 2", "down 2")
		a.wantEnded(CodeReset, false, 1)
	})
}

func TestRestartedPeerIsDownThenUp(t *testing.T) {
	for _, c := range []struct {
		desc  string
		edit  func(*Config)
		ended Code
		loss  float64
		limit time.Duration // until the new process is linked
	}{
		{"with its reset key", func(*Config) {}, CodeReset, 0, 600 * time.Millisecond},
		{"with its reset key, loss", func(*Config) {}, CodeReset, 0.1, 5 * time.Second},
		{"without it", func(c *Config) { c.ResetKey = [32]byte{99} }, CodeGhost, 0, 3 * time.Second},
		{"without it, loss", func(c *Config) { c.ResetKey = [32]byte{99} }, CodeGhost, 0.1, 7 * time.Second},
		{"with a lower epoch", func(c *Config) { c.ResetKey, c.Epoch = [32]byte{99}, 0 }, CodeGhost, 0, 3 * time.Second},
	} {
		t.Run(c.desc, func(t *testing.T) {
			bubble(t, 50*time.Millisecond, c.loss, func(t *testing.T, n *vnet) {
				a, b := n.start(t, 1), n.start(t, 2)
				defer a.stop()
				a.dial(b)
				time.Sleep(time.Second)
				b = restart(t, n, b, 2, c.edit)
				defer b.stop()
				start := time.Now()
				b.dial(a)
				if d := time.Since(start); d > c.limit {
					t.Errorf("the new process waited %v", d)
				}
				time.Sleep(time.Second)
				a.wantEvents("up 2", "down 2", "up 2")
				b.wantEvents("up 1")
				a.wantEnded(c.ended, false, 1)
				if p := a.Peers(); len(p) != 1 || p[0].Epoch != b.cfg.Epoch {
					t.Errorf("peers %+v", p)
				}
				if err := a.say(actor(2), "hello again"); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				if got := b.received(); !slices.Equal(got, []string{"hello again"}) {
					t.Errorf("received %q", got)
				}
				select {
				case <-b.Duplicate():
					t.Error("the restarted node took its ghost for a duplicate")
				default:
				}
			})
		})
	}
}

func TestSecondProcessUnderOneActorIsRefused(t *testing.T) {
	bubble(t, 50*time.Millisecond, 0, func(t *testing.T, n *vnet) {
		a, b := n.start(t, 1), n.start(t, 2)
		second := n.start(t, 3, func(c *Config) { c.Actor, c.Epoch = actor(2), 9 })
		defer stopAll([]*testNode{a, b, second})
		var packets atomic.Int64
		n.setCut(func(from, to netip.AddrPort) bool { // the first process answers over a bad path
			return from != vaddr(3) && to != vaddr(3) && packets.Add(1)%4 == 0
		})
		a.dial(b)
		time.Sleep(time.Minute)
		// Whoever dials, the newcomer is refused: the first process answers.
		if _, err := second.Dial(t.Context(), a.LocalAddr()); !errors.Is(err, CodeDuplicateActor) {
			t.Errorf("second process: %v", err)
		}
		select {
		case <-second.Duplicate():
		case <-time.After(time.Second):
			t.Error("the second process was not told")
		}
		if _, err := a.Dial(t.Context(), second.LocalAddr()); !errors.Is(err, CodeDuplicateActor) {
			t.Errorf("dial of the second process: %v", err)
		}
		time.Sleep(time.Second)
		a.wantEvents("up 2")
		second.wantEvents()
		select {
		case <-b.Duplicate():
			t.Error("the first process was told to go")
		default:
		}
	})
}

func TestOwnActorIDElsewhere(t *testing.T) {
	bubble(t, 10*time.Millisecond, 0, func(t *testing.T, n *vnet) {
		a := n.start(t, 1)
		twin := n.start(t, 2, func(c *Config) { c.Actor = actor(1) })
		defer stopAll([]*testNode{a, twin})
		if _, err := twin.Dial(t.Context(), a.LocalAddr()); !errors.Is(err, CodeDuplicateActor) {
			t.Errorf("dial: %v", err)
		}
		for _, x := range []*testNode{a, twin} {
			select {
			case <-x.Duplicate():
			case <-time.After(time.Second):
				t.Errorf("%s was not told", x.cfg.Name)
			}
			x.wantEvents()
		}
	})
}

// A refusal is one packet. It is lost here, after the hello was acknowledged,
// and asked for again.
func TestLostRefusalIsRepeated(t *testing.T) {
	bubble(t, 50*time.Millisecond, 0, func(t *testing.T, n *vnet) {
		a, b := n.start(t, 1), n.start(t, 2)
		second := n.start(t, 3, func(c *Config) { c.Actor = actor(2) })
		defer stopAll([]*testNode{a, b, second})
		a.dial(b)
		time.Sleep(time.Second)
		start := time.Now()
		var lost atomic.Int64
		n.setCut(func(from, to netip.AddrPort) bool {
			d := time.Since(start)
			cut := from == vaddr(1) && to == vaddr(3) && d > 420*time.Millisecond && d < 460*time.Millisecond
			if cut {
				lost.Add(1)
			}
			return cut
		})
		_, err := second.Dial(t.Context(), a.LocalAddr())
		if d := time.Since(start); !errors.Is(err, CodeDuplicateActor) || d > 2*time.Second {
			t.Errorf("after %v: %v", d, err)
		}
		if lost.Load() == 0 {
			t.Error("nothing was lost")
		}
	})
}

// The notifier is busy while a peer restarts: it must not miss that.
func TestRestartIsReportedByABusyNotifier(t *testing.T) {
	bubble(t, 10*time.Millisecond, 0, func(t *testing.T, n *vnet) {
		a, other := n.start(t, 1), n.start(t, 2)
		b := n.start(t, 3, func(c *Config) { c.Handler = slowUp{c.Handler.(*testNode), 5 * time.Second} })
		a.dial(b)
		time.Sleep(10 * time.Second)
		other.dial(b)
		time.Sleep(time.Second)
		a = restart(t, n, a, 1)
		a.dial(b)
		time.Sleep(time.Minute)
		b.wantEvents("up 1", "up 2", "down 1", "up 1")
		stopAll([]*testNode{a, other, b})
	})
}

func TestDiallingOneselfIsRefused(t *testing.T) {
	bubble(t, 10*time.Millisecond, 0, func(t *testing.T, n *vnet) {
		public := netip.MustParseAddrPort("192.0.2.7:9000")
		a := n.start(t, 1, func(c *Config) { c.Advertise = public })
		defer a.stop()
		for _, addr := range []netip.AddrPort{a.LocalAddr(), public} {
			if _, err := a.Dial(t.Context(), addr); !errors.Is(err, CodeSelf) {
				t.Errorf("%s: %v", addr, err)
			}
		}
		n.mu.Lock() // a third address that leads here, as behind a NAT
		n.nodes[vaddr(77)] = n.nodes[vaddr(1)]
		n.mu.Unlock()
		if _, err := a.Dial(t.Context(), vaddr(77)); !errors.Is(err, CodeSelf) {
			t.Errorf("by another address: %v", err)
		}
		select {
		case <-a.Duplicate():
			t.Error("the node took itself for a duplicate")
		default:
		}
		a.wantEvents()
	})
}

// A node behind a firewall that lets in only answers is reached over the link
// that it dialled.
func TestNodeThatOnlyDialsOutIsReachable(t *testing.T) {
	bubble(t, 20*time.Millisecond, 0.05, func(t *testing.T, n *vnet) {
		inside, a := n.start(t, 1), n.start(t, 2)
		defer inside.stop()
		defer a.stop()
		var mu sync.Mutex
		out := map[netip.AddrPort]time.Time{}
		n.setCut(func(from, to netip.AddrPort) bool {
			mu.Lock()
			defer mu.Unlock()
			if from == vaddr(1) {
				out[to] = time.Now()
			}
			return to == vaddr(1) && time.Since(out[from]) > 20*time.Second
		})
		if _, err := a.Dial(t.Context(), inside.LocalAddr()); !errors.Is(err, CodeUnreachable) {
			t.Fatalf("the firewall is open: %v", err)
		}
		inside.dial(a)
		for range 5 {
			time.Sleep(3 * time.Minute)
			if err := a.say(actor(1), "in"); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(5 * time.Second)
		if got := inside.received(); len(got) != 5 {
			t.Errorf("received %q", got)
		}
	})
}

func TestClocksMayDifferByHours(t *testing.T) {
	bubble(t, 10*time.Millisecond, 0, func(t *testing.T, n *vnet) {
		skew := func(d time.Duration) func(*Config) {
			return func(c *Config) { c.Now = func() time.Time { return time.Now().Add(d) } }
		}
		a, b := n.start(t, 1, skew(-30*time.Hour)), n.start(t, 2, skew(30*time.Hour))
		defer stopAll([]*testNode{a, b})
		a.dial(b)
	})
}

func TestSocketFailureEndsRun(t *testing.T) {
	bubble(t, 10*time.Millisecond, 0, func(t *testing.T, n *vnet) {
		a, b := n.start(t, 1), n.start(t, 2)
		defer a.stop()
		a.dial(b)
		time.Sleep(time.Second)
		b.conn.Close()
		if err := <-b.ended; err == nil {
			t.Error("Run without a socket ended without an error")
		}
		b.wantEvents("up 1", "down 1")
		b.cancel()
	})
}

func TestStopUnblocksEverything(t *testing.T) {
	bubble(t, 10*time.Millisecond, 0, func(t *testing.T, n *vnet) {
		a, b := n.start(t, 1), n.start(t, 2)
		defer a.stop()
		b.serve = func(ctx context.Context, _ changeset.ActorID, _ *Stream) { <-ctx.Done() }
		a.dial(b)
		var wg sync.WaitGroup
		wg.Go(func() { // blocks on flow control: nobody reads
			s, err := a.OpenBi(t.Context(), actor(2), kindTestBi)
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Cancel(1)
			if err := s.Send(1, make([]byte, MaxFrame)); !errors.Is(err, CodeLeaving) {
				t.Errorf("blocked Send: %v", err)
			}
		})
		wg.Go(func() {
			if _, err := b.Dial(t.Context(), vaddr(99)); err == nil {
				t.Error("dialled nobody")
			}
		})
		time.Sleep(time.Second)
		start := time.Now()
		b.stop()
		wg.Wait()
		synctest.Wait()
		if d := time.Since(start); d > time.Second {
			t.Errorf("the stop took %v", d)
		}
	})
}

func TestNewStartsNothing(t *testing.T) {
	n := newVnet(1, 0, 0)
	conn := n.listen(vaddr(1))
	defer conn.Close()
	tr, err := New(Config{Conn: conn, Cluster: "c", Identity: Identity{Secret: testSecret}, Actor: actor(1), Handler: &testNode{}})
	if err != nil || tr.LocalAddr() != vaddr(1) {
		t.Fatalf("%v, %v", tr.LocalAddr(), err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := tr.Dial(ctx, vaddr(2)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("dial before Run: %v", err)
	}
}
