package transport

import (
	"fmt"
	"io"
	"testing"
	"time"

	"context"

	"github.com/patinadb/patina/changeset"
)

func TestThreeClassesBothWays(t *testing.T) {
	bubble(t, 20*time.Millisecond, 0, func(t *testing.T, n *vnet) {
		a, b := n.start(t, 1), n.start(t, 2)
		defer a.stop()
		defer b.stop()
		b.serve = func(_ context.Context, from changeset.ActorID, s *Stream) {
			if s.Kind() != kindTestBi {
				return
			}
			for {
				f, p, err := s.Receive()
				if err != nil {
					return
				}
				s.Send(f+1, append([]byte("echo "), p...))
			}
		}
		if p := a.dial(b); p.Actor != actor(2) || p.Name != "node2" || p.Addr != vaddr(2) {
			t.Fatalf("dialled %+v", p)
		}
		time.Sleep(time.Second)
		if err := b.say(actor(1), "from the listener"); err != nil {
			t.Fatal(err)
		}
		if err := b.SendDatagram(actor(1), []byte("dgram")); err != nil {
			t.Fatal(err)
		}
		s, err := a.OpenBi(t.Context(), actor(2), kindTestBi)
		if err != nil {
			t.Fatal(err)
		}
		s.Send(7, []byte("hi"))
		f, p, err := s.Receive()
		if err != nil || f != 8 || string(p) != "echo hi" {
			t.Fatalf("frame %d %q %v", f, p, err)
		}
		s.CloseSend()
		if _, _, err := s.Receive(); err != io.EOF {
			t.Fatalf("end: %v", err)
		}
		s.Close()
		time.Sleep(time.Second)
		if got := fmt.Sprint(a.received(), a.datagrams); got != "[from the listener] [dgram]" {
			t.Errorf("received %s", got)
		}
		a.wantEvents("up 2")
		b.wantEvents("up 1")
	})
}
