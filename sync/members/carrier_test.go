package members

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/patinadb/patina/changeset"
)

// slowLinks has no link until Connect ends, which release lets it.
type slowLinks struct {
	release chan struct{}
	linked  chan changeset.ActorID // what was connected, of capacity 1000
	actor   changeset.ActorID
	sent    chan []byte
}

func newSlowLinks() *slowLinks {
	return &slowLinks{make(chan struct{}), make(chan changeset.ActorID, 1000), testActor(1), make(chan []byte, 1000)}
}

func (s *slowLinks) SendDatagram(_ changeset.ActorID, b []byte) error {
	if len(s.linked) == 0 {
		return ErrNoLink
	}
	s.sent <- b
	return nil
}

func (s *slowLinks) Answers(changeset.ActorID, time.Duration) bool { return false }

func (s *slowLinks) OpenStream(context.Context, changeset.ActorID) (net.Conn, error) {
	return nil, ErrNoLink
}

func (s *slowLinks) Connect(ctx context.Context, _ netip.AddrPort) (changeset.ActorID, error) {
	select {
	case <-s.release:
		s.linked <- s.actor
		return s.actor, nil
	case <-ctx.Done():
		return changeset.ActorID{}, ctx.Err()
	}
}

type nobody struct{}

func (nobody) address(changeset.ActorID) netip.AddrPort      { return netip.AddrPort{} }
func (nobody) admits(_ changeset.ActorID, epoch uint64) bool { return epoch > 0 }

func (nobody) guard(_ changeset.ActorID, conn net.Conn, _ bool) net.Conn { return conn }

func TestPacketsWaitForALinkWithinBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		links := newSlowLinks()
		c := newCarrier(links, testAddr(9), "x", nobody{})
		to := memberlist.Address{Addr: testAddr(1).String(), Name: formatName(testActor(1), 1)}
		start := time.Now()
		for i := range dialPackets + 5 {
			if _, err := c.WriteToAddress([]byte{1, byte(i)}, to); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 2 * dialQueue { // other addresses, until there is room for no more
			addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 1)
			if _, err := c.WriteToAddress([]byte{2}, memberlist.Address{Addr: addr.String()}); err != nil {
				t.Fatal(err)
			}
		}
		if time.Since(start) > 0 {
			t.Error("a packet waited")
		}
		synctest.Wait()
		if got := c.dials.dropped.Load(); got != 5+dialQueue+1 || c.dials.depth() != dialQueue || c.dials.active != dialGoroutines {
			t.Errorf("%d dropped, %d addresses, %d goroutines", got, c.dials.depth(), c.dials.active)
		}
		close(links.release)
		synctest.Wait()
		if len(links.sent) != dialPackets+dialQueue-1 || c.dials.depth() != 0 || c.dials.active != 0 {
			t.Errorf("%d sent, %d addresses, %d goroutines", len(links.sent), c.dials.depth(), c.dials.active)
		}
		next := 0 // of the packets to the first address, between which others come
		for len(links.sent) > 0 {
			if b := <-links.sent; b[0] == 1 {
				if b[1] != byte(next) {
					t.Errorf("packet %d came in the place of %d", b[1], next)
				}
				next++
			}
		}
		if next != dialPackets {
			t.Errorf("%d packets to the first address, want %d", next, dialPackets)
		}
		c.Shutdown()
	})
}

func TestPacketsForAnotherActorAreNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		links := newSlowLinks()
		links.actor = testActor(2)
		c := newCarrier(links, testAddr(9), "x", nobody{})
		c.WriteToAddress([]byte{1}, memberlist.Address{Addr: testAddr(1).String(), Name: formatName(testActor(1), 1)})
		close(links.release)
		synctest.Wait()
		if len(links.sent) != 0 || c.dials.dropped.Load() != 1 {
			t.Errorf("%d sent", len(links.sent))
		}
		if _, err := c.DialAddressTimeout(memberlist.Address{Addr: testAddr(1).String(), Name: formatName(testActor(1), 1)}, time.Second); err == nil {
			t.Error("a stream to an actor that moved away was opened")
		}
		if _, err := c.WriteToAddress([]byte{1}, memberlist.Address{Addr: testAddr(1).String(), Name: formatName(testActor(2), 0)}); err != nil {
			t.Error(err)
		}
		if len(links.sent) != 0 {
			t.Error("a process that was replaced got a packet")
		}
		c.Shutdown()
	})
}

func TestShutdownEndsDialsAndRefusesMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCarrier(newSlowLinks(), testAddr(9), "x", nobody{})
		failed := make(chan error)
		to := memberlist.Address{Addr: testAddr(1).String()}
		go func() {
			_, err := c.DialAddressTimeout(to, time.Hour)
			failed <- err
		}()
		synctest.Wait()
		start := time.Now()
		c.Shutdown()
		if err := <-failed; !errors.Is(err, context.Canceled) || time.Since(start) > 0 {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if _, err := c.WriteToAddress([]byte{1}, to); !errors.Is(err, errClosed) {
			t.Errorf("write: %v", err)
		}
		if _, err := c.DialAddressTimeout(to, time.Second); err == nil {
			t.Error("a stream was opened")
		}
		a, b := net.Pipe()
		c.stream(a)
		if _, err := b.Read(make([]byte, 1)); err == nil {
			t.Error("a stream was taken")
		}
	})
}

func TestFullPacketQueueLosesPackets(t *testing.T) {
	c := newCarrier(newSlowLinks(), testAddr(9), "x", nobody{})
	for range packetQueue + 3 {
		c.datagram(testActor(1), []byte{1})
	}
	if c.packetsDropped.Load() != 3 {
		t.Errorf("%d dropped", c.packetsDropped.Load())
	}
}

func TestStreamsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCarrier(newSlowLinks(), testAddr(9), "x", nobody{})
		var ours []net.Conn
		for range streamsLimit + 1 {
			a, b := net.Pipe()
			ours = append(ours, b)
			go c.stream(a)
			synctest.Wait()
		}
		if c.incoming != streamsLimit || c.streamsDropped.Load() != 1 {
			t.Errorf("%d open, %d refused", c.incoming, c.streamsDropped.Load())
		}
		c.Shutdown()
		synctest.Wait()
		for _, b := range ours {
			b.Close()
		}
		if c.incoming != 0 {
			t.Errorf("%d open after the end", c.incoming)
		}
	})
}

func TestOpenPingsAreAnsweredAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNet(t, 20*time.Millisecond, 0)
		nodes := n.cluster(3)
		nodes[1].kill()
		// Between ping and suspicion a probe waits; whenever Run is told to end, nothing
		// of the library may wait longer: the bubble would not end.
		time.Sleep(2700 * time.Millisecond)
		start := time.Now()
		n.stopAll()
		if time.Since(start) > 100*time.Millisecond {
			t.Errorf("the end took %v", time.Since(start))
		}
	})
}

func TestLibraryErrorsAreWarningsButFew(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(0, 0)
	b := &logBridge{log: slog.New(slog.NewTextHandler(&out, nil)), now: func() time.Time { return now }}
	l := b.logger()
	for range 100 {
		l.Printf("[ERR] memberlist: trouble with %s", "x")
		l.Printf("[WARN] memberlist: something")
	}
	now = now.Add(warnEvery)
	l.Printf("[ERR] memberlist: again")
	if got := strings.Count(out.String(), "level=WARN msg=\"membership trouble\""); got != 2 || strings.Count(out.String(), "\n") != 2 {
		t.Errorf("%d warnings:\n%s", got, out.String())
	}
}

func TestConfigurationIsChecked(t *testing.T) {
	good := Config{Actor: testActor(1), Addr: testAddr(1), Links: newSlowLinks(), Cluster: strings.Repeat("c", 255), Seeds: []string{"host:1", "[::1]:2"}}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for desc, change := range map[string]func(*Config){
		"no actor":       func(c *Config) { c.Actor = changeset.ActorID{} },
		"no links":       func(c *Config) { c.Links = nil },
		"no port":        func(c *Config) { c.Addr = netip.AddrPortFrom(c.Addr.Addr(), 0) },
		"long cluster":   func(c *Config) { c.Cluster += "c" },
		"long API":       func(c *Config) { c.APIAddr = strings.Repeat("a", 256) },
		"long version":   func(c *Config) { c.Version = strings.Repeat("a", 129) },
		"seed, no port":  func(c *Config) { c.Seeds = []string{"host"} },
		"seed, bad port": func(c *Config) { c.Seeds = []string{"host:99999"} },
		"seed, no host":  func(c *Config) { c.Seeds = []string{":1"} },
	} {
		c := good
		change(&c)
		if _, err := New(c); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", desc, err)
		}
	}
}
