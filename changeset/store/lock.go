package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/patinadb/patina/changeset/sqlite"
)

// ErrInUse: another process runs a node on the file.
var ErrInUse = errors.New("store: in use by another node")

// databaseLock keeps a second node off a database: SQLite lets any number of
// processes write, but two writers under one actor id would number two changesets
// alike. It is flock(2) on a file beside the database, since nothing but SQLite may
// open the database itself; it ends with the process.
type databaseLock struct {
	file *os.File
	made bool // the file was not there before
}

// lockDatabase takes the lock of the database at path, which is a real path.
//
// A child process that this one is starting holds the lock too until its program
// runs (fork copies it, exec closes it), also one that its owner has let go: such a
// start is waited for.
func lockDatabase(path string) (*databaseLock, error) {
	const most = 100 // holders in a row that removed it
	for range most {
		l, err := openLock(lockPath(path))
		if err != nil {
			return nil, err
		}
		if l == nil {
			continue
		}
		syscall.ForkLock.RLock()
		syscall.ForkLock.RUnlock()
		if err := syscall.Flock(int(l.file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			l.file.Close()
			if errors.Is(err, syscall.EWOULDBLOCK) {
				return nil, fmt.Errorf("%s: %w", path, ErrInUse)
			}
			return nil, fmt.Errorf("lock %s: %w", l.file.Name(), err)
		}
		there, err := l.isThere()
		if there && err == nil {
			return l, nil
		}
		l.file.Close()
		if err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("lock %s: it is removed again and again", lockPath(path))
}

// openLock opens the lock file, or makes it; nil if somebody has just removed it.
func openLock(name string) (*databaseLock, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if !errors.Is(err, fs.ErrExist) {
		return &databaseLock{f, true}, err
	}
	f, err = os.OpenFile(name, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return &databaseLock{f, false}, err
}

// isThere reports whether the file that is locked still has its name: its last
// holder may have removed it after it was opened here.
func (l *databaseLock) isThere() (bool, error) {
	ours, err := l.file.Stat()
	if err != nil {
		return false, err
	}
	now, err := os.Stat(l.file.Name())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(ours, now), err
}

// Close lets go. The file stays for the next.
func (l *databaseLock) Close() error { return l.file.Close() }

// discard lets go and leaves no file behind that was not there before.
func (l *databaseLock) discard() error {
	if l.made {
		return l.remove()
	}
	return l.Close()
}

// remove removes the file and lets go. It goes while it is locked: whoever opened it
// meanwhile looks whether it is there still.
func (l *databaseLock) remove() error {
	return errors.Join(os.Remove(l.file.Name()), l.Close())
}

// lockPath names the lock file of the database at a real path.
func lockPath(path string) string { return path + "-lock" }

// RealPath returns the path of the file that a path leads to, also if that is still to
// be made. SQLite goes by it: beside that file, and not beside a link to it, are the
// -wal and all other files that belong to the database.
func RealPath(path string) string {
	const most = 40 // links, as in Linux
	for range most {
		to, err := os.Readlink(path)
		if err != nil {
			return path
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		path = to
	}
	return path
}

// explainOpen adds to SQLite's error why nothing can be written beside path, if
// that is so: SQLite says only that it cannot open the file.
func explainOpen(err error, path string) error {
	if !errors.Is(err, sqlite.ErrCantOpen) && !errors.Is(err, sqlite.ErrReadOnly) {
		return err // and leave no file beside what is not ours
	}
	f, locked := lockDatabase(path)
	if locked == nil {
		return errors.Join(err, f.discard())
	}
	var at *fs.PathError
	if errors.As(locked, &at) && (errors.Is(at.Err, syscall.EROFS) || errors.Is(at.Err, fs.ErrPermission)) {
		return fmt.Errorf("%w: %w", err, at.Err)
	}
	return err
}
