package antientropy

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/sync/versions"
)

// mesh is a number of loops with stores in memory that can open streams to each
// other.
type mesh struct {
	t       *testing.T
	ctx     context.Context
	stop    func()
	running sync.WaitGroup
	stores  []*memoryStore
	loops   []*Loop

	mu     sync.Mutex
	pace   time.Duration
	budget int // of the next wire; later ones never break
	wires  []*wire
	faults []error // what Serve returned
}

func newMesh(t *testing.T, nodes int) *mesh {
	m := &mesh{t: t, budget: -1}
	m.ctx, m.stop = context.WithCancel(context.Background())
	for i := range nodes {
		store := newMemoryStore()
		m.stores = append(m.stores, store)
		m.loops = append(m.loops, New(Config{
			Self: actor(i + 1), Store: store,
			Open: func(ctx context.Context, to changeset.ActorID) (Stream, error) {
				return m.open(actor(i+1), to)
			},
			NotInLog: func(err error) bool { return errors.Is(err, errNotInLog) },
			Rand:     rand.New(rand.NewPCG(1, uint64(i))),
		}))
	}
	return m
}

// run starts the loops; the test ends by close.
func (m *mesh) run() {
	for _, l := range m.loops {
		m.running.Go(func() {
			if err := l.Run(m.ctx); err != nil {
				m.t.Errorf("Run: %v", err)
			}
		})
	}
}

func (m *mesh) close() {
	m.stop()
	m.running.Wait()
}

func (m *mesh) open(from, to changeset.ActorID) (Stream, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w := newWire(m.budget)
	m.budget, w.pace = -1, m.pace
	m.wires = append(m.wires, w)
	m.running.Go(func() {
		if err := m.loops[to[15]-1].Serve(m.ctx, from, &w.ends[1]); err != nil {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.faults = append(m.faults, err)
		}
	})
	return &w.ends[0], nil
}

// connect tells every loop of every other.
func (m *mesh) connect() {
	for i, l := range m.loops {
		for j := range m.loops {
			if i != j {
				l.PeerUp(actor(j + 1))
			}
		}
	}
}

func (m *mesh) equal() bool {
	for _, s := range m.stores[1:] {
		if s.Vector().FullDigest() != m.stores[0].Vector().FullDigest() {
			return false
		}
	}
	return true
}

// settle waits in virtual time until all vectors are equal.
func (m *mesh) settle(limit time.Duration) {
	m.t.Helper()
	for start := time.Now(); !m.equal(); time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > limit {
			m.t.Fatalf("not equal after %s; %+v", limit, m.loops[0].Stats())
		}
	}
	synctest.Wait()
}

// bubble runs a test with loops in virtual time.
func bubble(t *testing.T, nodes int, test func(t *testing.T, m *mesh)) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, nodes)
		defer m.close()
		test(t, m)
	})
}

func TestNewPeersEndEqual(t *testing.T) {
	for _, nodes := range []int{2, 3} {
		t.Run(fmt.Sprint(nodes), func(t *testing.T) {
			bubble(t, nodes, func(t *testing.T, m *mesh) {
				for i, s := range m.stores {
					s.write(t, i+1, 1, 150, strings.Repeat("text", 100))
					s.write(t, 9, changeset.Version(1+50*i), changeset.Version(100+50*i), "in common")
				}
				m.stores[0].hold(sealed(t, changeset.ID{Actor: actor(7), Version: 1}, strings.Repeat("0123456789", 70_000)))
				m.run()
				m.connect()
				m.settle(5 * time.Second)
				for i, s := range m.stores {
					if got := len(s.log); got != 150*nodes+100+50*(nodes-1)+1 {
						t.Errorf("node %d has %d changesets", i+1, got)
					}
				}
				if len(m.faults) > 0 {
					t.Errorf("sessions failed: %v", m.faults)
				}
			})
		})
	}
}

