package transfer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/sync/versions"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func actor(n int) changeset.ActorID { return changeset.ActorID{1, 15: byte(n)} }

// vectorTo holds versions 1 … last of actor 9.
func vectorTo(last changeset.Version) *versions.Vector {
	v := versions.NewVector()
	if last > 0 {
		v.Put(actor(9), versions.Entry{Applied: versions.SetOf(versions.Range{First: 1, Last: last}), Head: changeset.Hash{byte(last)}})
	}
	return v
}

// memoryStore holds parts in memory: a Block is a number.
type memoryStore struct {
	mu     sync.Mutex
	vector *versions.Vector
	parts  int // that it gives
	grow   bool
	read   int   // parts read
	took   []int // parts taken, in order
	fill   *Fill
	broken error // of ReadState
	slow   time.Duration
	ended  int
}

func (s *memoryStore) Vector() *versions.Vector {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.vector
}

func (s *memoryStore) StateTables() []changeset.StateBlock {
	return []changeset.StateBlock{{Name: "t", Generation: 1, Key: []string{"id"}, Columns: []string{"a"}}}
}

func (s *memoryStore) ReadState(ctx context.Context, cursor []byte, held *versions.Vector) (p Part, err error) {
	select {
	case <-time.After(s.slow):
	case <-ctx.Done():
		return p, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return p, s.broken
	}
	s.read++
	n := 0
	if cursor != nil {
		n = int(binary.BigEndian.Uint32(cursor))
	}
	if s.grow {
		s.vector = vectorTo(s.vector.Entry(actor(9)).Applied.Last() + 1)
	}
	p.Vector, p.Rows = s.vector, 1
	p.Block = binary.BigEndian.AppendUint32(nil, uint32(n))
	if n+1 < s.parts {
		p.Next = binary.BigEndian.AppendUint32(nil, uint32(n+1))
	}
	return p, nil
}

func (s *memoryStore) Filling() *Fill {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fill
}

func (s *memoryStore) BeginFill(_ context.Context, source changeset.ActorID, first *versions.Vector, tables []changeset.StateBlock) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(tables) != 1 || tables[0].Name != "t" {
		return fmt.Errorf("tables %+v", tables)
	}
	s.fill, s.took = &Fill{Source: source, First: first, Goal: first}, nil
	return nil
}

func (s *memoryStore) FillPart(_ context.Context, p Part) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := *s.fill
	f.Cursor, f.Goal, f.Complete = p.Next, p.Vector, p.Next == nil
	f.Rows++
	s.took = append(s.took, int(binary.BigEndian.Uint32(p.Block)))
	s.fill = &f
	if f.Complete {
		s.vector = f.First
	}
	return nil
}

func (s *memoryStore) SettleFill(context.Context) ([]versions.Need, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lacks := versions.Missing(s.vector, s.fill.Goal)
	if len(lacks) == 0 {
		s.fill = nil
	}
	return lacks, nil
}

func (s *memoryStore) EndFill(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fill = nil
	s.ended++
	return nil
}

// counts returns how many parts were taken, and how often the rest was given up.
func (s *memoryStore) counts() (took, ended int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.took), s.ended
}

// pipe is one end of a stream in memory.
type pipe struct {
	in, out chan frame
	cut     chan struct{} // closed: nothing more goes through
	once    *sync.Once
	left    *int // frames that the other end may send, negative: any number
}

type frame struct {
	kind    uint8
	payload []byte
}

var errCut = errors.New("cut")

func newPipe(frames int) (client, server *pipe) {
	a, b, cut, once, any := make(chan frame), make(chan frame), make(chan struct{}), new(sync.Once), -1
	return &pipe{a, b, cut, once, &any}, &pipe{b, a, cut, once, &frames}
}

func (p *pipe) Send(kind uint8, payload []byte) error {
	if *p.left == 0 {
		p.Cancel(0)
	}
	*p.left--
	select {
	case p.out <- frame{kind, append([]byte(nil), payload...)}:
		return nil
	case <-p.cut:
		return errCut
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
		return 0, nil, errCut
	}
}

func (p *pipe) CloseSend() error { close(p.out); return nil }
func (p *pipe) Cancel(uint64)    { p.once.Do(func() { close(p.cut) }) }
func (p *pipe) Close() error     { return nil }

// pair is a loop whose streams go to others.
type pair struct {
	store   *memoryStore
	loop    *Loop
	peers   map[changeset.ActorID]*memoryStore
	frames  func() int // that a stream lets through, negative: all
	held    bool
	opened  []changeset.ActorID
	serving sync.WaitGroup
}

func newPair(peers map[changeset.ActorID]*memoryStore) *pair {
	p := &pair{store: &memoryStore{vector: versions.NewVector()}, peers: peers, frames: func() int { return -1 }}
	p.loop = New(Config{
		Store: p.store, Held: func([]versions.Need) bool { return p.held },
		Sources: func() (out Lacking) {
			if p.store.Vector().Len() > 0 {
				return out
			}
			for n := range 9 {
				if p.peers[actor(n)] != nil {
					out.Peers = append(out.Peers, actor(n))
				}
			}
			out.Versions, out.Most = 7, true
			return out
		},
		Open: func(ctx context.Context, to changeset.ActorID) (Stream, error) {
			p.opened = append(p.opened, to)
			source := p.peers[to]
			if source == nil {
				return nil, errors.New("no link")
			}
			client, server := newPipe(p.frames())
			p.serving.Go(func() { New(Config{Store: source}).Serve(ctx, actor(0), server) })
			return client, nil
		},
	})
	return p
}

