package store

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/patinadb/patina/changeset/sqlite"
)

// unlimited is a time limit for what only a stop may end.
const unlimited = time.Duration(math.MaxInt64)

// EndStatements ends what clients' statements and schema changes still run on
// the writer at t, and whatever of them runs later: they fail with ErrStopped and
// changed nothing. A node that stops does not wait for them. It may be called
// from any goroutine.
func (s *Store) EndStatements(t time.Time) { s.endAt.Store(&t) }

// ending reports whether the time of EndStatements has come.
func (s *Store) ending() bool {
	t := s.endAt.Load()
	return t != nil && !time.Now().Before(*t)
}

// limit bounds the statements that follow until lift is called: by d, by
// EndStatements, by ctx, and by what the capture buffer takes.
func (w *writer) limit(ctx context.Context, d time.Duration) (lift func()) {
	w.limitStatement(ctx, time.Now().Add(d))
	return w.lift
}

// limitStatement is limit until a time, and allocates nothing: many statements
// are shorter than a look at the heap.
func (w *writer) limitStatement(ctx context.Context, end time.Time) {
	if w.limitNow == nil {
		w.limitNow = func() time.Time {
			if w.store.ending() || w.limitCtx.Err() != nil || w.capture.err == errTooManyChanges {
				return w.limitEnd // no earlier time is past it
			}
			return time.Now()
		}
	}
	w.limitCtx, w.limitEnd = ctx, end
	w.conn.SetDeadline(end, w.limitNow)
}

func (w *writer) lift() { w.conn.SetDeadline(time.Time{}, nil) }

// ended returns ErrStopped in the place of an interrupt that EndStatements or the
// end of ctx made.
func (w *writer) ended(ctx context.Context, err error) error {
	switch {
	case !errors.Is(err, sqlite.ErrInterrupt):
		return err
	case w.store.ending():
		return ErrStopped
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return err
}