func TestBatchesFormWhileTheStoreIsBusy(t *testing.T) {
	bubble(t, 2, func(t *testing.T, m *mesh) {
		m.stores[0].write(t, 1, 1, 1000, "text")
		m.stores[1].applyTime = 5 * time.Millisecond
		m.run()
		m.connect()
		m.settle(10 * time.Second)
		if s := m.stores[1]; s.applied != 1000 || s.batches > 1000/BatchCount+3 {
			t.Errorf("%d changesets in %d batches", s.applied, s.batches)
		}
	})
}

func TestProbeBeginsASession(t *testing.T) {
	bubble(t, 2, func(t *testing.T, m *mesh) {
		m.run()
		m.connect()
		time.Sleep(time.Second)
		m.stores[1].write(t, 2, 1, 3, "text")
		m.loops[0].Digest(actor(2), m.stores[1].Vector().Digest())
		m.settle(20 * time.Millisecond)
		if st := m.loops[0].Stats(); st.Received != 3 || st.Completed != 1 {
			t.Errorf("%+v", st)
		}
	})
}

// TestStoreHearsWhatPeersHold by their vectors, and by digests equal to ours.
func TestStoreHearsWhatPeersHold(t *testing.T) {
	bubble(t, 2, func(t *testing.T, m *mesh) {
		m.stores[1].write(t, 2, 1, 3, "text")
		before := m.stores[0].Vector()
		m.run()
		m.connect()
		time.Sleep(time.Second)
		all := m.stores[1].Vector()
		if v := m.stores[0].hears(2); v == nil || !v.Equal(all) {
			t.Errorf("heard %v of the one that has all", v)
		}
		if v := m.stores[1].hears(1); v == nil || !v.Equal(before) {
			t.Errorf("heard %v of the one that had nothing", v)
		}
		m.loops[1].Digest(actor(1), all.Digest())
		m.settle(20 * time.Millisecond)
		if v := m.stores[1].hears(1); !v.Equal(all) {
			t.Errorf("heard %v after an equal digest", v)
		}
	})
}

func TestSlowRoundFindsWhatNoProbeSaid(t *testing.T) {
	bubble(t, 2, func(t *testing.T, m *mesh) {
		m.run()
		m.connect()
		time.Sleep(time.Second)
		m.stores[1].write(t, 2, 1, 3, "text")
		m.settle(RoundInterval + RoundJitter)
	})
}

func TestWhatIsNotInTheLogIsSaidAndNotLookedUpAgain(t *testing.T) {
	bubble(t, 2, func(t *testing.T, m *mesh) {
		m.stores[1].write(t, 2, 1, 100, "text")
		m.stores[1].prune(2, 1, 90)
		m.run()
		m.connect()
		time.Sleep(time.Second)
		probes := func() {
			for range 5 {
				m.loops[0].Digest(actor(2), m.stores[1].Vector().Digest())
				m.loops[1].Digest(actor(1), m.stores[0].Vector().Digest())
				time.Sleep(time.Second)
			}
		}
		time.Sleep(SettleFor)
		probes() // at most one more session: the last one moved something
		before := m.loops[0].Stats()
		probes()
		st := m.loops[0].Stats()
		if st.Received != 10 || st.Unserved != 90 || st.Suppressed < 5 {
			t.Errorf("%+v", st)
		}
		if rounds := st.Started + st.Served - before.Started - before.Served; rounds > 2 {
			t.Errorf("%d sessions in 5 s without anything new", rounds)
		}
		want := fmt.Sprint([]Unserved{{actor(2), []versions.Need{{Actor: actor(2), Ranges: []versions.Range{{First: 1, Last: 90}}}}}})
		if got := fmt.Sprint(m.loops[0].Unserved()); got != want {
			t.Errorf("unserved: %s, want %s", got, want)
		}
	})
}

