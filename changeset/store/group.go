package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/hlc"
	"github.com/patinadb/patina/changeset/sqlite"
)

// A group takes nothing more after this long, this many requests, or this many
// captured bytes. Nobody waits for a group to fill: it takes what is queued.
const (
	groupTime     = 5 * time.Millisecond
	groupRequests = 512
	groupBytes    = 4 << 20
	// groupRuns is how often requests run in one transaction with others that take
	// it down, before those that ran before the last of these commit by themselves.
	// So k of them in a group make it run min(k, groupRuns) times, and commit
	// 1 + k/groupRuns times.
	groupRuns = 8
)

// request is one API transaction on its way through the writer.
type request struct {
	ctx        context.Context
	statements []sqlite.Statement
	state      atomic.Int32 // requestQueued, requestTaken or requestDropped
	done       chan struct{}

	// Written by the writer before done is closed.
	results []sqlite.Result
	id      changeset.ID
	err     error
	final   bool // results hold an error that running again would not change
}

const (
	requestQueued int32 = iota
	requestTaken
	requestDropped
)

// Transact runs the statements as one transaction: all or nothing. On a failing
// statement its slot, the last, holds the error and nothing was applied. The id
// names the version of the group that carried the request, Version 0 if the
// group changed nothing replicated. An error means that the whole request failed:
// ErrStopped, the context's, sqlite.ErrFull or another failure of the disk.
//
// When ctx ends while the request is queued, it is dropped; once started it runs
// to its end, and Transact waits for that.
func (s *Store) Transact(ctx context.Context, statements []sqlite.Statement) ([]sqlite.Result, changeset.ID, error) {
	r := &request{ctx: ctx, statements: statements, done: make(chan struct{})}
	if s.runAlone(r) {
		return r.results, r.id, r.err
	}
	if err := s.queues.enqueue(ctx, s.stopped, r); err != nil {
		return nil, changeset.ID{}, err
	}
	select {
	case <-r.done:
		return r.results, r.id, r.err
	case <-ctx.Done():
		if r.state.CompareAndSwap(requestQueued, requestDropped) {
			return nil, changeset.ID{}, ctx.Err()
		}
	case <-s.stopped:
		if r.state.CompareAndSwap(requestQueued, requestDropped) {
			return nil, changeset.ID{}, ErrStopped
		}
	}
	<-r.done
	return r.results, r.id, r.err
}

// take claims a queued request for the writer. One whose context has ended is
// answered instead: whoever waits for it may not have noticed yet.
func (r *request) take() bool {
	if !r.state.CompareAndSwap(requestQueued, requestTaken) {
		return false
	}
	if err := r.ctx.Err(); err != nil {
		r.fail(err)
		return false
	}
	return true
}

func (r *request) fail(err error) {
	r.results, r.id, r.err = nil, changeset.ID{}, err
	close(r.done)
}

// failed reports whether a statement of the request failed.
func (r *request) failed() bool {
	return len(r.results) > 0 && r.results[len(r.results)-1].Err != nil
}

// refuse puts err into the slot of the last statement that ran.
func (r *request) refuse(err error) {
	if len(r.results) == 0 {
		r.results = append(r.results, sqlite.Result{})
	}
	r.results[len(r.results)-1] = sqlite.Result{Err: err}
	r.final = true
}

// errUnstampable: a row has come to the end of what the protocol can count.
var errUnstampable = errors.New("store: row cannot be stamped")

// refusal reports whether err, which came up when the clocks of a group or its
// changeset were made, is about the rows of one request: too many of them, or one
// that can have no further version. It fails that request, not its group.
func refusal(err error) bool {
	return errors.Is(err, changeset.ErrTooLarge) || errors.Is(err, changeset.ErrInvalid) || errors.Is(err, errTooManyChanges) ||
		errors.Is(err, errUnstampable) || errors.Is(err, errDamaged)
}

// behindError: a row that a request overwrites carries a stamp at or above the
// version's time. The version must be stamped above floor.
type behindError struct{ floor changeset.Stamp }

