package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patinadb/patina/changeset"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func actor(n int) changeset.ActorID { return changeset.ActorID{1, 15: byte(n)} }

// pipe is one end of a stream in memory.
type pipe struct {
	in, out chan frame
	cut     chan struct{}
	once    *sync.Once
}

type frame struct {
	kind    uint8
	payload []byte
}

func newPipe() (client, server *pipe) {
	a, b, cut, once := make(chan frame, 1), make(chan frame, 1), make(chan struct{}), new(sync.Once)
	return &pipe{a, b, cut, once}, &pipe{b, a, cut, once}
}

func (p *pipe) Send(kind uint8, payload []byte) error {
	select {
	case p.out <- frame{kind, payload}:
		return nil
	case <-p.cut:
		return errors.New("cut")
	}
}

func (p *pipe) Receive() (uint8, []byte, error) {
	select {
	case f, ok := <-p.in:
		if !ok {
			return 0, nil, io.EOF
		}
		return f.kind, f.payload, nil
	case <-p.cut:
		return 0, nil, errors.New("cut")
	}
}

func (p *pipe) CloseSend() error { close(p.out); return nil }
func (p *pipe) Cancel(uint64)    { p.once.Do(func() { close(p.cut) }) }
func (p *pipe) Close() error     { return nil }

// world is two loops that can compare.
type world struct {
	sums    [2]Sums
	loops   [2]*Loop
	linked  bool
	opened  int
	filling [2]bool
	serving sync.WaitGroup
}

func newWorld() *world {
	w := &world{linked: true}
	for i := range w.loops {
		w.sums[i] = Sums{Tables: map[string]changeset.Sum{"Item": {Low: 1}, "flag": {Low: 2, High: 3}}}
		w.loops[i] = New(Config{
			Rand: rand.New(rand.NewPCG(1, uint64(i))),
			Sums: func() (Sums, bool) { return w.sums[i], !w.filling[i] },
			Peers: func() []changeset.ActorID {
				if !w.linked {
					return nil
				}
				return []changeset.ActorID{actor(1 - i)}
			},
			Open: func(ctx context.Context, to changeset.ActorID) (Stream, error) {
				w.opened++
				client, server := newPipe()
				w.serving.Go(func() { w.loops[1-i].Serve(ctx, actor(i), server) })
				return client, nil
			},
		})
	}
	return w
}

// run lets the first loop run for a time.
func (w *world) run(d time.Duration) {
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { w.loops[0].Run(ctx) })
	time.Sleep(d)
	stop()
	running.Wait()
	w.serving.Wait()
}

// TestAlarm at both when sums differ, and none any more when they are equal again.
func TestAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.run(2 * period)
		for i, l := range w.loops {
			if s := l.Stats(); s.Equal == 0 || s.Unequal+s.Moving != 0 || len(l.Unequal()) != 0 {
				t.Errorf("node %d: %+v, %v", i, s, l.Unequal())
			}
		}
		w.sums[1].Tables = map[string]changeset.Sum{"item": {Low: 1, High: 1}, "flag": {Low: 2, High: 3}}
		w.run(2 * period)
		for i, l := range w.loops {
			u := l.Unequal()
			if len(u) != 1 || u[0].Peer != actor(1-i) || fmt.Sprint(u[0].Tables) != "[item]" || time.Since(u[0].Since) > 2*period || l.Stats().Unequal == 0 {
				t.Errorf("node %d: %+v", i, u)
			}
		}
		w.sums[1].Tables = maps.Clone(w.sums[0].Tables)
		w.run(2 * period)
		for i, l := range w.loops {
			if u := l.Unequal(); len(u) != 0 {
				t.Errorf("node %d: %+v", i, u)
			}
		}
	})
}

// TestAlarmGoesWithThePeer that it is of.
func TestAlarmGoesWithThePeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.sums[1].Tables = map[string]changeset.Sum{"item": {Low: 1}}
		w.run(2 * period)
		if u := w.loops[0].Unequal(); len(u) != 1 || fmt.Sprint(u[0].Tables) != "[flag]" {
			t.Errorf("%+v", u)
		}
		w.linked = false
		w.run(2 * period)
		if u := w.loops[0].Unequal(); len(u) != 0 {
			t.Errorf("%+v", u)
		}
	})
}

