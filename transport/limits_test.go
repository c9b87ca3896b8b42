package transport

import (
	"bufio"
	"errors"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
)

func TestHandshakeLimiter(t *testing.T) {
	var h handshakeLimiter
	now := time.Unix(1000, 0)
	for i := range handshakeRate {
		if h.exceeded(now) {
			t.Fatalf("handshake %d of the first second was held up", i)
		}
	}
	if !h.exceeded(now) {
		t.Error("one above the rate was not")
	}
	if h.exceeded(now.Add(time.Second / handshakeRate)) {
		t.Error("nor does a token come back")
	}
	now = now.Add(time.Hour)
	for range handshakeRate {
		h.exceeded(now)
	}
	if !h.exceeded(now) {
		t.Error("tokens pile up")
	}
}

// Above the rate of handshakes a connection still comes up: the address is
// validated first.
func TestAddressValidationLetsPeersIn(t *testing.T) {
	bubble(t, 10*time.Millisecond, 0, func(t *testing.T, n *vnet) {
		a, b := n.start(t, 1), n.start(t, 2)
		defer stopAll([]*testNode{a, b})
		for !a.limiter.exceeded(time.Now()) {
		}
		start := time.Now()
		b.dial(a)
		if d := time.Since(start); d < 60*time.Millisecond {
			t.Errorf("linked after %v: no round trip for the validation", d)
		}
	})
}

func TestLimitsOfConnectionsAndDials(t *testing.T) {
	r := newRegistry(actor(1))
	for range maxLinks {
		if err := r.track(new(quic.Conn)); err != nil {
			t.Fatal(err)
		}
	}
	if code, _, _ := classify(r.track(new(quic.Conn))); code != CodeBusy {
		t.Errorf("one connection too many: %v", code)
	}
	r.shut()
	if code, _, _ := classify(r.track(new(quic.Conn))); code != CodeLeaving {
		t.Errorf("after the stop: %v", code)
	}

	bubble(t, 10*time.Millisecond, 0, func(t *testing.T, n *vnet) {
		a := n.start(t, 1)
		defer a.stop()
		time.Sleep(time.Second)
		for i := range maxDials {
			if _, err := a.shareDial(vaddr(1000 + i)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := a.Dial(t.Context(), vaddr(2000)); !errors.Is(err, ErrTooManyDials) {
			t.Errorf("one dial too many: %v", err)
		}
		time.Sleep(time.Minute)
		if _, err := a.Dial(t.Context(), vaddr(2000)); !errors.Is(err, CodeUnreachable) {
			t.Errorf("later: %v", err)
		}
		a.wantEnded(CodeUnreachable, false, maxDials+1)
	})
}

func TestTooManyHellosAreRefused(t *testing.T) {
	bubble(t, 10*time.Millisecond, 0, func(t *testing.T, n *vnet) {
		a, b := n.start(t, 1), n.start(t, 2)
		defer stopAll([]*testNode{a, b})
		for range maxHellos {
			if err := a.beginHello(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := b.Dial(t.Context(), a.LocalAddr()); !errors.Is(err, CodeBusy) {
			t.Errorf("dial: %v", err)
		}
		a.endHello()
		b.dial(a)
		time.Sleep(time.Second)
		if _, hellos := a.work(); hellos != maxHellos-1 {
			t.Errorf("%d hellos in progress", hellos)
		}
	})
}

func TestEveryCodeHasItsOwnText(t *testing.T) {
	seen := map[string]Code{}
	for c, text := range codeText {
		if other, ok := seen[text]; ok {
			t.Errorf("codes %d and %d say %q", c, other, text)
		}
		seen[text] = c
		if on := Code(onWire(c)); c < CodeWrongSecret && on != c || c >= CodeWrongSecret && on != CodeLeaving {
			t.Errorf("%q goes out as 0x%x", c, uint64(on))
		}
	}
	if Code(0x99).Error() != "unknown close code 0x99" {
		t.Error(Code(0x99))
	}
}

// TestPeerThatDialsWithoutEnd: each new link supersedes the one before, whose
// streams it holds open; only a few are kept, and the newest works.
func TestPeerThatDialsWithoutEnd(t *testing.T) {
	bubble(t, 10*time.Millisecond, 0, func(t *testing.T, n *vnet) {
		a := n.start(t, 1)
		defer a.stop()
		id, err := newIdentity(Config{Identity: Identity{Secret: testSecret}, Cluster: testCluster, Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		var keys keyring
		keys.Store(id)
		pc := n.listen(vaddr(9))
		tr := &quic.Transport{Conn: pc}
		defer func() { tr.Close(); pc.Close() }()
		const dials = 40
		var last *rawPeer
		for i := range dials {
			conn, err := tr.Dial(t.Context(), a.conn.LocalAddr(), keys.tls(), quicConfig())
			if err != nil {
				t.Fatal(err)
			}
			p := &rawPeer{t: t, conn: conn}
			if p.s, err = conn.OpenStream(); err != nil {
				t.Fatal(err)
			}
			p.r = bufio.NewReader(p.s)
			h := rawHello(9)
			h.dial = uint64(i + 1)
			p.s.Write(AppendFrame([]byte{0}, frameHello, h.append(nil)))
			if _, err := readHello(p.r); err != nil {
				t.Fatal(err)
			}
			p.s.Write(AppendFrame(nil, frameAccept, nil))
			p.s.Close()
			time.Sleep(100 * time.Millisecond)
			if s, err := conn.OpenUniStream(); err == nil {
				s.Write([]byte{byte(kindTest)}) // and nothing more
			}
			last = p
		}
		time.Sleep(time.Second)
		if links := a.Stats().Peers[0].Links; links != maxPeerLinks {
			t.Errorf("%d links to one peer, want %d", links, maxPeerLinks)
		}
		a.wantEnded(CodeBusy, false, dials-maxPeerLinks)
		last.uni(AppendFrame([]byte{byte(kindTest)}, 1, []byte("newest")))
		time.Sleep(time.Second)
		if got := a.received(); len(got) != 1 || got[0] != "newest" {
			t.Errorf("received %q", got)
		}
		a.wantEvents("up 9")
	})
}
