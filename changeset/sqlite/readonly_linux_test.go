package sqlite

import (
	"errors"
	"os"
	"path/filepath"
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
		for _, dir := range []string{filepath.Dir(path), filepath.Dir(filepath.Dir(path))} {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		syscall.Setfsuid(65534)
		defer syscall.Setfsuid(0)
	}
	c, err := Open(Config{Path: path})
	if err == nil {
		c.Close()
	}
	if !errors.Is(err, ErrReadOnly) || !strings.Contains(err.Error(), path) {
		t.Error(err)
	}
}
