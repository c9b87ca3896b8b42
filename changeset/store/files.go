package store

import (
	"errors"
	"io/fs"
	"time"
)

// SQLite goes on writing into files that somebody has moved away or removed, and
// a commit there is lost to whoever opens the database next. So the files are
// looked at after each COMMIT and before its answer, and at each tick; and before
// a COMMIT if the last look is older than lookAge, since then the answer can be
// that nothing was written. Once they are found changed the store is of no use, for
// good: it refuses everything, and Run ends with the reason.

// lookAge is for how long a look serves the next COMMIT: three calls of stat cost
// 1 % of a commit.
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

// fileIdentity is what the names of the database's files stand for: itself, its
// -wal and its -shm.
type fileIdentity [3]inode

// fileSuffixes are those of the names. The database itself is looked up first.
var fileSuffixes = [...]string{"", "-wal", "-shm"}

// watchFiles looks the files up. One that is not there is zero, but the database
// must be. Only stat is used: opening them here would drop SQLite's locks.
func (c Config) watchFiles() (f fileIdentity, err error) {
	for i, suffix := range fileSuffixes {
		if f[i], err = c.stat(c.Path + suffix); err != nil && (i == 0 || !errors.Is(err, fs.ErrNotExist)) {
			return f, err
		}
	}
	return f, nil
}

// checkFiles compares the files with those at open. If somebody put others in
// their place it sets and returns w.lost. A -wal or -shm that was not there at
// open counts from when it appears.
func (w *writer) checkFiles() error {
	if w.lost != nil {
		return w.lost
	}
	w.looked = time.Now()
	now, err := w.store.cfg.watchFiles()
	if err != nil {
		return w.lose(err.Error())
	}
	for i, suffix := range fileSuffixes {
		switch was := w.files[i]; {
		case now[i] == was:
		case was == inode{}:
			w.files[i] = now[i]
		case now[i] == inode{}:
			return w.lose(w.store.cfg.Path + suffix + " is gone")
		default:
			return w.lose(w.store.cfg.Path + suffix + " is another file")
		}
	}
	return nil
}

// lose notes that the files are not what they were, for good.
func (w *writer) lose(what string) error {
	w.lost = &replacedError{what: what}
	w.log.Error("the database was replaced: the store stops", "err", w.lost)
	return w.lost
}
