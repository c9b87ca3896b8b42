package transport

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/patinadb/patina/changeset"
)

func TestMain(m *testing.M) {
	os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true")
	goleak.VerifyTestMain(m)
}

const (
	testSecret  = "0123456789abcdef"
	kindTest    = Kind(2)
	kindTestBi  = Kind(3)
	testCluster = "test"
)

// testNode runs one transport and records what its handler is told.
type testNode struct {
	*Transport
	t      *testing.T
	conn   net.PacketConn
	cancel context.CancelFunc
	ended  chan error
	serve  func(ctx context.Context, from changeset.ActorID, s *Stream) // nil: record frames
	log    logBuffer

	mu        sync.Mutex
	events    []string // "up N", "down N" by the actor's first byte
	frames    []string
	datagrams []string
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Count(l.b.Bytes(), []byte(s))
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func actor(i int) changeset.ActorID { return changeset.ActorID{byte(i), 1} }

// start runs node i of a network; edit changes its configuration.
func (n *vnet) start(t *testing.T, i int, edit ...func(*Config)) *testNode {
	t.Helper()
	return startNode(t, n.listen(vaddr(i)), i, edit...)
}

func startNode(t *testing.T, conn net.PacketConn, i int, edit ...func(*Config)) *testNode {
	t.Helper()
	tn := &testNode{t: t, conn: conn, ended: make(chan error, 1)}
	cfg := Config{
		Conn: conn, Cluster: testCluster, Identity: Identity{Secret: testSecret}, Name: fmt.Sprintf("node%d", i),
		Actor: actor(i), Epoch: 1, ResetKey: [32]byte{byte(i), 7}, Handler: tn,
		Log: slog.New(slog.NewTextHandler(&tn.log, nil)),
	}
	for _, f := range edit {
		f(&cfg)
	}
	tr, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	tn.Transport = tr
	ctx, cancel := context.WithCancel(context.Background())
	tn.cancel = cancel
	go func() { tn.ended <- tr.Run(ctx) }()
	return tn
}

// stop ends the node in order.
func (n *testNode) stop() {
	n.t.Helper()
	n.cancel()
	if err := <-n.ended; err != nil {
		n.t.Errorf("Run: %v", err)
	}
}

// kill ends the node without a word to anybody.
func (n *testNode) kill() {
	n.conn.Close()
	n.cancel()
	<-n.ended
}

func (n *testNode) Datagram(_ changeset.ActorID, b []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.datagrams = append(n.datagrams, string(b))
}

func (n *testNode) Stream(ctx context.Context, from changeset.ActorID, s *Stream) {
	if n.serve != nil {
		n.serve(ctx, from, s)
		return
	}
	for {
		_, b, err := s.Receive()
		if err != nil {
			return
		}
		n.mu.Lock()
		n.frames = append(n.frames, string(b))
		n.mu.Unlock()
	}
}

func (n *testNode) PeerUp(p Peer)                { n.event("up", p.Actor) }
func (n *testNode) PeerDown(a changeset.ActorID) { n.event("down", a) }

func (n *testNode) event(what string, a changeset.ActorID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.events = append(n.events, fmt.Sprintf("%s %d", what, a[0]))
}

func (n *testNode) seen() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.events)
}

func (n *testNode) received() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.frames)
}

// work returns how many dials were begun and how many hellos are in progress.
func (n *testNode) work() (dialled uint64, hellos int) {
	n.Transport.mu.Lock()
	defer n.Transport.mu.Unlock()
	return n.dialled, n.hellos
}

// dial links n to o and fails the test if it cannot.
func (n *testNode) dial(o *testNode) Peer {
	n.t.Helper()
	p, err := n.Dial(context.Background(), o.LocalAddr())
	if err != nil {
		n.t.Fatal(err)
	}
	return p
}

// say sends one frame on a stream of its own.
func (n *testNode) say(to changeset.ActorID, text string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s, err := n.OpenUni(ctx, to, kindTest)
	if err != nil {
		return err
	}
	if err := s.Send(1, []byte(text)); err != nil {
		return err
	}
	return s.CloseSend()
}

func (n *testNode) wantEvents(want ...string) {
	n.t.Helper()
	if got := n.seen(); !slices.Equal(got, want) {
		n.t.Errorf("node %v: events %q, want %q", n.cfg.Name, got, want)
	}
}

func (n *testNode) wantEnded(c Code, remote bool, count uint64) {
	n.t.Helper()
	for _, e := range n.Stats().Ended {
		if e.Code == c && e.Remote == remote {
			if e.Count != count {
				n.t.Errorf("%s: %q (remote %v) counted %d times, want %d", n.cfg.Name, c, remote, e.Count, count)
			}
			return
		}
	}
	if count > 0 {
		n.t.Errorf("%s: %q (remote %v) not counted; counted: %v", n.cfg.Name, c, remote, n.Stats().Ended)
	}
}

// bubble runs a test in virtual time on a network of its own.
func bubble(t *testing.T, latency time.Duration, loss float64, f func(t *testing.T, n *vnet)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newVnet(1, latency, loss)) })
}

func slogTo(l *logBuffer) *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }
