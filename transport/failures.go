package transport

import (
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"sync"
	"time"

	"github.com/patinadb/patina/changeset"
)

const (
	logInterval = time.Minute // between two lines about the same peer and code
	logMemory   = 256         // pairs of peer and code remembered; above it failures are only counted
)

// outcome is a counter's key: what ended a link and who decided.
type outcome struct {
	code   Code
	remote bool
}

// failures counts how links end and logs it, once per actor or host and code in
// logInterval.
type failures struct {
	log *slog.Logger

	mu         sync.Mutex
	counts     map[outcome]uint64
	logged     map[logKey]time.Time
	suppressed uint64
}

// logKey is a peer's actor, or the address of one that said none: its port may
// be another at each attempt.
type logKey struct {
	host  netip.Addr
	actor changeset.ActorID
	outcome
}

func keyOf(e *LinkError) logKey {
	k := logKey{actor: e.Actor, outcome: outcome{e.Code, e.Remote}}
	if k.actor.IsZero() {
		k.host = e.Peer.Addr()
	}
	return k
}

func newFailures(log *slog.Logger) *failures {
	return &failures{log: log, counts: map[outcome]uint64{}, logged: map[logKey]time.Time{}}
}

// record is called once for the end of each link or attempt.
func (f *failures) record(e *LinkError, now time.Time) {
	if !f.count(keyOf(e), now) {
		return
	}
	args := []any{"peer", e.Peer.String(), "err", e.Error()}
	if !e.Actor.IsZero() {
		args = append(args, "actor", e.Actor.String())
	}
	f.log.Log(context.Background(), level(e.Code), "link ended", args...)
}

// count raises the counter and reports whether to log.
func (f *failures) count(k logKey, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts[k.outcome]++
	if last, ok := f.logged[k]; ok && now.Sub(last) < logInterval {
		f.suppressed++
		return false
	}
	if len(f.logged) >= logMemory {
		maps.DeleteFunc(f.logged, func(_ logKey, at time.Time) bool { return now.Sub(at) >= logInterval })
	}
	if len(f.logged) >= logMemory {
		f.suppressed++
		return false
	}
	f.logged[k] = now
	return true
}

// level is low for what is part of life, and a warning for what somebody has
// to look at.
func level(c Code) slog.Level {
	switch c {
	case CodeLeaving, CodeSuperseded, CodeSelf, CodeUnreachable:
		return slog.LevelDebug
	case CodeIdle, CodeReset, CodeGhost, CodeNetwork:
		return slog.LevelInfo
	}
	return slog.LevelWarn
}