// TestCutAnywhere cuts the first stream of a small exchange at every byte; a
// later session brings the rest.
func TestCutAnywhere(t *testing.T) {
	prepare := func(t *testing.T, m *mesh) {
		m.stores[0].write(t, 1, 1, 3, "a")
		m.stores[1].write(t, 2, 1, 2, "b")
		m.stores[1].write(t, 3, 1, 2, "c")
		m.stores[1].prune(3, 1, 1)
		m.stores[0].write(t, 3, 1, 1, "c") // so that all can be had
		m.run()
		m.loops[0].PeerUp(actor(2))
	}
	whole := 0
	bubble(t, 2, func(t *testing.T, m *mesh) {
		prepare(t, m)
		m.settle(time.Second)
		_, whole, _ = m.wires[0].state()
	})
	if whole < 400 {
		t.Fatalf("the exchange took %d bytes", whole)
	}
	for cut := range whole {
		bubble(t, 2, func(t *testing.T, m *mesh) {
			m.budget = cut
			prepare(t, m)
			m.settle(2 * time.Second)
			if _, _, err := m.wires[0].state(); err == nil {
				t.Fatalf("cut at byte %d: nothing was cut", cut)
			}
			if st := m.loops[0].Stats(); st.Failed+m.loops[1].Stats().Failed == 0 {
				t.Errorf("cut at byte %d: nothing failed: %+v", cut, st)
			}
		})
	}
}

// serve begins a session with loop 0 as peer 2, by hand.
func (m *mesh) serve() (w *wire, result chan error) {
	w = newWire(-1)
	result = make(chan error, 1)
	m.running.Go(func() { result <- m.loops[0].Serve(m.ctx, actor(2), &w.ends[1]) })
	return w, result
}

func TestMalformedFrameEndsTheSessionOnly(t *testing.T) {
	bubble(t, 2, func(t *testing.T, m *mesh) {
		m.run()
		w, result := m.serve()
		w.ends[0].Send(FrameVector, []byte{9, 9})
		err := <-result
		var fault *PeerFault
		if !errors.As(err, &fault) || !errors.Is(err, changeset.ErrUnsupported) {
			t.Errorf("Serve returned %v", err)
		}
		if code, _, _ := w.state(); code != CodeFault {
			t.Errorf("cancelled with %s", code)
		}
		if st := m.loops[0].Stats(); st.Faults != 1 || st.Failed != 1 {
			t.Errorf("%+v", st)
		}
		// Others are served all the same.
		m.stores[1].write(t, 2, 1, 3, "text")
		time.Sleep(BackoffMin * 2)
		m.connect()
		m.settle(2 * time.Second)
	})
}

func TestSecondSessionOfAPeerIsToldBusy(t *testing.T) {
	bubble(t, 2, func(t *testing.T, m *mesh) {
		m.run()
		_, first := m.serve()
		synctest.Wait()
		w, second := m.serve()
		w.ends[0].Send(FrameDigest, make([]byte, 32))
		kind, _, err := w.ends[0].Receive()
		if kind != FrameBusy || err != nil {
			t.Errorf("got frame %d, %v", kind, err)
		}
		if _, _, err := w.ends[0].Receive(); err != io.EOF {
			t.Errorf("after Busy: %v", err)
		}
		if err := <-second; err != nil {
			t.Errorf("Serve of the second: %v", err)
		}
		if err := <-first; !errors.Is(err, ErrIdle) {
			t.Errorf("Serve of the first, which said nothing: %v", err)
		}
	})
}

// TestEveryStreamThatWeOpenedIsClosed: the transport counts open streams.
func TestEveryStreamThatWeOpenedIsClosed(t *testing.T) {
	bubble(t, 3, func(t *testing.T, m *mesh) {
		m.stores[0].write(t, 1, 1, 30, "text")
		m.budget = 100
		m.run()
		m.connect()
		m.settle(10 * time.Second)
		time.Sleep(time.Minute)
		m.close()
		for i, w := range m.wires {
			if !w.ends[0].released {
				t.Errorf("stream %d of %d is still open", i, len(m.wires))
			}
		}
	})
}

func TestSilentPeerIsLeftAfterTenSeconds(t *testing.T) {
	bubble(t, 2, func(t *testing.T, m *mesh) {
		m.run()
		start := time.Now()
		w, result := m.serve()
		if err := <-result; !errors.Is(err, ErrIdle) {
			t.Errorf("Serve returned %v", err)
		}
		if d := time.Since(start); d != IdleLimit {
			t.Errorf("after %s", d)
		}
		if code, _, _ := w.state(); code != CodeIdle {
			t.Errorf("cancelled with %s", code)
		}
	})
}

