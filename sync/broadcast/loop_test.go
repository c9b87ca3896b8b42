package broadcast

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patinadb/patina/changeset"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// mesh joins loops by links that keep the order, with a delay per batch. All its
// timers are in the bubble.
type mesh struct {
	mu      sync.Mutex
	loops   map[changeset.ActorID]*Loop
	got     map[changeset.ActorID][]changeset.Sealed
	batches map[changeset.ActorID]int // that were begun
	flight  int                       // sends that have not ended
	delay   map[changeset.ActorID]time.Duration
	refuse  bool // Deliver has no room
}

func newMesh() *mesh {
	return &mesh{loops: map[changeset.ActorID]*Loop{}, got: map[changeset.ActorID][]changeset.Sealed{},
		batches: map[changeset.ActorID]int{}, delay: map[changeset.ActorID]time.Duration{}}
}

type meshSender struct {
	*mesh
	from changeset.ActorID
}

// frames is a Stream of what it was given. Its payloads share one buffer.
type frames struct {
	list  []Frame
	fault error
	buf   []byte
}

func framesOfKind(kind uint8, payloads ...[]byte) *frames {
	f := &frames{}
	for _, p := range payloads {
		f.list = append(f.list, Frame{kind, p})
	}
	return f
}

func (f *frames) Receive() (uint8, []byte, error) {
	clear(f.buf)
	if len(f.list) == 0 {
		if f.fault != nil {
			return 0, nil, f.fault
		}
		return 0, nil, io.EOF
	}
	kind := f.list[0].Kind
	f.buf = append(f.buf[:0], f.list[0].Payload...)
	f.list = f.list[1:]
	return kind, f.buf, nil
}

func (s meshSender) SendBatch(ctx context.Context, to changeset.ActorID, batch []Frame) error {
	s.mu.Lock()
	loop, delay := s.loops[to], s.delay[to]
	s.batches[to]++
	s.flight++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.flight--
		s.mu.Unlock()
	}()
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return ctx.Err()
	}
	return loop.Receive(ctx, s.from, &frames{list: batch})
}

func (m *mesh) add(ctx context.Context, group *sync.WaitGroup, letter byte, log io.Writer) *Loop {
	self := testActor(letter)
	l := New(Config{Self: self, Sender: meshSender{m, self}, Log: slog.New(slog.NewTextHandler(log, nil)), Deliver: func(s changeset.Sealed) bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		if !m.refuse {
			m.got[self] = append(m.got[self], s)
		}
		return !m.refuse
	}})
	m.loops[self] = l
	group.Go(func() {
		if err := l.Run(ctx); err != nil {
			panic(err)
		}
	})
	return l
}

func sealed(t testing.TB, letter byte, version int) changeset.Sealed {
	t.Helper()
	c := &changeset.Changeset{Header: changeset.Header{Actor: testActor(letter), Version: changeset.Version(version), Time: 1 << 20}}
	if version > 1 {
		c.Previous[0] = 1
	}
	c.Tables = []changeset.TableChanges{{Name: "t", Generation: 1, Key: []string{"id"}, Columns: []string{"v"}, Changes: []changeset.Change{{
		Key: []changeset.Value{changeset.IntegerValue(int64(version))}, CausalLength: 1, Columns: changeset.Columns(0),
		Values: []changeset.Value{changeset.TextValue(strings.Repeat("x", 300))}}}}}
	s, err := changeset.Seal(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestLoopsDeliverOnceEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(context.Background())
		var group sync.WaitGroup
		m := newMesh()
		letters := []byte("ABCD")
		for _, l := range letters {
			m.add(ctx, &group, l, io.Discard)
		}
		for _, a := range letters {
			for _, b := range letters {
				if a != b {
					m.loops[testActor(a)].PeerUp(testActor(b), time.Millisecond)
				}
			}
		}
		synctest.Wait()
		const versions = 50
		for v := 1; v <= versions; v++ {
			for _, l := range letters {
				m.loops[testActor(l)].Publish(sealed(t, l, v))
			}
		}
		time.Sleep(time.Second)
		synctest.Wait()
		for _, l := range letters {
			got := m.got[testActor(l)]
			seen := map[changeset.ID]bool{}
			for _, s := range got {
				seen[s.ID()] = true
				if c, err := s.Decode(); err != nil || c.Rows() != 1 {
					t.Errorf("delivered %v: %v", s.ID(), err)
				}
			}
			if len(got) != 3*versions || len(seen) != len(got) {
				t.Errorf("%c got %d, %d different", l, len(got), len(seen))
			}
			s := m.loops[testActor(l)].Stats()
			if s.Local != versions || s.Delivered != 3*versions || s.Failed+s.Dropped+s.Refused+s.Malformed > 0 {
				t.Errorf("%c: %+v", l, s)
			}
		}
		stop()
		group.Wait()
	})
}

func TestSlowPeerHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(context.Background())
		var group sync.WaitGroup
		m := newMesh()
		a := m.add(ctx, &group, 'A', io.Discard)
		m.add(ctx, &group, 'B', io.Discard)
		m.add(ctx, &group, 'C', io.Discard)
		m.delay[testActor('B')] = time.Hour // its sends end by the limit of two seconds
		a.PeerUp(testActor('B'), 0)
		a.PeerUp(testActor('C'), 0)
		synctest.Wait()
		a.Publish(sealed(t, 'A', 1))
		synctest.Wait()
		if len(m.got[testActor('C')]) != 1 {
			t.Error("the fast peer waits for the slow one")
		}
		for v := 2; v <= 2001; v++ {
			a.Publish(sealed(t, 'A', v))
			synctest.Wait()
		}
		if n := len(m.got[testActor('C')]); n != 2001 {
			t.Errorf("the fast peer got %d", n)
		}
		q := a.Queues()
		if q[1].Name != "broadcast.peer."+testActor('B').String() || q[1].Depth != QueueItems || q[1].Dropped != 2000-QueueItems || q[2].Dropped != 0 {
			t.Errorf("%+v", q)
		}
		time.Sleep(sendTimeout)
		synctest.Wait()
		if s := a.Stats(); s.Failed != 1 || m.batches[testActor('B')] != 2 {
			t.Errorf("after the time limit: %+v, %d batches", s, m.batches[testActor('B')])
		}
		a.PeerDown(testActor('B'))
		synctest.Wait()
		if q := a.Queues(); len(q) != 2 || m.flight != 0 {
			t.Errorf("after the peer went: %+v, %d sends", q, m.flight)
		}
		// It comes back, and the end of the old batch must not be taken for the new one's.
		m.delay[testActor('B')] = 0
		a.PeerUp(testActor('B'), 0)
		synctest.Wait()
		a.Publish(sealed(t, 'A', 3000))
		synctest.Wait()
		if n := len(m.got[testActor('B')]); n != 1 {
			t.Errorf("the peer that came back got %d", n)
		}
		m.delay[testActor('B')] = time.Second
		a.Publish(sealed(t, 'A', 3001))
		synctest.Wait()
		a.finished <- result{&worker{peer: testActor('B')}, 1, nil}
		a.Publish(sealed(t, 'A', 3002))
		synctest.Wait()
		if q := a.Queues()[1]; q.Depth != 1 {
			t.Errorf("the second batch did not wait: %+v", q)
		}
		stop()
		group.Wait()
	})
}

