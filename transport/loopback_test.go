package transport

import (
	"bytes"
	"context"
	"net"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset"
)

func listenLoopback(t testing.TB) net.PacketConn {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestLoopback runs over real sockets, without a secret.
func TestLoopback(t *testing.T) {
	noSecret := func(c *Config) { c.Secret = "" }
	a := startNode(t, listenLoopback(t), 1, noSecret)
	defer a.stop()
	arrived := make(chan []byte, 1)
	b := startNode(t, listenLoopback(t), 2, noSecret, func(c *Config) {
		n := c.Handler.(*testNode)
		n.serve = func(_ context.Context, _ changeset.ActorID, s *Stream) {
			if _, p, err := s.Receive(); err == nil {
				arrived <- bytes.Clone(p)
			}
		}
	})
	defer b.stop()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := a.Dial(ctx, b.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, MaxFrame} {
		s, err := a.OpenUni(ctx, actor(2), kindTest)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Send(1, bytes.Repeat([]byte{7}, n)); err != nil {
			t.Fatal(err)
		}
		s.CloseSend()
		select {
		case p := <-arrived:
			if len(p) != n {
				t.Errorf("%d bytes arrived, want %d", len(p), n)
			}
		case <-ctx.Done():
			t.Fatal("nothing arrived")
		}
	}
	if err := a.SendDatagram(actor(2), []byte("x")); err != nil {
		t.Error(err)
	}
}

// BenchmarkStream sends frames of 64 KiB over loopback.
func BenchmarkStream(b *testing.B) {
	const size = 64 << 10
	t := &testing.T{}
	x := startNode(t, listenLoopback(t), 1)
	defer x.stop()
	done := make(chan int, 1)
	y := startNode(t, listenLoopback(t), 2, func(c *Config) {
		n := c.Handler.(*testNode)
		n.serve = func(_ context.Context, _ changeset.ActorID, s *Stream) {
			frames := 0
			for ; ; frames++ {
				if _, _, err := s.Receive(); err != nil {
					break
				}
			}
			done <- frames
		}
	})
	defer y.stop()
	if _, err := x.Dial(b.Context(), y.LocalAddr()); err != nil {
		b.Fatal(err)
	}
	s, err := x.OpenUni(b.Context(), actor(2), kindTest)
	if err != nil {
		b.Fatal(err)
	}
	payload := make([]byte, size)
	b.SetBytes(size)
	for b.Loop() {
		if err := s.Send(1, payload); err != nil {
			b.Fatal(err)
		}
	}
	s.CloseSend()
	if n := <-done; n != b.N {
		b.Errorf("%d of %d frames arrived", n, b.N)
	}
}