func (e *behindError) Error() string {
	return fmt.Sprintf("store: a stamp of %v is ahead of the clock", e.floor.Time)
}

// runGroup commits first and what is queued behind it; alone reports that this was
// nothing.
func (w *writer) runGroup(first *request) (alone bool) {
	end := time.Now().Add(w.turns.allowance(requestTurn, w.groupTime))
	n := 0
	w.commit([]*request{first}, func() *request {
		if n++; n >= groupRequests || len(w.capture.data)+w.returned.group >= groupBytes || !time.Now().Before(end) {
			return nil
		}
		return w.store.queues.poll()
	})
	return n <= 1
}

// commit runs rs and what more yields in one SQLite transaction and answers all
// of them. What rolls the whole transaction back by itself (OR ROLLBACK,
// RAISE(ROLLBACK), a deadline) costs the other requests nothing but time: none
// was answered yet, so they run again, and the culprit after them, alone.
func (w *writer) commit(rs []*request, more func() *request) { w.commitRun(rs, more, 1) }

// commitRun is commit where the requests run for the n-th time together.
func (w *writer) commitRun(rs []*request, more func() *request, n int) {
	if len(rs) == 0 && more != nil {
		if r := more(); r != nil {
			rs = []*request{r}
		}
	}
	if len(rs) == 0 {
		return
	}
	g := &group{writer: w}
	err := g.attempt(rs, more)
	var behind *behindError
	switch {
	case err == nil:
		g.answer()
	case g.culprit != nil && len(g.ran) == 1:
		g.culprit.final = true
		g.answer()
	case g.culprit != nil:
		w.commitWithout(g, more, n)
	case len(g.ran) == 1 && errors.As(err, &behind):
		w.commitAbove(g.ran[0], behind.floor)
	case len(g.ran) == 1 && refusal(err):
		g.ran[0].refuse(err)
		g.answer()
	case errors.As(err, &behind) || refusal(err):
		// Some request needs a transaction of its own: it is found by halves.
		w.store.reruns.Add(uint64(len(g.ran)))
		half := len(g.ran) / 2
		w.commit(g.ran[:half], nil)
		w.commit(g.ran[half:], nil)
	default:
		w.failGroup(g, err)
	}
}

// commitWithout runs the others of a group again, then its culprit alone. Those
// before the culprit did well, so at the last run, or after a culprit that took
// its time to the limit, they commit without waiting for the next one.
func (w *writer) commitWithout(g *group, more func() *request, n int) {
	i := slices.Index(g.ran, g.culprit)
	before, after := g.ran[:i], g.ran[i+1:]
	w.store.reruns.Add(uint64(i))
	if n < groupRuns && !g.culprit.final {
		w.commitRun(slices.Concat(before, after), more, n+1)
	} else {
		w.commit(before, nil)
		w.commit(after, nil)
	}
	if g.culprit.final {
		close(g.culprit.done)
		return
	}
	w.commit([]*request{g.culprit}, nil)
}

// commitAbove runs one request in a version stamped above floor, which may be
// far ahead of the clock (DESIGN section 2): the clock itself is not dragged.
func (w *writer) commitAbove(r *request, floor changeset.Stamp) {
	for {
		g := &group{writer: w, floor: floor.Time}
		err := g.attempt([]*request{r}, nil)
		var behind *behindError
		switch {
		case errors.As(err, &behind):
			floor = behind.floor
			continue
		case g.culprit != nil:
		case refusal(err):
			r.refuse(err)
		case err != nil:
			w.failGroup(g, err)
			return
		}
		g.answer()
		return
	}
}

func (w *writer) failGroup(g *group, err error) {
	w.logFailure("write failed", err)
	for _, r := range g.ran {
		r.fail(err)
	}
}

// group is one attempt at a set of requests in one SQLite transaction.
type group struct {
	writer  *writer
	floor   hlc.Timestamp // the version must be stamped above it
	ran     []*request
	culprit *request // whose statement took the whole transaction down
	moved   bool     // the schema moved in this transaction, which must not be undone
	id      changeset.ID
	sealed  changeset.Sealed
}

