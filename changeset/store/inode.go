package store

import (
	"fmt"
	"os"
	"syscall"
)

// inode names a file by device and number; the zero inode is no file.
type inode struct{ device, number uint64 }

// String prints the inode as the internal tables keep it.
func (i inode) String() string { return fmt.Sprintf("%d:%d", i.device, i.number) }

// fileState is what a name stands for; the zero fileState is no file.
type fileState struct {
	inode
	size int64 // in bytes
}

// stateOf looks at the file at path, without opening it.
func stateOf(path string) (fileState, error) {
	info, err := os.Stat(path)
	if err != nil {
		return fileState{}, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fileState{}, fmt.Errorf("%s: the file system gives no inode", path)
	}
	return fileState{inode{uint64(st.Dev), st.Ino}, info.Size()}, nil
}

// checkLinks refuses a file of several names: SQLite keeps a -wal beside each
// name, so two programs that came by different ones would destroy the file.
func checkLinks(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return nil // to be made, or SQLite says what is wrong
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Nlink > 1 {
		return fmt.Errorf("%s: the file has %d hard links; a database must have one name", path, st.Nlink)
	}
	return nil
}
