package store

import (
	"context"
	"errors"
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

// run is the writer's loop. It owns the writer connection and all state of
// writer. Go's select picks at random among what is ready, so that neither
// requests nor batches starve the other.
func (w *writer) run(ctx context.Context) error {
	q := w.store.queues
	ticks := time.NewTicker(fileCheckInterval)
	defer ticks.Stop()
	defer w.refuseQueued()
	for {
		select {
		case r := <-q.requests:
			if r.take() {
				w.runGroup(r)
			}
		case job := <-q.applies:
			w.runBatch(job)
		case c := <-q.controls:
			c.run()
			close(c.done)
		case <-ticks.C:
			if err := w.checkFiles(); err != nil {
				w.log.Error("database replaced: the store stops", "err", err)
				return err
			}
			if err := w.followSchema(context.Background()); err != nil {
				w.log.Error("the schema was changed by another process and cannot be read", "err", err)
			}
			w.releaseWaiting()
		case <-ctx.Done():
			return nil
		}
		if err := w.store.wal.afterCommit(w); errors.Is(err, ErrReplaced) {
			return err
		}
	}
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
	c := &control{run: f, done: make(chan struct{})}
	if err := send(ctx, s.stopped, s.queues.controls, c); err != nil {
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