func (g *group) attempt(rs []*request, more func() *request) error {
	w := g.writer
	err := w.transaction(func() error {
		before := w.schemaVersion
		if err := w.refreshSchema(); err != nil {
			return err
		}
		g.moved = w.schemaVersion != before
		w.capture.reset()
		w.returned = returnedBytes{}
		for len(rs) > 0 {
			r := rs[0]
			rs = rs[1:]
			g.ran = append(g.ran, r)
			if err := g.run(r); err != nil {
				return err
			}
			if len(rs) == 0 && more != nil {
				if r := more(); r != nil {
					rs = append(rs, r)
				}
			}
		}
		return g.finish()
	})
	if err != nil {
		g.ran = append(g.ran, rs...) // taken, so they must be answered
	}
	return err
}

// run executes one request in its savepoint. The first of a group needs none: if
// it fails, there is nothing else in the transaction to keep. Nor does one whose
// failure leaves nothing behind.
func (g *group) run(r *request) error {
	w := g.writer
	r.results, r.final, r.err = make([]sqlite.Result, 0, len(r.statements)), false, nil
	first := len(g.ran) == 1 && !g.moved
	guarded := !first && !w.undoesItself(r)
	if guarded {
		if err := w.step("SAVEPOINT request"); err != nil {
			return err
		}
	}
	w.capture.start()
	w.returned.request = 0
	w.conn.SetLastInsertID(0)
	for _, st := range r.statements {
		res := w.runStatement(st)
		r.results = append(r.results, res)
		if res.Err != nil {
			break
		}
	}
	w.conn.SetMode(sqlite.ModeInternal)
	if r.failed() {
		err := r.results[len(r.results)-1].Err
		if errors.Is(err, sqlite.ErrFull) || errors.Is(err, sqlite.ErrIOErr) {
			return err
		}
		interrupted := errors.Is(err, sqlite.ErrInterrupt)
		if r.final = interrupted || errors.Is(err, errTooManyChanges); interrupted && w.store.ending() {
			r.err = ErrStopped
		}
	}
	if w.conn.Autocommit() {
		if !r.failed() {
			r.refuse(errTransactionLost) // never acknowledge what is not there
		}
		g.culprit = r
		return errTransactionLost
	}
	switch {
	case !r.failed() && guarded:
		return w.step("RELEASE request")
	case !r.failed():
		return nil
	case !first && !guarded && w.capture.err != nil:
		// It was we who refused, and SQLite did not fail: alone it can be undone.
		g.culprit = r
		return errTransactionLost
	}
	w.capture.undo()
	switch {
	case first:
		return w.beginAgain()
	case !guarded:
		return nil
	}
	if err := w.step("ROLLBACK TO request"); err != nil {
		return err
	}
	return w.step("RELEASE request")
}

// undoesItself reports whether SQLite leaves nothing of r behind if it fails: one
// statement that writes one table, without triggers, and fails as ABORT does (OR
// FAIL keeps rows, and so does RETURNING that is not read to its end).
func (w *writer) undoesItself(r *request) bool {
	if len(r.statements) != 1 {
		return false
	}
	w.conn.SetMode(sqlite.ModeWrite)
	st, err := w.conn.Cached(r.statements[0].SQL)
	w.conn.SetMode(sqlite.ModeInternal)
	return err == nil && st != nil && w.touchedBy(st).aborts
}

// beginAgain undoes all that the open transaction did and opens another. Nothing
// in it may have changed the writer's memory.
func (w *writer) beginAgain() error {
	if err := w.step("ROLLBACK"); err != nil {
		return err
	}
	if err := w.step("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	return w.refreshSchema()
}

// answer hands the results to the clients, after the commit.
func (g *group) answer() {
	w := g.writer
	if g.id.Version != 0 {
		w.publish()
		w.store.cfg.Committed([]Committed{{Sealed: g.sealed, Local: true}})
	}
	for _, r := range g.ran {
		r.id = g.id
		if r.failed() {
			r.id = changeset.ID{}
		}
		close(r.done)
	}
}