// run runs the loop until the condition holds, within the time.
func (p *pair) run(t *testing.T, limit time.Duration, done func() bool) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { p.loop.Run(ctx) })
	for end := time.Now().Add(limit); !done() && time.Now().Before(end); {
		time.Sleep(interval / 2)
	}
	stop()
	running.Wait()
	p.serving.Wait()
	if !done() {
		t.Errorf("after %v: %+v", limit, p.store.Filling())
	}
}

func TestFillsAnEmptyStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &memoryStore{vector: vectorTo(7), parts: 5}
		p := newPair(map[changeset.ActorID]*memoryStore{actor(1): source})
		p.run(t, time.Minute, func() bool { return p.store.Vector().Equal(vectorTo(7)) && p.store.Filling() == nil })
		if fmt.Sprint(p.store.took) != "[0 1 2 3 4]" || len(p.opened) != 1 {
			t.Errorf("took %v by %d streams", p.store.took, len(p.opened))
		}
	})
}

// TestGoesOnWhereItWasCut, wherever that was.
func TestGoesOnWhereItWasCut(t *testing.T) {
	for frames := 1; frames < 20; frames++ {
		synctest.Test(t, func(t *testing.T) {
			source := &memoryStore{vector: vectorTo(7), parts: 12, grow: true}
			p := newPair(map[changeset.ActorID]*memoryStore{actor(1): source})
			p.frames = func() int { return frames }
			p.run(t, 10*time.Minute, func() bool { f := p.store.Filling(); return frames < 4 || f != nil && f.Complete })
			if frames < 4 {
				return // not one part fits through
			}
			if fmt.Sprint(p.store.took) != "[0 1 2 3 4 5 6 7 8 9 10 11]" || source.read > 12+3*len(p.opened) {
				t.Errorf("cut after %d frames: took %v, %d parts were read for %d streams", frames, p.store.took, source.read, len(p.opened))
			}
			if f := p.store.Filling(); f.Goal.Entry(actor(9)).Applied.Last() < 7+12 || !f.First.Equal(vectorTo(7)) {
				t.Errorf("goal %v, first %v", f.Goal.Entry(actor(9)).Applied, f.First.Entry(actor(9)).Applied)
			}
		})
	}
}

// TestAnotherSourceBegins when the first is away for long, not before.
func TestAnotherSourceBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := &memoryStore{vector: vectorTo(7), parts: 5}, &memoryStore{vector: vectorTo(8), parts: 3}
		p := newPair(map[changeset.ActorID]*memoryStore{actor(1): one})
		p.frames = func() int { return 6 }
		p.run(t, time.Minute, func() bool { took, _ := p.store.counts(); return p.store.Filling() != nil && took > 1 })
		if why := p.loop.Failure(); !strings.Contains(why, "cut") {
			t.Errorf("failed because of %q", why)
		}
		p.peers = map[changeset.ActorID]*memoryStore{actor(2): two}
		p.frames = func() int { return -1 }
		began := time.Now()
		p.run(t, 5*time.Minute, func() bool { return p.store.Vector().Equal(vectorTo(8)) && p.store.Filling() == nil })
		if waited := time.Since(began); waited < sourceAway || fmt.Sprint(p.store.took) != "[0 1 2]" {
			t.Errorf("after %v; took %v", waited, p.store.took)
		}
	})
}

// TestWaitsForTheLogsOfOthers where there are rows already.
func TestWaitsForTheLogsOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &memoryStore{vector: vectorTo(7), parts: 1}
		p := newPair(map[changeset.ActorID]*memoryStore{actor(1): source})
		p.store.vector = vectorTo(1)
		lacking := uint64(40)
		p.loop.cfg.Sources = func() Lacking {
			if lacking > 0 {
				lacking-- // some log brings it, slowly
			}
			if lacking < 20 {
				lacking = 19
			}
			return Lacking{Peers: []changeset.ActorID{actor(1)}, Versions: lacking}
		}
		began := time.Now()
		p.run(t, time.Minute, func() bool { return p.store.Filling() != nil })
		if waited := time.Since(began); waited < 20*interval+patience {
			t.Errorf("began after %v", waited)
		}
	})
}

// TestGivesUpWhatNobodyHolds, after a minute in which nobody did.
func TestGivesUpWhatNobodyHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &memoryStore{vector: vectorTo(7), parts: 3, grow: true}
		p := newPair(map[changeset.ActorID]*memoryStore{actor(1): source})
		p.held = true
		p.run(t, time.Minute, func() bool { f := p.store.Filling(); return f != nil && f.Complete })
		p.run(t, 5*time.Minute, func() bool { return true })
		time.Sleep(5 * time.Minute)
		p.run(t, time.Second, func() bool { _, ended := p.store.counts(); return ended == 0 })
		p.held = false
		began := time.Now()
		p.run(t, 5*time.Minute, func() bool { _, ended := p.store.counts(); return ended == 1 })
		if waited := time.Since(began); waited < settling {
			t.Errorf("given up after %v", waited)
		}
	})
}

