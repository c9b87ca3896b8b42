package store

import (
	"context"
	"runtime"
	"time"
)

// control is a job that needs the writer and is neither a request nor a batch:
// a migration, a reload of the schema files.
type control struct {
	run  func()
	done chan struct{}
}

// fileCheckInterval is how often the files' identity is compared while nothing
// is written.
const fileCheckInterval = 100 * time.Millisecond

// A batch takes nothing more after this many rows or this long. One changeset
// may be larger.
const (
	batchRows = 1000
	batchTime = 5 * time.Millisecond
	// batchLeast is the fewest rows that a batch is cut to for the sake of requests.
	batchLeast = 50
)

// run is the writer's loop. It owns the writer connection and all state of
// writer, but while it waits: then a client may take the baton and run its request
// itself (see runAlone), which spares it two changes of goroutine. Of requests and
// batches that are both ready, turns says which goes first.
func (w *writer) run(ctx context.Context) error {
	q := w.store.queues
	ticks := time.NewTicker(fileCheckInterval)
	defer ticks.Stop()
	defer w.refuseQueued()
	for {
		requests, applies, fills, rest := w.ready()
		w.store.baton <- struct{}{}
		select {
		case r := <-requests:
			<-w.store.baton
			if r.take() {
				alone := false
				w.turn(requestTurn, func() { alone = w.runGroup(r) })
				// Those who were answered ask again before the next turn is given. Who was
				// alone, with nobody to share the turn with, shall find the baton instead.
				if !alone || w.unfinished != nil || len(q.applies) > 0 {
					runtime.Gosched()
				}
			}
		case job := <-applies:
			<-w.store.baton
			w.turn(applyTurn, func() { w.runBatch(job) })
		case <-rest:
			<-w.store.baton
			w.turn(applyTurn, func() { w.runBatch(nil) })
		case c := <-fills:
			<-w.store.baton
			w.turn(applyTurn, c.run)
			close(c.done)
		case c := <-q.controls:
			<-w.store.baton
			c.run()
			close(c.done)
		case <-ticks.C:
			<-w.store.baton
			if w.checkFiles() == nil {
				w.store.wal.tick(w)
				w.catchUp()
			}
		case <-w.store.crowded:
			<-w.store.baton // afterCommit, below, makes room
		case <-ctx.Done():
			<-w.store.baton // for good: the store has stopped
			return w.lost
		}
		if w.lost != nil {
			return w.lost // with the baton: the store has stopped
		}
		w.store.wal.afterCommit(w)
	}
}

// catchUp does at a tick what nobody asks for.
func (w *writer) catchUp() {
	if w.refused != nil {
		return
	}
	if err := w.followSchema(context.Background()); err != nil {
		w.log.Error("the schema was changed by another process and cannot be read", "err", err)
	}
	if len(w.waiting.byID) > 0 {
		w.turn(applyTurn, w.releaseWaiting)
	}
	now := w.store.cfg.Now()
	if w.retries.isDue(now) {
		w.turn(applyTurn, func() { w.retryParked(now) })
	}
	if err := w.pruneLog(now); err != nil {
		w.log.Error("the log of changesets is not pruned", "err", err)
		w.nextPrune = now.Add(pruneAfterStart)
	}
}

// runAlone runs r on its client's goroutine if the writer has nothing to do,
// together with what is queued meanwhile; false, and nothing done, if it has.
func (s *Store) runAlone(r *request) bool {
	select {
	case <-s.baton:
	default:
		return false
	}
	w := s.writer
	defer func() { s.baton <- struct{}{} }()
	if w.unfinished != nil || len(s.queues.requests) > 0 || len(s.queues.applies) > 0 {
		return false
	}
	if r.take() {
		w.turn(requestTurn, func() { w.runGroup(r) })
		s.leaveRoom()
	}
	return true
}

// leaveRoom is afterCommit for a client that has its answer: to move the WAL is the
// loop's work, unless nothing may be written before that is done.
func (s *Store) leaveRoom() {
	switch w := s.writer; {
	case !s.wal.note(w):
	case s.wal.full():
		s.wal.makeRoom(w)
	default:
		select {
		case s.crowded <- struct{}{}:
		default:
		}
	}
}

