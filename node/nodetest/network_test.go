package nodetest

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

func testAddr(i byte) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, i}), 1)
}

// pair is two sockets on a network.
func pair(t *testing.T, l Link) (n *Network, a, b *PacketConn) {
	t.Helper()
	n = NewNetwork(1, l)
	var err error
	if a, err = n.Listen(testAddr(1)); err != nil {
		t.Fatal(err)
	}
	if b, err = n.Listen(testAddr(2)); err != nil {
		t.Fatal(err)
	}
	return n, a, b
}

// received counts what c receives within d.
func received(t *testing.T, c *PacketConn, d time.Duration) (n int) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(d)); err != nil {
		t.Fatal(err)
	}
	for {
		_, _, err := c.ReadFrom(make([]byte, MTU))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
}

func send(t *testing.T, from, to *PacketConn, n int) {
	t.Helper()
	for range n {
		if _, err := from.WriteTo([]byte("x"), to.LocalAddr()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPacketsTakeTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t, Link{Latency: 50 * time.Millisecond, Jitter: 10 * time.Millisecond})
		began := time.Now()
		send(t, a, b, 1)
		_, from, err := b.ReadFrom(make([]byte, 1))
		if d := time.Since(began); err != nil || from.String() != a.LocalAddr().String() || d < 50*time.Millisecond || d >= 60*time.Millisecond {
			t.Fatalf("%v: from %v after %v", err, from, d)
		}
	})
}

func TestLossAndDuplicatesAreAsManyAsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, b := pair(t, Link{Loss: 0.2, Duplicate: 0.1})
		send(t, a, b, 2000)
		if got := received(t, b, time.Second); got < 1650 || got > 1870 {
			t.Errorf("%d of 2000 arrived, about 1760 should", got)
		}
		if c := n.Counts(); c.Sent != 2000 || c.Lost < 340 || c.Lost > 460 || c.Duplicated < 120 || c.Duplicated > 200 || c.Delivered != 2000-c.Lost+c.Duplicated {
			t.Errorf("counts %+v", c)
		}
		n.SetLink(Link{})
		if _, err := a.WriteTo(make([]byte, MTU+1), b.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		send(t, a, b, 1)
		if got := received(t, b, time.Second); got != 1 {
			t.Errorf("%d packets arrived of one too large and one that fits", got)
		}
	})
}

func TestCutIsOneWayAndStopsWhatIsOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, b := pair(t, Link{Latency: 50 * time.Millisecond})
		send(t, a, b, 1)
		n.Cut(testAddr(1), testAddr(2))
		send(t, a, b, 1)
		send(t, b, a, 1)
		if to, back := received(t, b, time.Second), received(t, a, time.Second); to != 0 || back != 1 {
			t.Errorf("%d arrived through the cut, %d in the other direction", to, back)
		}
		n.Heal()
		send(t, a, b, 1)
		if got := received(t, b, time.Second); got != 1 {
			t.Errorf("%d arrived after the heal", got)
		}
	})
}

func TestTranslatorLetsAnswersInOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, b := pair(t, Link{})
		n.NAT(testAddr(1))
		send(t, b, a, 1)
		if got := received(t, a, time.Second); got != 0 {
			t.Errorf("%d arrived unasked", got)
		}
		send(t, a, b, 1)
		send(t, b, a, 1)
		if to, back := received(t, b, time.Second), received(t, a, time.Second); to != 1 || back != 1 {
			t.Errorf("%d went out, %d came back", to, back)
		}
		time.Sleep(natKept)
		send(t, b, a, 1)
		if got := received(t, a, time.Second); got != 0 {
			t.Errorf("%d arrived although nothing went out for long", got)
		}
		n.NAT(testAddr(2))
		send(t, a, b, 1)
		send(t, b, a, 1)
		if to, back := received(t, b, time.Second), received(t, a, time.Second); to != 0 || back != 0 {
			t.Errorf("between two translators %d and %d arrived", to, back)
		}
	})
}

func TestKilledSocketIsSilentAndClosedOneIsFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, b := pair(t, Link{})
		b.Kill()
		send(t, a, b, 1)
		send(t, b, a, 1)
		if to, back := received(t, b, time.Second), received(t, a, time.Second); to != 0 || back != 0 {
			t.Errorf("%d arrived at the dead, %d from it", to, back)
		}
		if _, err := n.Listen(testAddr(2)); err == nil {
			t.Error("an address was bound twice")
		}
		if err := errors.Join(b.Close(), b.Close()); err != nil {
			t.Error(err)
		}
		if _, err := b.WriteTo(nil, a.LocalAddr()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write after close: %v", err)
		}
		if _, err := n.Listen(testAddr(2)); err != nil {
			t.Error(err)
		}
	})
}

func TestCloseAndDeadlineWakeAReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, _ := pair(t, Link{})
		read := func() <-chan error {
			ended := make(chan error, 1)
			go func() {
				_, _, err := a.ReadFrom(make([]byte, 1))
				ended <- err
			}()
			synctest.Wait()
			return ended
		}
		ended := read()
		if err := a.SetReadDeadline(time.Now()); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("deadline: %v", err)
		}
		if err := a.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		ended = read()
		a.Close()
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("close: %v", err)
		}
	})
}

func TestListenerConnectsInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewListener(testAddr(1))
		go func() {
			c, err := l.Accept()
			if err == nil {
				_, err = c.Write([]byte("hi"))
				c.Close()
			}
			if err != nil {
				t.Error(err)
			}
		}()
		c, err := l.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 2)
		if n, err := c.Read(b); string(b[:n]) != "hi" {
			t.Errorf("%q, %v", b[:n], err)
		}
		c.Close()
		l.Close()
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept after close: %v", err)
		}
		if _, err := l.Dial(t.Context()); err == nil {
			t.Error("a closed listener was dialled")
		}
	})
}
