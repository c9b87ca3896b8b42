package store

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/patinadb/patina/changeset/sqlite"
)

// A PASSIVE checkpoint from another connection moves pages into the file but
// never lets a busy writer start the log over: in 11 s a 220 KiB database grew a
// WAL of 1 GiB. So above walReset the writer itself runs one between two
// commits, after which its next commit restarts the log. That fails while a
// reader is at work that began before; so above walForce the writer waits for
// such readers, for walPatience at first, and twice as long for each walStep
// that it grew without success.
const (
	walReset     = 8 << 20
	walForce     = 16 << 20
	walStep      = 4 << 20
	walPatience  = 100 * time.Millisecond
	walLimit     = time.Second // of patience
	walBackfill  = 100 * time.Millisecond
	walFrameSize = 4096 + 24 // a page and its frame header
)

// walKeeper owns a connection of its own, which anchors the database for the
// life of the process (the last one to close would delete the -wal) and moves
// the WAL into the file in the background.
type walKeeper struct {
	conn   *sqlite.Conn
	dirty  atomic.Bool  // something was committed since the last backfill
	frames atomic.Int64 // in the WAL as of the last checkpoint of either side

	// The writer's: the size of the WAL in bytes at which it waits for readers,
	// and how long.
	force    int64
	patience time.Duration
}

func newWALKeeper(cfg Config) (*walKeeper, error) {
	c, err := sqlite.Open(sqlite.Config{Path: cfg.Path})
	if err != nil {
		return nil, err
	}
	return &walKeeper{conn: c, force: walForce, patience: walPatience}, nil
}

// run backfills until ctx ends. A checkpoint that finds the other side at it is
// done by that one.
func (k *walKeeper) run(ctx context.Context) {
	ticks := time.NewTicker(walBackfill)
	defer ticks.Stop()
	for {
		select {
		case <-ticks.C:
			if k.dirty.Swap(false) {
				k.checkpoint(k.conn)
			}
		case <-ctx.Done():
			return
		}
	}
}

func (k *walKeeper) checkpoint(c *sqlite.Conn) error {
	frames, moved, err := c.Checkpoint(false)
	if err != nil {
		if errors.Is(err, sqlite.ErrBusy) {
			return nil
		}
		return err
	}
	if moved == frames {
		frames = 0 // the next commit starts over
	}
	k.frames.Store(int64(frames))
	return nil
}

// afterCommit runs on the writer's goroutine between two transactions.
func (k *walKeeper) afterCommit(w *writer) error {
	k.dirty.Store(true)
	size := k.frames.Load() * walFrameSize
	if size < walReset {
		return nil
	}
	w.conn.SetMode(sqlite.ModeInternal)
	err := k.checkpoint(w.conn)
	if size = k.frames.Load() * walFrameSize; err == nil && size >= k.force {
		err = k.waitForReaders(w, size)
	}
	if err != nil {
		w.log.Warn("checkpoint failed", "err", err)
	}
	return err
}

// waitForReaders lets the readers that pin the WAL finish, while new ones read
// from the file alone, and starts the WAL over.
func (k *walKeeper) waitForReaders(w *writer, size int64) error {
	w.conn.SetBusyTimeout(k.patience)
	_, _, err := w.conn.Checkpoint(true)
	w.conn.SetBusyTimeout(busyTimeout)
	switch {
	case err == nil:
		k.frames.Store(0)
		k.force, k.patience = walForce, walPatience
	case errors.Is(err, sqlite.ErrBusy):
		k.force, k.patience = size+walStep, min(2*k.patience, walLimit)
		w.log.Warn("a reader pins the WAL", "bytes", size)
		err = nil
	}
	return err
}

func (k *walKeeper) close() error { return k.conn.Close() }
