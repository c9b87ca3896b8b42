package store

import (
	"fmt"
	"os"
	"syscall"
)

// inodeOf names the file at path by device and inode, without opening it.
func inodeOf(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", fmt.Errorf("%s: the file system gives no inode", path)
	}
	return fmt.Sprintf("%d:%d", st.Dev, st.Ino), nil
}
