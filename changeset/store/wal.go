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
	walForce     = 10 << 20
	walStep      = 4 << 20
	walPatience  = 100 * time.Millisecond
	walLimit     = 2 * time.Second // of patience
	walBackfill  = 100 * time.Millisecond
	walFrameSize = 4096 + 24 // a page and its frame header
)

// walKeeper owns a connection of its own, which anchors the database for the
// life of the process (the last one to close would delete the -wal) and moves
// the WAL into the file in the background while it is small. Only one side can
// be at it at a time, so above walReset the keeper leaves it to the writer.
type walKeeper struct {
	conn  *sqlite.Conn
	dirty atomic.Bool // something was committed since the last backfill
	large atomic.Bool // the WAL is above walReset

	// The writer's: the frames in the WAL when it looked last, the size in bytes
	// at which it waits for readers, and how long.
	frames   int
	force    int64
	patience time.Duration
}

func newWALKeeper(cfg Config) (*walKeeper, error) {
	c, err := sqlite.Open(sqlite.Config{Path: cfg.Path, VFS: cfg.VFS})
	if err != nil {
		return nil, err
	}
	return &walKeeper{conn: c, force: walForce, patience: walPatience}, nil
}

// run backfills until ctx ends.
func (k *walKeeper) run(ctx context.Context) {
	ticks := time.NewTicker(walBackfill)
	defer ticks.Stop()
	for {
		select {
		case <-ticks.C:
			if !k.large.Load() && k.dirty.Swap(false) {
				k.conn.Checkpoint(false) // what fails here is the writer's to find out
			}
		case <-ctx.Done():
			return
		}
	}
}

// afterCommit runs on the writer's goroutine between two transactions.
func (k *walKeeper) afterCommit(w *writer) error {
	frames := w.conn.WALFrames()
	if frames == k.frames {
		return nil // nothing was committed
	}
	k.frames = frames
	k.dirty.Store(true)
	size := int64(frames) * walFrameSize
	k.large.Store(size >= walReset)
	if size < walReset {
		return nil
	}
	w.conn.SetMode(sqlite.ModeInternal)
	_, _, err := w.conn.Checkpoint(false)
	if errors.Is(err, sqlite.ErrBusy) {
		err = nil // the keeper is at it
	}
	if err == nil && size >= k.force {
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
		k.force, k.patience = walForce, walPatience
	case errors.Is(err, sqlite.ErrBusy):
		k.force, k.patience = size+walStep, min(2*k.patience, walLimit)
		w.log.Warn("a reader pins the WAL", "bytes", size)
		err = nil
	}
	return err
}

func (k *walKeeper) close() error { return k.conn.Close() }