func TestPeerThatNeverAnswersIsLeftAfterTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(-1)
		l := New(Config{Self: actor(1), Store: newMemoryStore(), Open: func(context.Context, changeset.ActorID) (Stream, error) {
			return &w.ends[0], nil
		}})
		ctx, cancel := context.WithTimeout(t.Context(), IdleLimit+time.Millisecond)
		defer cancel()
		l.PeerUp(actor(2))
		l.Run(ctx)
		if code, _, _ := w.state(); code != CodeIdle {
			t.Errorf("cancelled with %s", code)
		}
	})
}

func TestStreamThatOpensTooLateIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(-1)
		l := New(Config{Self: actor(1), Store: newMemoryStore(), Open: func(context.Context, changeset.ActorID) (Stream, error) {
			time.Sleep(IdleLimit + 100*time.Millisecond)
			return &w.ends[0], nil
		}})
		ctx, cancel := context.WithTimeout(t.Context(), IdleLimit+200*time.Millisecond)
		defer cancel()
		l.PeerUp(actor(2))
		l.Run(ctx)
		if code, _, _ := w.state(); code != CodeIdle {
			t.Errorf("cancelled with %s", code)
		}
	})
}

// TestSlowLinkIsNoSilence: what takes longer than IdleLimit in all, but moves,
// goes on. A large changeset moves in parts, many small ones one by one.
func TestSlowLinkIsNoSilence(t *testing.T) {
	noise := make([]byte, 500_000)
	rand.NewChaCha8([32]byte{}).Read(noise)
	for _, test := range []struct {
		desc string
		last changeset.Version
		text string
		pace time.Duration
	}{
		{"one of four parts, 4 s each", 1, hex.EncodeToString(noise), 4 * time.Second},
		{"sixty of one frame, 1 s each", 60, hex.EncodeToString(noise[:50_000]), time.Second},
	} {
		t.Run(test.desc, func(t *testing.T) {
			bubble(t, 2, func(t *testing.T, m *mesh) {
				m.stores[0].write(t, 1, 1, test.last, test.text)
				m.pace = test.pace
				m.run()
				m.loops[0].PeerUp(actor(2))
				m.settle(2 * time.Minute)
				if st := m.loops[0].Stats(); st.Failed != 0 {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

func TestOpeningThatHangsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		l := New(Config{Self: actor(1), Store: newMemoryStore(), Open: func(ctx context.Context, _ changeset.ActorID) (Stream, error) {
			tries++
			<-ctx.Done()
			return nil, ctx.Err()
		}})
		ctx, cancel := context.WithTimeout(t.Context(), IdleLimit+2*BackoffMin)
		defer cancel()
		l.PeerUp(actor(2))
		if err := l.Run(ctx); err != nil || tries != 2 {
			t.Errorf("%d tries, %v", tries, err)
		}
		if st := l.Stats(); st.Idle != 1 || st.Failed != 1 {
			t.Errorf("%+v", st)
		}
	})
}

// TestReadingStopsWhileTheStoreIsBusy shows the bound on what a session holds.
func TestReadingStopsWhileTheStoreIsBusy(t *testing.T) {
	bubble(t, 2, func(t *testing.T, m *mesh) {
		m.stores[0].applyTime = time.Hour
		m.run()
		w, result := m.serve()
		claim := versions.NewVector()
		claim.Put(actor(2), versions.Entry{Applied: parseRanges("1-1000")})
		b, _ := claim.AppendBinary(nil)
		w.ends[0].Send(FrameVector, b)
		sent := 0
		m.running.Go(func() {
			for v := range changeset.Version(1000) {
				_, payload, _ := encode(Changeset{sealed(t, changeset.ID{Actor: actor(2), Version: v + 1}, "text")})
				if w.ends[0].Send(FrameChangeset, payload) != nil {
					return
				}
				sent++
			}
		})
		time.Sleep(time.Minute)
		synctest.Wait()
		if taken := w.ends[1].taken; taken != 1+DepthCount || sent != DepthCount+wireFrames {
			t.Errorf("%d frames taken, %d changesets sent; want %d taken", taken, sent, 1+DepthCount)
		}
		m.stop()
		if err := <-result; err == nil {
			t.Error("Serve returned nil although the node stopped")
		}
	})
}

func TestOurOwnFailuresEndTheSession(t *testing.T) {
	for _, test := range []struct {
		desc  string
		spoil func(s *memoryStore)
	}{
		{"the log cannot be read", func(s *memoryStore) { s.readErr = errors.New("disk I/O error") }},
		{"the store does not apply", func(s *memoryStore) { s.applyErr = errors.New("disk full") }},
	} {
		t.Run(test.desc, func(t *testing.T) {
			bubble(t, 2, func(t *testing.T, m *mesh) {
				m.stores[0].write(t, 1, 1, 3, "text")
				m.stores[1].write(t, 2, 1, 3, "text")
				test.spoil(m.stores[0])
				m.run()
				m.connect()
				time.Sleep(20 * time.Second)
				st := m.loops[0].Stats()
				if st.Failed < 2 || st.Faults != 0 || st.Completed != 0 {
					t.Errorf("%+v", st)
				}
				if st.Started+st.Served > 16 {
					t.Errorf("no back-off: %+v", st)
				}
				m.stores[0].mu.Lock()
				m.stores[0].readErr, m.stores[0].applyErr = nil, nil
				m.stores[0].mu.Unlock()
				m.settle(BackoffMax * 2)
			})
		})
	}
}

func TestStopEndsSessionsInProgress(t *testing.T) {
	bubble(t, 2, func(t *testing.T, m *mesh) {
		run, stop := context.WithCancel(context.Background())
		m.running.Go(func() { m.loops[0].Run(run) })
		w, result := m.serve()
		w.ends[0].Send(FrameDigest, make([]byte, 32))
		synctest.Wait()
		stop()
		if err := <-result; !errors.Is(err, ErrStopped) {
			t.Errorf("Serve returned %v", err)
		}
		if code, _, _ := w.state(); code != CodeStopped {
			t.Errorf("cancelled with %s", code)
		}
		synctest.Wait()
		_, result = m.serve()
		if err := <-result; !errors.Is(err, ErrStopped) {
			t.Errorf("Serve after the end returned %v", err)
		}
	})
}

func TestNewsNeverBlocksAndIsBounded(t *testing.T) {
	l := New(Config{Self: actor(1), Store: newMemoryStore()}) // nobody runs it
	for n := range newsCapacity + 10 {
		l.PeerUp(actor(n + 2))
		l.Digest(actor(n+2), [32]byte{1})
	}
	q := l.Queues()
	if q[1].Depth != newsCapacity || q[1].Capacity != newsCapacity || q[1].Dropped != 20 {
		t.Errorf("%+v", q)
	}
}

// TestConcurrentCallers is for the race detector.
func TestConcurrentCallers(t *testing.T) {
	bubble(t, 3, func(t *testing.T, m *mesh) {
		m.run()
		for i, l := range m.loops {
			m.running.Go(func() {
				for n := range changeset.Version(40) {
					m.stores[i].write(t, i+1, n+1, n+1, "text")
					for j, s := range m.stores {
						l.PeerUp(actor(j + 1))
						l.Digest(actor(j+1), s.Vector().Digest())
					}
					l.Stats()
					l.Queues()
					l.Unserved()
					time.Sleep(20 * time.Millisecond)
				}
			})
		}
		time.Sleep(time.Second)
		m.settle(RoundInterval * 4)
		for i, s := range m.stores {
			for id, c := range s.log {
				if !bytes.Equal(c.Data, m.stores[0].log[id].Data) {
					t.Errorf("node %d: %v differs", i+1, id)
				}
			}
		}
	})
}

// BenchmarkSession moves changesets of one row between two loops in memory.
func BenchmarkSession(b *testing.B) {
	m := newMesh(nil, 2)
	m.stores[0].write(b, 1, 1, changeset.Version(b.N), "text")
	m.run()
	defer m.close()
	b.ResetTimer()
	m.loops[0].PeerUp(actor(2))
	for m.stores[1].Vector().Entry(actor(1)).Applied.Len() < uint64(b.N) {
		runtime.Gosched()
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "changesets/s")
}
