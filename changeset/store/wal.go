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
// commits, after which its next commit restarts the log.
const (
	walReset     = 8 << 20
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
}

func newWALKeeper(cfg Config) (*walKeeper, error) {
	c, err := sqlite.Open(sqlite.Config{Path: cfg.Path})
	if err != nil {
		return nil, err
	}
	return &walKeeper{conn: c}, nil
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
	if k.frames.Load()*walFrameSize < walReset {
		return nil
	}
	w.conn.SetMode(sqlite.ModeInternal)
	if err := k.checkpoint(w.conn); err != nil {
		w.log.Warn("checkpoint failed", "err", err)
		return err
	}
	return nil
}

func (k *walKeeper) close() error { return k.conn.Close() }
