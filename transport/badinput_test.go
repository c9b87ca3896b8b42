package transport

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

// afterwards checks that a node still takes links after what a peer did.
func afterwards(t *testing.T, n *vnet, victim *testNode) {
	t.Helper()
	friend := n.start(t, 200)
	defer friend.stop()
	friend.dial(victim)
	if err := friend.say(victim.cfg.Actor, "still there"); err != nil {
		t.Errorf("the node does not run on: %v", err)
	}
	time.Sleep(time.Second)
	if got := fmt.Sprint(victim.received()); got != "[still there]" {
		t.Errorf("afterwards received %s", got)
	}
}

func TestBadHelloIsRefused(t *testing.T) {
	framed := func(f func(*hello)) []byte {
		h := rawHello(9)
		f(&h)
		return AppendFrame([]byte{0}, frameHello, h.append(nil))
	}
	whole := framed(func(*hello) {})
	for _, c := range []struct {
		desc  string
		bytes []byte
		end   bool // end the stream after them
		want  Code
	}{
		{"foreign cluster", framed(func(h *hello) { h.cluster = "other" }), false, CodeForeignCluster},
		{"only newer protocol versions", framed(func(h *hello) { h.minVersion, h.maxVersion = 2, 3 }), false, CodeUnsupportedVersion},
		{"next hello layout", append([]byte{0, 1, 1, 1}, 2), false, CodeUnsupportedVersion},
		{"next frame version", []byte{0, 2, 1, 0}, false, CodeUnsupportedVersion},
		{"cut", whole[:20], true, CodeBadHello},
		{"nothing", nil, true, CodeBadHello},
		{"oversized", appendFrameHeader([]byte{0}, frameHello, maxHelloBytes+1), false, CodeBadHello},
		{"zero actor", framed(func(h *hello) { h.actor = [16]byte{} }), false, CodeBadHello},
		{"another frame type", AppendFrame([]byte{0}, 9, nil), false, CodeBadHello},
		{"another kind of stream", []byte{2}, false, CodeBadHello},
		{"silence", nil, false, CodeHelloTimeout},
		{"silence after the hello", whole, false, CodeHelloTimeout},
		{"this node's actor id", framed(func(h *hello) { h.actor = actor(1) }), false, CodeDuplicateActor},
	} {
		t.Run(c.desc, func(t *testing.T) {
			bubble(t, 10*time.Millisecond, 0, func(t *testing.T, n *vnet) {
				a := n.start(t, 1)
				defer a.stop()
				for range 2 {
					p := n.dialRaw(t, 9, a)
					p.s.Write(c.bytes)
					if c.end {
						p.s.Close()
					}
					p.wantClose(c.want)
					p.stop()
				}
				a.wantEnded(c.want, false, 2)
				if lines := a.log.count("\n"); lines != 1 {
					t.Errorf("%d log lines, want 1:\n%s", lines, a.log.String())
				}
				a.wantEvents()
				afterwards(t, n, a)
			})
		})
	}
}

func TestBadFrameClosesTheLink(t *testing.T) {
	for _, c := range []struct {
		desc  string
		bytes []byte // of a uni stream, which then ends
		want  Code
	}{
		{"truncated", AppendFrame([]byte{2}, 1, []byte("hello"))[:6], CodeFrameTruncated},
		{"oversized", []byte{2, 1, 1, 0x81, 0x80, 0x80, 0x11}, CodeFrameTooLarge},
		{"corrupt", []byte{2, 1, 0, 0}, CodeFrameCorrupt},
		{"next version", []byte{2, 2, 1, 0}, CodeFrameUnsupported},
		{"no kind", nil, CodeFrameTruncated},
		{"second hello", []byte{0}, CodeBadHello},
	} {
		t.Run(c.desc, func(t *testing.T) {
			bubble(t, 10*time.Millisecond, 0, func(t *testing.T, n *vnet) {
				a := n.start(t, 1)
				defer a.stop()
				for range 2 {
					p := n.dialRaw(t, 9, a)
					p.link(9)
					p.uni(c.bytes)
					p.wantClose(c.want)
					p.stop()
				}
				a.wantEnded(c.want, false, 2)
				if lines := a.log.count("\n"); lines != 1 {
					t.Errorf("%d log lines, want 1:\n%s", lines, a.log.String())
				}
				a.wantEvents("up 9", "down 9", "up 9", "down 9")
				afterwards(t, n, a)
			})
		})
	}
}

func TestBadDatagramClosesTheLink(t *testing.T) {
	bubble(t, 10*time.Millisecond, 0, func(t *testing.T, n *vnet) {
		a := n.start(t, 1)
		defer a.stop()
		p := n.dialRaw(t, 9, a)
		p.link(9)
		p.conn.SendDatagram(encodeDatagram(77, []byte("of a later version")))
		time.Sleep(time.Second)
		if a.Stats().DatagramsUnknown != 1 || !a.links.best(actor(9)).live() {
			t.Error("an unknown type must be counted and ignored")
		}
		p.conn.SendDatagram([]byte{1, 0, 9, 9})
		p.wantClose(CodeBadDatagram)
		p.stop()
		a.wantEnded(CodeBadDatagram, false, 1)
		afterwards(t, n, a)
	})
}

