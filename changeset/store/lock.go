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

// lockDatabase takes the lock that keeps a second node off the database at path:
// SQLite lets any number of processes write, but two writers under one actor id
// would number two changesets alike. The lock is flock(2) on a file beside the
// database, since nothing but SQLite may open the database itself; it ends with
// the process.
//
// A child process that this one is starting holds the lock too until its program
// runs (fork copies it, exec closes it), also one that its owner has let go: such a
// start is waited for.
func lockDatabase(path string) (*os.File, error) {
	f, err := os.OpenFile(lockPath(path), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	syscall.ForkLock.RLock()
	syscall.ForkLock.RUnlock()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w", path, ErrInUse)
		}
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return f, nil
}

// lockPath names the lock file of the database at path: one for all its names.
func lockPath(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	return path + "-lock"
}

// explainOpen adds to SQLite's error why nothing can be written beside path, if
// that is so: SQLite says only that it cannot open the file.
func explainOpen(err error, path string) error {
	if !errors.Is(err, sqlite.ErrCantOpen) && !errors.Is(err, sqlite.ErrReadOnly) {
		return err // and leave no file beside what is not ours
	}
	f, locked := lockDatabase(path)
	if locked == nil {
		return errors.Join(err, f.Close())
	}
	var at *fs.PathError
	if errors.As(locked, &at) && (errors.Is(at.Err, syscall.EROFS) || errors.Is(at.Err, fs.ErrPermission)) {
		return fmt.Errorf("%w: %w", err, at.Err)
	}
	return err
}
