package verify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/patinadb/patina/changeset"
)

// Stream is a bidirectional stream of frames, as antientropy has it.
type Stream interface {
	Send(frame uint8, payload []byte) error
	Receive() (frame uint8, payload []byte, err error)
	CloseSend() error
	Cancel(code uint64)
	Close() error
}

// Config is what a Loop is made of.
type Config struct {
	// Sums returns those of the last commit, without blocking; false while the
	// database holds more than its vector says, since it is being filled.
	Sums func() (Sums, bool)
	// Open opens a stream to a peer that is up.
	Open func(ctx context.Context, to changeset.ActorID) (Stream, error)
	// Peers returns who is linked.
	Peers func() []changeset.ActorID
	Rand  *rand.Rand // seeded at random if nil
	Log   *slog.Logger
}

// Unequal is a peer that holds the same versions and other rows.
type Unequal struct {
	Peer   changeset.ActorID
	Tables []string // ASCII-folded, sorted
	Since  time.Time
}

// Stats counts comparisons since the start.
type Stats struct {
	Equal, Unequal, Moving uint64
}

// Times of the loop.
const (
	period = 30 * time.Second // between rounds, half of it more or less at random
	again  = time.Second      // after a comparison that could not be made
	tries  = 10               // in a row, each with another peer perhaps
	limit  = 10 * time.Second // of one comparison
)

// Codes that a stream is cancelled with.
const (
	codeFault   = 1
	codeStopped = 6
)

// Loop compares the sums of one node with those of its peers.
type Loop struct {
	cfg                    Config
	equal, unequal, moving atomic.Uint64

	mu    sync.Mutex // guards peers
	peers map[changeset.ActorID]Unequal
}

// New returns a loop that does nothing until Run.
func New(cfg Config) *Loop {
	if cfg.Rand == nil {
		cfg.Rand = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Loop{cfg: cfg, peers: map[changeset.ActorID]Unequal{}}
}

// Stats returns what was compared. It may be called from any goroutine.
func (l *Loop) Stats() Stats {
	return Stats{l.equal.Load(), l.unequal.Load(), l.moving.Load()}
}

// Unequal returns the linked peers with which rows differ, by actor id. It may be
// called from any goroutine.
func (l *Loop) Unequal() (out []Unequal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, u := range l.peers {
		out = append(out, u)
	}
	slices.SortFunc(out, func(a, b Unequal) int { return a.Peer.Compare(b.Peer) })
	return out
}

// Run compares until ctx ends.
func (l *Loop) Run(ctx context.Context) error {
	timer := time.NewTimer(l.pause())
	defer timer.Stop()
	for failed := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		if l.round(ctx) || failed >= tries {
			failed = 0
			timer.Reset(l.pause())
		} else {
			failed++
			timer.Reset(again)
		}
	}
}

func (l *Loop) pause() time.Duration {
	return period/2 + time.Duration(l.cfg.Rand.Int64N(int64(period)))
}

// round compares with one peer, and reports whether that could be done.
func (l *Loop) round(ctx context.Context) bool {
	peers := l.cfg.Peers()
	l.forget(peers)
	sums, ok := l.cfg.Sums()
	if len(peers) == 0 || !ok {
		return true
	}
	peer := peers[l.cfg.Rand.IntN(len(peers))]
	v, tables, err := l.ask(ctx, peer, &sums)
	if err != nil {
		if ctx.Err() == nil {
			l.cfg.Log.Debug("no comparison", "peer", peer, "err", err)
		}
		return false
	}
	l.note(peer, v, tables)
	return v != moving
}

// ask lets a peer compare.
func (l *Loop) ask(ctx context.Context, peer changeset.ActorID, sums *Sums) (v verdict, tables []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	s, err := l.cfg.Open(ctx, peer)
	if err != nil {
		return v, nil, err
	}
	defer watch(ctx, s)()
	if err := errors.Join(s.Send(frameSums, sums.append(nil)), s.CloseSend()); err != nil {
		return v, nil, err
	}
	frame, payload, err := s.Receive()
	if err == nil && frame != frameVerdict {
		err = fmt.Errorf("frame of type %d in the place of a verdict", frame)
	}
	if err == nil {
		v, tables, err = decodeVerdict(payload)
	}
	if err != nil {
		s.Cancel(codeFault)
	}
	return v, tables, err
}

// Serve compares for a peer that opened a stream, and returns when that has ended.
func (l *Loop) Serve(ctx context.Context, from changeset.ActorID, s Stream) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	defer watch(ctx, s)()
	frame, payload, err := s.Receive()
	if err != nil {
		return err
	}
	var theirs Sums
	if frame != frameSums {
		err = fmt.Errorf("frame of type %d in the place of sums", frame)
	} else {
		theirs, err = decodeSums(payload)
	}
	if err != nil {
		s.Cancel(codeFault)
		return fmt.Errorf("verify: %v: %w", from, err)
	}
	v, tables := moving, []string(nil)
	if ours, ok := l.cfg.Sums(); ok {
		v, tables = compare(&ours, &theirs)
	}
	l.note(from, v, tables)
	return errors.Join(s.Send(frameVerdict, appendVerdict(nil, v, tables)), s.CloseSend())
}

// watch cancels s when ctx ends. The function that it returns waits for that, and
// closes s.
func watch(ctx context.Context, s Stream) func() {
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-ctx.Done():
			s.Cancel(codeStopped)
		case <-done:
		}
	})
	return func() {
		close(done)
		watching.Wait()
		s.Close()
	}
}

// note raises or clears the alarm for a peer.
func (l *Loop) note(peer changeset.ActorID, v verdict, tables []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	was, known := l.peers[peer]
	switch v {
	case moving:
		l.moving.Add(1)
	case equal:
		l.equal.Add(1)
		if known {
			l.cfg.Log.Info("rows are equal again", "peer", peer)
			delete(l.peers, peer)
		}
	case unequal:
		l.unequal.Add(1)
		if known && slices.Equal(was.Tables, tables) {
			return
		}
		if !known {
			was.Since = time.Now()
		}
		l.peers[peer] = Unequal{peer, tables, was.Since}
		l.cfg.Log.Error("rows differ although both hold the same versions: run patina check on both files", "peer", peer, "tables", strings.Join(tables, ", "))
	}
}

// forget drops the alarms of peers that are gone.
func (l *Loop) forget(linked []changeset.ActorID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for peer := range l.peers {
		if !slices.Contains(linked, peer) {
			delete(l.peers, peer)
		}
	}
}