func TestStreamWithoutItsKindTimesOut(t *testing.T) {
	bubble(t, 10*time.Millisecond, 0, func(t *testing.T, n *vnet) {
		a := n.start(t, 1)
		defer a.stop()
		p := n.dialRaw(t, 9, a)
		defer p.stop()
		p.link(9)
		silent, err := p.conn.OpenUniStream()
		if err != nil {
			t.Fatal(err)
		}
		p.uni(AppendFrame([]byte{2}, 1, []byte("later stream")))
		time.Sleep(time.Second)
		if got := fmt.Sprint(a.received()); got != "[later stream]" {
			t.Errorf("received %s", got)
		}
		if silent.Context().Err() != nil {
			t.Error("given up at once")
		}
		time.Sleep(kindTimeout)
		if silent.Context().Err() == nil {
			t.Error("waits forever")
		}
		a.wantEvents("up 9")
	})
}

// The dialler, who checks first, tells the other in the TLS alert.
func TestWrongSecretIsNamedAtBothEnds(t *testing.T) {
	for _, c := range []struct {
		desc string
		edit func(*Config)
		code Code
	}{
		{"wrong secret", func(c *Config) { c.Secret = "another secret of 16" }, CodeWrongSecret},
		{"other cluster", func(c *Config) { c.Cluster = "other" }, CodeForeignCluster},
	} {
		t.Run(c.desc, func(t *testing.T) {
			bubble(t, 10*time.Millisecond, 0, func(t *testing.T, n *vnet) {
				a, b := n.start(t, 1), n.start(t, 2, c.edit)
				defer a.stop()
				defer b.stop()
				for range 3 {
					_, err := b.Dial(t.Context(), a.LocalAddr())
					if !errors.Is(err, c.code) {
						t.Fatalf("dial: %v", err)
					}
					time.Sleep(time.Second)
				}
				b.wantEnded(c.code, false, 3)
				a.wantEnded(c.code, true, 3)
				for _, x := range []*testNode{a, b} {
					if lines := x.log.count("\n"); lines != 1 || x.log.count("cluster") == 0 {
						t.Errorf("%s wrote %d lines, want 1:\n%s", x.cfg.Name, lines, x.log.String())
					}
					x.wantEvents()
				}
				time.Sleep(2 * time.Minute)
				b.Dial(t.Context(), a.LocalAddr())
				time.Sleep(time.Second)
				if lines := a.log.count("\n"); lines != 2 {
					t.Errorf("a later failure is logged again: %d lines", lines)
				}
				afterwards(t, n, a)
			})
		})
	}
}

// A client that does not check the server's certificate is refused by the
// server's check of the client's.
func TestForgedClientIsRefused(t *testing.T) {
	bubble(t, 10*time.Millisecond, 0, func(t *testing.T, n *vnet) {
		a := n.start(t, 1)
		defer a.stop()
		mallory := n.start(t, 9, func(c *Config) { c.Secret = "another secret of 16" })
		defer mallory.stop()
		cfg := mallory.id.tls()
		cfg.VerifyConnection = nil
		conn, err := mallory.quic.Dial(t.Context(), a.conn.LocalAddr(), cfg, quicConfig())
		if err == nil {
			<-conn.Context().Done()
			err = context.Cause(conn.Context())
		}
		if code, remote, _ := classify(err); code != CodeWrongSecret || !remote {
			t.Errorf("forged client saw %v", err)
		}
		time.Sleep(time.Second)
		a.wantEnded(CodeWrongSecret, false, 1)
		a.wantEvents()
	})
}

func TestOtherApplicationProtocolIsAVersionMismatch(t *testing.T) {
	bubble(t, 10*time.Millisecond, 0, func(t *testing.T, n *vnet) {
		a, b := n.start(t, 1), n.start(t, 2)
		defer a.stop()
		defer b.stop()
		cfg := b.id.tls()
		cfg.NextProtos = []string{"patina/2"}
		_, err := b.quic.Dial(t.Context(), a.conn.LocalAddr(), cfg, quicConfig())
		if code, remote, _ := classify(err); code != CodeUnsupportedVersion || !remote {
			t.Errorf("dial: %v", err)
		}
		time.Sleep(time.Second)
		a.wantEnded(CodeUnsupportedVersion, false, 1)
	})
}

func TestFailureLogIsBounded(t *testing.T) {
	n := &testNode{}
	f := newFailures(slogTo(&n.log))
	at := time.Unix(1000, 0)
	for i := range 10 * logMemory {
		f.record(&LinkError{Code: CodeBadHello, Peer: vaddr(i)}, at)
	}
	if lines := n.log.count("\n"); lines != logMemory || len(f.logged) != logMemory {
		t.Errorf("%d lines, %d remembered, want %d", lines, len(f.logged), logMemory)
	}
	f.record(&LinkError{Code: CodeBadHello, Peer: vaddr(1)}, at.Add(logInterval))
	if lines := n.log.count("\n"); lines != logMemory+1 {
		t.Errorf("%d lines after the interval", lines)
	}
	if f.counts[outcome{CodeBadHello, false}] != 10*logMemory+1 {
		t.Errorf("counts %v", f.counts)
	}
}