// TestNothingIsSaidWhileDigestsDiffer, but it is tried again soon, and not for ever.
func TestNothingIsSaidWhileDigestsDiffer(t *testing.T) {
	for _, change := range []func(*Sums){func(s *Sums) { s.Vector[3]++ }, func(s *Sums) { s.Schema[3]++ }} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			w.sums[1].Tables = nil
			change(&w.sums[1])
			w.run(10 * period)
			if s := w.loops[0].Stats(); len(w.loops[0].Unequal()) != 0 || s.Equal+s.Unequal != 0 || s.Moving < 5*tries || s.Moving > 20*(tries+1) {
				t.Errorf("%+v, %v", s, w.loops[0].Unequal())
			}
		})
	}
}

// TestNothingIsSaidOfAStoreThatIsBeingFilled, by either.
func TestNothingIsSaidOfAStoreThatIsBeingFilled(t *testing.T) {
	for i := range 2 {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			w.filling[i] = true
			w.sums[1].Tables = map[string]changeset.Sum{"item": {Low: 9}}
			w.run(3 * period)
			for _, l := range w.loops {
				if s := l.Stats(); len(l.Unequal()) != 0 || s.Equal+s.Unequal != 0 {
					t.Errorf("%+v, %v", s, l.Unequal())
				}
			}
		})
	}
}

// TestSilentPeer costs ten seconds.
func TestSilentPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.loops[0].cfg.Open = func(context.Context, changeset.ActorID) (Stream, error) {
			client, _ := newPipe()
			return client, nil
		}
		began := time.Now()
		if _, _, err := w.loops[0].ask(t.Context(), actor(1), &w.sums[0]); err == nil || time.Since(began) != limit {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		_, server := newPipe()
		if err := w.loops[0].Serve(t.Context(), actor(1), server); err == nil || time.Since(began) != 2*limit {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestBrokenMessages(t *testing.T) {
	sums := (&Sums{Tables: map[string]changeset.Sum{"a": {Low: 1}, "b": {}}}).append(nil)
	for _, test := range []struct {
		desc string
		data []byte
		want error
	}{
		{"half a digest", sums[:40], changeset.ErrTruncated},
		{"half a name", sums[:65], changeset.ErrTruncated},
		{"half a sum", sums[:70], changeset.ErrTruncated},
		{"no name", append(append([]byte(nil), sums[:64]...), append([]byte{0}, make([]byte, 16)...)...), changeset.ErrCorrupt},
		{"a name twice", append(append([]byte(nil), sums...), sums[64:82]...), changeset.ErrCorrupt},
		{"a large name", changeset.AppendBytes(append([]byte(nil), sums[:64]...), make([]byte, changeset.MaxNameSize+1)), changeset.ErrTooLarge},
		{"a name in capitals", append(append([]byte(nil), sums[:64]...), append([]byte{1, 'A'}, make([]byte, 16)...)...), changeset.ErrCorrupt},
	} {
		if _, err := decodeSums(test.data); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", test.desc, err)
		}
	}
	for data, want := range map[string]error{"": changeset.ErrTruncated, "\x03": changeset.ErrCorrupt, "\x02": changeset.ErrCorrupt, "\x01\x01a": changeset.ErrCorrupt, "\x02\x05a": changeset.ErrTruncated} {
		if _, _, err := decodeVerdict([]byte(data)); !errors.Is(err, want) {
			t.Errorf("verdict %q: %v", data, err)
		}
	}
	client, server := newPipe()
	client.Send(7, nil)
	if err := New(Config{}).Serve(t.Context(), actor(1), server); err == nil || !strings.Contains(err.Error(), "frame of type 7") {
		t.Errorf("another frame: %v", err)
	}
}

func FuzzMessages(f *testing.F) {
	f.Add((&Sums{Tables: map[string]changeset.Sum{"a": {Low: 1}, "b": {}}}).append(nil))
	f.Add(appendVerdict(nil, unequal, []string{"a", "b"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := decodeSums(data); err == nil {
			if again := s.append(nil); string(again) != string(data) {
				t.Fatalf("again\n%x\n%x", again, data)
			}
		}
		if v, tables, err := decodeVerdict(data); err == nil {
			if again := appendVerdict(nil, v, tables); string(again) != string(data) {
				t.Fatalf("again\n%x\n%x", again, data)
			}
		}
	})
}
