package store

import (
	"context"
	"errors"
	"log/slog"
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
// that it grew without success. For a reader that is older than walLimit nobody
// waits: walbound.go deals with it.
const (
	walReset    = 8 << 20
	walForce    = 10 << 20
	walStep     = 4 << 20
	walPatience = 100 * time.Millisecond
	walLimit    = 2 * time.Second        // of patience
	walBackfill = 100 * time.Millisecond // between looks whether to move what is there
	walRest     = time.Second            // between two moves of a small WAL
	walHeader   = 24                     // bytes before each page
)

// walKeeper owns a connection of its own, which anchors the database for the
// life of the process (the last one to close would delete the -wal) and moves
// the WAL into the file in the background while it is small. Only one side can
// be at it at a time, so above walReset the keeper leaves it to the writer.
type walKeeper struct {
	conn    *sqlite.Conn
	log     *slog.Logger
	dirty   atomic.Bool           // something was committed since the last backfill
	large   atomic.Bool           // the WAL is above walReset
	state   atomic.Pointer[WAL]   // without Failure
	failure atomic.Pointer[error] // of the last checkpoint, whoever made it
	ended   atomic.Uint64         // reads, by the bound
	off     atomic.Bool           // the files are not ours any more: see writer.lose
	whole   bool                  // see there; of the writer, then of Close
	least   atomic.Int64          // size of the database file, at the last look
	look    func() (fileState, error)

	// The rest is the writer's. Sizes are in bytes.
	frameSize    int64
	reset, limit int64
	frames       int   // in the WAL, when the writer looked last
	tried        int   // frames in it at the last makeRoom
	force        int64 // the size at which it waits for readers, and how long
	patience     time.Duration
	marks        walMarks
	pin          walPin
	alarmed      bool          // a read of another process was logged
	outsideAge   time.Duration // see there
}

func newWALKeeper(cfg Config) (*walKeeper, error) {
	c, err := sqlite.Open(sqlite.Config{Path: cfg.Path, VFS: cfg.VFS})
	if err != nil {
		return nil, err
	}
	page, err := c.PageSize()
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	k := &walKeeper{conn: c, log: cfg.Log.With("component", "store"), frameSize: int64(page + walHeader), limit: cfg.MaxWALBytes, patience: walPatience, outsideAge: outsideAge}
	k.look = func() (fileState, error) { return cfg.stat(cfg.Path) }
	k.reset, k.force = min(walReset, k.limit/4), k.forceAtFirst()
	k.state.Store(&WAL{})
	return k, nil
}

func (k *walKeeper) forceAtFirst() int64 { return min(walForce, k.limit/2) }

// run backfills until ctx ends.
func (k *walKeeper) run(ctx context.Context) {
	ticks := time.NewTicker(walBackfill)
	defer ticks.Stop()
	var last time.Time
	for {
		select {
		case now := <-ticks.C:
			if small := k.state.Load().Bytes < k.reset/4; small && now.Sub(last) < walRest {
				continue // the pages that are written most are worth one move, not ten
			}
			if !k.large.Load() && !k.off.Load() && k.unshrunk() && k.dirty.Swap(false) {
				last = now
				if _, _, err := k.conn.Checkpoint(false); k.failed(err) {
					k.dirty.Store(true) // so the next tick tries again
				}
				if now, err := k.look(); err == nil {
					k.least.Store(now.size)
				}
			}
		case <-ctx.Done():
			return
		}
	}
}

// failed notes how a checkpoint ended and logs when that changes. One that fails
// loses nothing: what was acknowledged is in the WAL, synced, and SQLite counts
// frames as moved after the file's sync alone, so that the next checkpoint writes
// them again. So writes go on, up to the bound of the WAL.
func (k *walKeeper) failed(err error) bool {
	if err == nil {
		if k.failure.Swap(nil) != nil {
			k.log.Info("checkpoints work again")
		}
		return false
	}
	if errors.Is(err, sqlite.ErrBusy) {
		return false // somebody else is at it, or reads
	}
	if k.failure.Swap(&err) == nil {
		k.log.Error("checkpoint failed: writes go on until the write-ahead log is at its bound", "err", err)
	}
	return true
}

// afterCommit runs between two transactions; its caller has the writer.
func (k *walKeeper) afterCommit(w *writer) {
	if k.note(w) {
		k.makeRoom(w)
	}
}

// note takes account of what was committed, and reports whether makeRoom is due.
func (k *walKeeper) note(w *writer) (due bool) {
	if w.lost != nil {
		return false // nobody knows where it was committed
	}
	if frames := w.conn.WALFrames(); frames != k.frames {
		if frames < k.frames {
			k.startedOver(w)
			k.tried = 0
		}
		k.frames = frames
		k.marks.add(frames, time.Now())
		k.dirty.Store(true)
		size := int64(frames) * k.frameSize
		k.large.Store(size >= k.reset)
		k.describe(w, size)
	}
	return k.size() >= k.reset && k.frames != k.tried
}

// full reports whether the WAL is at its bound.
func (k *walKeeper) full() bool { return k.size() >= k.limit }

// makeRoom moves the WAL into the file, and starts it over if it can. It may wait
// for readers.
func (k *walKeeper) makeRoom(w *writer) {
	k.tried = k.frames
	w.conn.SetMode(sqlite.ModeInternal)
	_, moved, err := w.conn.Checkpoint(false)
	if err == nil && moved >= k.frames {
		k.marks.clear() // who pins the log from now on needs a later frame, or one of the next log
	}
	switch failed := k.failed(err); {
	case k.full():
		k.enforce(w)
	case k.size() >= k.force && !failed:
		k.waitForReaders(w, k.size(), moved)
	}
}

// waitForReaders lets the readers that pin the WAL finish, while new ones read
// from the file alone, and starts the WAL over. moved is what a checkpoint that
// did not wait could move of it.
func (k *walKeeper) waitForReaders(w *writer, size int64, moved int) {
	patience := k.patience
	if began := k.marks.firstAbove(moved); !began.IsZero() && time.Since(began) > walLimit {
		patience = 0
	}
	if k.startOver(w, patience); k.pin.holds {
		k.force = size + walStep
		if patience > 0 {
			k.patience = min(2*k.patience, walLimit)
		}
	}
}

// startOver empties the WAL if its readers end within the given time. If they do
// not, pin tells of them.
func (k *walKeeper) startOver(w *writer, patience time.Duration) {
	began := time.Now()
	w.conn.SetMode(sqlite.ModeInternal)
	w.conn.SetBusyTimeout(patience)
	_, moved, err := w.conn.Checkpoint(true)
	w.conn.SetBusyTimeout(busyTimeout)
	switch {
	case k.failed(err):
	case err != nil:
		if moved >= 0 {
			k.failed(nil) // it moved what it could
		}
		k.pinned(w, moved, began)
	default:
		k.startedOver(w)
		k.large.Store(false)
	}
}

// startedOver forgets what was known of the log that has ended.
func (k *walKeeper) startedOver(w *writer) {
	k.force, k.patience = k.forceAtFirst(), walPatience
	k.marks.clear()
	k.unpinned(w)
}

// unshrunk reports whether the database file is no shorter than at the last look.
// Pages moved into one that was cut short would hide that.
func (k *walKeeper) unshrunk() bool {
	now, err := k.look()
	return err == nil && now.size >= k.least.Load()
}

// close comes after all other connections are closed.
func (k *walKeeper) close() error {
	var err error
	if k.off.Load() {
		err = k.conn.KeepFiles(k.whole)
	}
	return errors.Join(err, k.conn.Close())
}