func TestPublishNeverBlocks(t *testing.T) {
	var log bytes.Buffer
	l := New(Config{Self: testActor('A'), Log: slog.New(slog.NewTextHandler(&log, nil))})
	for v := 1; v <= publishItems+10; v++ { // it does not even run
		l.Publish(sealed(t, 'A', v))
	}
	if q := l.Queues()[0]; q.Depth != publishItems || q.Capacity != publishItems || q.Dropped != 10 {
		t.Errorf("%+v", q)
	}
	if n := strings.Count(log.String(), "level=WARN"); n != 1 {
		t.Errorf("%d warnings", n)
	}
	big := New(Config{Self: testActor('A'), Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	for range 3 {
		big.Publish(changeset.Sealed{Data: make([]byte, publishBytes/2)})
	}
	if q := big.Queues()[0]; q.Depth != 2 || q.Dropped != 1 {
		t.Errorf("64 MiB wait: %+v", q)
	}
}

func TestReceiveBlamesThePeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(context.Background())
		var group sync.WaitGroup
		m := newMesh()
		l := m.add(ctx, &group, 'A', io.Discard)
		good := changeset.Pack(sealed(t, 'B', 1).Data)
		newer := changeset.Pack(sealed(t, 'B', 2).Data)
		unpacked, err := changeset.Unpack(newer)
		if err != nil {
			t.Fatal(err)
		}
		unpacked = bytes.Clone(unpacked)
		unpacked[0]++
		cut := errors.New("link lost")
		for _, tc := range []struct {
			desc   string
			stream *frames
			want   error // nil: a clean end
			fault  bool
		}{
			{"clean end", framesOfKind(FrameChangeset, good, good), nil, false},
			{"other kind of frame", framesOfKind(4, good), ErrUnknownFrame, true},
			{"empty frame", framesOfKind(FrameChangeset, []byte{}), changeset.ErrTruncated, true},
			{"unknown packing", framesOfKind(FrameChangeset, []byte{9, 1}), changeset.ErrUnsupported, true},
			{"damaged block", framesOfKind(FrameChangeset, []byte{1, 200, 1, 7}), changeset.ErrCorrupt, true},
			{"header cut", framesOfKind(FrameChangeset, changeset.Pack(unpacked[:20])), nil, true},
			{"next format version", framesOfKind(FrameChangeset, changeset.Pack(unpacked)), changeset.ErrUnsupported, true},
			{"stream breaks", &frames{fault: cut}, cut, false},
		} {
			err := l.Receive(ctx, testActor('B'), tc.stream)
			var fault *PeerError
			if is := errors.As(err, &fault); is != tc.fault || tc.want != nil && !errors.Is(err, tc.want) || tc.want == nil && !tc.fault && err != nil {
				t.Errorf("%s: %v", tc.desc, err)
			} else if is && fault.Peer != testActor('B') {
				t.Errorf("%s: blames %v", tc.desc, fault.Peer)
			}
		}
		synctest.Wait()
		if s := l.Stats(); s.Malformed != 6 || s.Delivered != 1 || s.Duplicates != 1 {
			t.Errorf("%+v", s)
		}
		m.refuse = true
		if err := l.Receive(ctx, testActor('B'), framesOfKind(FrameChangeset, newer)); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if s := l.Stats(); s.Refused != 1 {
			t.Errorf("without room: %+v", s)
		}
		stop()
		group.Wait()
		if err := l.Receive(context.Background(), testActor('B'), framesOfKind(FrameChangeset, good)); !errors.Is(err, ErrStopped) {
			t.Errorf("after the end: %v", err)
		}
		if err := l.Run(context.Background()); !errors.Is(err, ErrRunning) {
			t.Errorf("second run: %v", err)
		}
	})
}

func TestForwardedBytesAreTheReceivedOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(context.Background())
		var group sync.WaitGroup
		m := newMesh()
		sent := make(chan []Frame, 1)
		l := New(Config{Self: testActor('A'), Sender: senderFunc(func(batch []Frame) { sent <- batch }), Deliver: func(changeset.Sealed) bool { return true }})
		m.loops[testActor('A')] = l
		group.Go(func() { l.Run(ctx) })
		l.PeerUp(testActor('C'), 0)
		synctest.Wait()
		raw := append([]byte{0}, sealed(t, 'B', 1).Data...) // not what Pack would make
		if err := l.Receive(ctx, testActor('B'), framesOfKind(FrameChangeset, raw)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if batch := <-sent; len(batch) != 1 || !bytes.Equal(batch[0].Payload, raw) {
			t.Error("it was packed again")
		}
		stop()
		group.Wait()
	})
}

type senderFunc func(batch []Frame)

func (f senderFunc) SendBatch(_ context.Context, _ changeset.ActorID, batch []Frame) error {
	f(batch)
	return nil
}
