package store

import (
	"errors"
	"io/fs"
	"time"

	"github.com/patinadb/patina/changeset/sqlite"
)

// SQLite goes on writing into files that somebody has moved away or removed, and
// a commit there is lost to whoever opens the database next. So the files are
// looked at after each COMMIT and before its answer, and at each tick; and before
// a COMMIT if the last look is older than lookAge, since then the answer can be
// that nothing was written. Once they are found changed the store is of no use, for
// good: it refuses everything, and Run ends with the reason.
//
// A file that was cut short in place has its name and its inode. The WAL's index, in
// the -shm, says how long the -wal must be and how many pages there are; a commit
// can have filled up what was cut, so the frame before it is looked at too.

// lookAge is for how long a look serves the next COMMIT. One costs 3 µs, a commit
// 200.
const lookAge = 5 * time.Millisecond

// replacedError is ErrReplaced with what was found.
type replacedError struct {
	what    string
	unknown bool // it was found after a commit, whose fate it is
}

func (e *replacedError) Error() string {
	s := ErrReplaced.Error() + ": " + e.what
	if e.unknown {
		s += "; the write was made when that was found: it may be kept or lost"
	}
	return s
}

func (e *replacedError) Is(target error) bool { return target == ErrReplaced }

// Unavailable reports whether nothing was written. The node stops.
func (e *replacedError) Unavailable() bool { return !e.unknown }

// unknown is what a transaction fails with that has committed into files that
// turned out to be replaced.
func (w *writer) unknown() error {
	var e *replacedError
	errors.As(w.lost, &e)
	return &replacedError{e.what, true}
}

// fileStates are what the names of the database's files stand for: itself, its
// -wal and its -shm.
type fileStates [3]fileState

// fileSuffixes are those of the names.
var fileSuffixes = [...]string{"", "-wal", "-shm"}

// Indexes of fileStates.
const (
	fileDB = iota
	fileWAL
	fileShm
)

// watchFiles looks the files up. One that is not there is zero, but the database
// must be. Only stat is used: opening them here would drop SQLite's locks.
func (c Config) watchFiles() (f fileStates, err error) {
	for i, suffix := range fileSuffixes {
		if f[i], err = c.stat(c.Path + suffix); err != nil && (i == fileDB || !errors.Is(err, fs.ErrNotExist)) {
			return f, err
		}
	}
	return f, nil
}

// checkFiles compares the files with those at open. If somebody put others in
// their place or cut one short it sets and returns w.lost. A -wal or -shm that was
// not there at open counts from when it appears.
func (w *writer) checkFiles() error {
	if w.lost != nil {
		return w.lost
	}
	w.looked = time.Now()
	now, err := w.store.cfg.watchFiles()
	if err != nil {
		return w.lose(err.Error(), false)
	}
	for i, suffix := range fileSuffixes {
		name := w.store.cfg.Path + suffix
		switch was := w.files[i].inode; {
		case now[i].inode == was, was == inode{}:
		case now[i].inode == inode{}:
			return w.lose(name+" is gone", i != fileDB)
		default:
			return w.lose(name+" is another file", i == fileShm)
		}
	}
	if now[fileShm].size < w.files[fileShm].size { // looking into it would end the process
		return w.lose(w.store.cfg.Path+"-shm was cut short", false)
	}
	return w.checkLengths(now)
}

// checkLengths sees that no file lacks what the WAL's index says is there. SQLite
// cuts the -wal only when it has started over, and the database to the pages that
// it has left. What cannot be told because somebody writes is told by the next look.
func (w *writer) checkLengths(now fileStates) error {
	x, ok := w.conn.WALIndex()
	if !ok {
		return nil
	}
	was := w.index
	sameLog := x.Salts == was.Salts && x.Frames >= was.Frames
	switch {
	case now[fileWAL].size < x.Size():
		if again, err := w.store.cfg.stat(w.store.cfg.Path + "-wal"); err == nil && again.size < x.Size() && w.unmoved(x) {
			return w.lose(w.store.cfg.Path+"-wal was cut short", false)
		}
		return nil
	case x.Same(was) || x.Frames == 0:
	case sameLog && !w.conn.WALKept(x, was.Frames), !sameLog && !w.conn.WALKept(x, 0):
		if w.unmoved(x) {
			return w.lose(w.store.cfg.Path+"-wal was cut short and written to again", false)
		}
		return nil
	}
	if now[fileDB].size < int64(x.Pages)*int64(x.PageSize) && !w.covered.is(now, x) {
		again, err := w.store.cfg.stat(w.store.cfg.Path) // it has what was moved until x
		holds := err != nil || w.conn.WALHolds(x, int(again.size/int64(x.PageSize)))
		if !w.unmoved(x) {
			return nil
		}
		if !holds {
			return w.lose(w.store.cfg.Path+" was cut short", false)
		}
	}
	w.covered = pageCover{now[fileDB].size, x.Moved, x.Salts}
	w.files, w.index = now, x
	if k := w.store.wal; k != nil {
		k.least.Store(now[fileDB].size)
	}
	return nil
}

// pageCover is when the database and the WAL had all pages between them: as long as
// the database is as long, and no checkpoint and no new log came, whatever a commit
// adds is in the WAL.
type pageCover struct {
	size  int64
	moved int
	salts [8]byte
}

func (c pageCover) is(now fileStates, x sqlite.WALIndex) bool {
	return c == pageCover{now[fileDB].size, x.Moved, x.Salts}
}

// unmoved reports whether nobody has committed or started the log over since x was
// read.
func (w *writer) unmoved(x sqlite.WALIndex) bool {
	again, ok := w.conn.WALIndex()
	return ok && again.Same(x)
}

// lose notes that the files are not what they were, for good. whole says that the
// database and the log that SQLite holds open still make up all that was written:
// then Close brings them together; else it leaves everything as it is.
func (w *writer) lose(what string, whole bool) error {
	w.lost = &replacedError{what: what}
	w.log.Error("the database was replaced: the store stops", "err", w.lost)
	if err := w.conn.KeepFiles(whole); err != nil {
		w.log.Error("closing the database may remove its write-ahead log", "err", err)
	}
	if k := w.store.wal; k != nil { // else Open has not come so far
		k.whole = whole
		k.off.Store(true)
	}
	return w.lost
}