// closed is always ready to receive from.
var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// ready returns the channels to wait on for requests, for remote changesets and for
// steps of a transfer, and one that is ready if a job was begun and is not finished.
// Where both kinds of turns wait, those of the kind whose turn it is not are nil.
func (w *writer) ready() (requests <-chan *request, applies <-chan *applyJob, fills <-chan *control, rest <-chan struct{}) {
	q := w.store.queues
	requests, applies, fills = q.requests, q.applies, q.fills
	if w.unfinished != nil {
		applies, rest = nil, closed
	}
	wanted := [2]bool{requestTurn: len(requests) > 0, applyTurn: rest != nil || len(applies)+len(fills) > 0}
	if kind := w.turns.next(wanted); wanted == [2]bool{true, true} {
		if kind == requestTurn {
			applies, fills, rest = nil, nil, nil
		} else {
			requests = nil
		}
	}
	return requests, applies, fills, rest
}

// turn runs f and accounts for its time.
func (w *writer) turn(kind turnKind, f func()) {
	start := time.Now()
	f()
	w.turns.took(kind, time.Since(start))
}

// refuseQueued answers whatever is still queued when the loop ends, so that
// nobody waits for a writer that is gone.
func (w *writer) refuseQueued() {
	for r := w.store.queues.poll(); r != nil; r = w.store.queues.poll() {
		r.fail(ErrStopped)
	}
}

// do runs f on the writer's goroutine and waits for it.
func (s *Store) do(ctx context.Context, f func()) error {
	return s.runOn(ctx, s.queues.controls, f)
}

// runOn is do by a queue.
func (s *Store) runOn(ctx context.Context, queue chan<- *control, f func()) error {
	c := &control{run: f, done: make(chan struct{})}
	if err := send(ctx, s.stopped, queue, c); err != nil {
		return err
	}
	select {
	case <-c.done:
		return nil
	case <-s.stopped:
	}
	select {
	case <-c.done:
		return nil
	default:
		return ErrStopped
	}
}

// batch is what one turn applies.
type batch struct {
	items []incoming
	whole []*applyJob // the jobs that end with it
	rows  int
}

// runBatch applies the rest of the job that was begun, or first, and what is
// queued behind it.
func (w *writer) runBatch(first *applyJob) {
	start := time.Now()
	b := w.takeBatch(first, w.turns.allowance(applyTurn, batchTime))
	err := w.applyAll(b.items)
	w.releaseWaiting()
	if b.rows >= batchLeast {
		w.rowTime = (3*w.rowTime + time.Since(start)/time.Duration(b.rows)) / 4
	}
	for _, job := range b.whole {
		job.finish(err)
	}
	if job := w.unfinished; job != nil && job.err == nil {
		job.err = err
	}
}

// takeBatch takes what fits into a turn of the allowed time.
func (w *writer) takeBatch(job *applyJob, allowed time.Duration) (b batch) {
	if job == nil {
		job, w.unfinished = w.unfinished, nil
	}
	limit := batchRows
	if allowed < batchTime {
		limit = min(batchRows, max(batchLeast, int(allowed/max(1, w.rowTime))))
	}
	for end := time.Now().Add(allowed); job != nil; {
		w.store.queues.shared.bytes.Add(-job.bytes)
		job.bytes = 0
		n := 0
		for ; n < len(job.items) && b.rows < limit; n++ {
			b.rows += job.items[n].decoded.Rows()
		}
		b.items = append(b.items, job.items[:n]...)
		if job.items = job.items[n:]; len(job.items) > 0 {
			w.unfinished = job
			return b
		}
		b.whole = append(b.whole, job)
		if b.rows >= limit || !time.Now().Before(end) {
			return b
		}
		job = w.store.queues.pollApply()
	}
	return b
}

// finish tells who waits for the job how its last batch and those before went.
func (j *applyJob) finish(err error) {
	if j.err != nil {
		err = j.err
	}
	if j.done != nil {
		j.done <- err
	}
}
