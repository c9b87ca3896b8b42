package sqlite

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// Root may write everything, so the thread gives up root's file rights.
func TestOpenReadOnlyFile(t *testing.T) {
	path := newPath(t)
	openWith(t, Config{Path: path, Create: true}, "CREATE TABLE t(a)").Close()
	if err := os.Chmod(path, 0o444); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		syscall.Setfsuid(65534)
		defer syscall.Setfsuid(0)
		// The directories above belong to root alone.
		c, err := Open(Config{Path: path})
		if err == nil {
			defer c.Close()
		}
		if !errors.Is(err, ErrReadOnly) && !errors.Is(err, ErrCantOpen) {
			t.Error(err)
		}
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("the error does not name the path: %v", err)
		}
		return
	}
	if _, err := Open(Config{Path: path}); !errors.Is(err, ErrReadOnly) || !strings.Contains(err.Error(), path) {
		t.Error(err)
	}
}