// TestServeRefuses, and says why.
func TestServeRefuses(t *testing.T) {
	for _, test := range []struct {
		desc   string
		store  *memoryStore
		frame  uint8
		sent   []byte
		answer string
		err    string
	}{
		{"while it is being filled", &memoryStore{vector: vectorTo(1), fill: &Fill{}}, frameRequest, nil, "it is being filled itself", ""},
		{"with a broken store", &memoryStore{vector: vectorTo(1), broken: errCut}, frameRequest, []byte{0, 1, 0}, "its store failed", "cut"},
		{"another frame", &memoryStore{vector: vectorTo(1)}, frameNext, nil, "", "frame of type 5"},
		{"half a request", &memoryStore{vector: vectorTo(1)}, frameRequest, []byte{9, 1}, "", "truncated"},
		{"a cursor without end", &memoryStore{vector: vectorTo(1)}, frameRequest, append(binary.AppendUvarint(nil, maxCursor+1), make([]byte, maxCursor+1)...), "", "too large"},
	} {
		synctest.Test(t, func(t *testing.T) {
			client, server := newPipe(-1)
			var serving sync.WaitGroup
			var served error
			serving.Go(func() { served = New(Config{Store: test.store}).Serve(t.Context(), actor(1), server) })
			serving.Go(func() { client.Send(test.frame, test.sent) })
			answer := ""
			for {
				kind, payload, err := client.Receive()
				if err != nil {
					break
				}
				if kind == frameRefused {
					answer = refusal(payload)
				}
			}
			client.Cancel(0)
			serving.Wait()
			if answer != test.answer || (served == nil) != (test.err == "") || served != nil && !strings.Contains(served.Error(), test.err) {
				t.Errorf("%s: answered %q, error %v", test.desc, answer, served)
			}
		})
	}
}

// TestServesFewAtOnce, and lets go of those that take nothing.
func TestServesFewAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Store: &memoryStore{vector: vectorTo(1), parts: 1000}})
		var serving sync.WaitGroup
		var clients []*pipe
		for range maxServed {
			client, server := newPipe(-1)
			serving.Go(func() { l.Serve(t.Context(), actor(1), server) })
			client.Send(frameRequest, []byte{0, 1, 0})
			clients = append(clients, client)
		}
		synctest.Wait()
		client, server := newPipe(-1)
		serving.Go(func() { l.Serve(t.Context(), actor(2), server) })
		if kind, payload, err := client.Receive(); kind != frameRefused || refusal(payload) != "it serves as many as it can" {
			t.Errorf("frame %d, %q, %v", kind, payload, err)
		}
		began := time.Now()
		serving.Wait()
		if waited := time.Since(began); waited > 2*stalled {
			t.Errorf("let go after %v", waited)
		}
		for _, c := range clients {
			c.Cancel(0)
		}
	})
}

// TestHostileSource: what it sends wrong ends the stream, and nothing is begun.
func TestHostileSource(t *testing.T) {
	for _, frames := range [][]frame{
		{{frameNext, nil}},
		{{frameBegin, []byte{1}}},
		{{frameBegin, []byte{2, 1, 0, 1, 1}}},
		{{frameBegin, nil}},
		{{99, nil}},
		{},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newPair(map[changeset.ActorID]*memoryStore{actor(1): {vector: vectorTo(1)}})
			p.loop.cfg.Open = func(context.Context, changeset.ActorID) (Stream, error) {
				client, server := newPipe(-1)
				p.serving.Go(func() {
					if server.Receive(); true {
						for _, f := range frames {
							server.Send(f.kind, f.payload)
						}
						server.CloseSend()
					}
				})
				return client, nil
			}
			if err := p.loop.fill(t.Context(), actor(1), nil); err == nil || p.store.Filling() != nil {
				t.Errorf("%v: %v, %+v", frames, err, p.store.Filling())
			}
			p.serving.Wait()
		})
	}
}

func FuzzMessages(f *testing.F) {
	r, err := request{[]byte("cursor"), vectorTo(7)}.append(nil)
	b, err2 := begin{vectorTo(7), (&memoryStore{}).StateTables()}.append(nil)
	if err = errors.Join(err, err2); err != nil {
		f.Fatal(err)
	}
	f.Add(r)
	f.Add(b)
	f.Fuzz(func(t *testing.T, data []byte) {
		if m, err := decodeRequest(data); err == nil {
			if again, err := m.append(nil); err != nil || string(again) != string(data) {
				t.Fatalf("request again\n%x\n%x, %v", again, data, err)
			}
		}
		if m, err := decodeBegin(data); err == nil {
			if again, err := m.append(nil); err != nil || string(again) != string(data) {
				t.Fatalf("begin again\n%x\n%x, %v", again, data, err)
			}
		}
	})
}
