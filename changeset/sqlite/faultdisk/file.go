package faultdisk

import (
	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
)

// file is an open file of one connection.
type file struct {
	disk          *Disk
	node          *node
	name          string
	removeOnClose bool
	level         int32 // of its lock
	mapped        bool  // uses the shared memory
	shared, owned uint32
}

func fileOf(p uintptr) *file { return byHandle[file](at[cFile](p).handle) }

func closeC(tls *libc.TLS, p uintptr) int32 {
	f := fileOf(p)
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	f.unlock(lib.SQLITE_LOCK_NONE)
	f.unmap(tls)
	if f.removeOnClose && f.disk.files[f.name] == f.node {
		f.disk.drop(f.name, false)
	}
	f.disk.open--
	handles.Delete(at[cFile](p).handle)
	*at[cFile](p) = cFile{}
	return lib.SQLITE_OK
}

func readC(_ *libc.TLS, p, buffer uintptr, n int32, offset int64) int32 {
	f := fileOf(p)
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if failed, _ := f.disk.fails(Read, f.name); failed {
		return lib.SQLITE_IOERR_READ
	}
	b := bytesAt(buffer, n)
	got := 0
	if offset < int64(len(f.node.data)) {
		got = copy(b, f.node.data[offset:])
	}
	if got < len(b) {
		clear(b[got:])
		return lib.SQLITE_IOERR_SHORT_READ
	}
	return lib.SQLITE_OK
}

// writeC of a call that fails leaves the first half of the data behind.
func writeC(_ *libc.TLS, p, buffer uintptr, n int32, offset int64) int32 {
	f := fileOf(p)
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	failed, full := f.disk.fails(Write, f.name)
	if !failed {
		f.disk.write(f.node, bytesAt(buffer, n), offset)
		return lib.SQLITE_OK
	}
	f.disk.write(f.node, bytesAt(buffer, n/2), offset)
	if full {
		return lib.SQLITE_FULL
	}
	return lib.SQLITE_IOERR_WRITE
}

func truncateC(_ *libc.TLS, p uintptr, size int64) int32 {
	f := fileOf(p)
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if failed, _ := f.disk.fails(Truncate, f.name); failed {
		return lib.SQLITE_IOERR_TRUNCATE
	}
	f.disk.truncate(f.node, size)
	return lib.SQLITE_OK
}

func syncC(_ *libc.TLS, p uintptr, _ int32) int32 {
	f := fileOf(p)
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if failed, full := f.disk.fails(Sync, f.name); failed {
		f.disk.record(event{kind: syncFailed, inode: f.node.number})
		if full {
			return lib.SQLITE_FULL
		}
		return lib.SQLITE_IOERR_FSYNC
	}
	f.disk.record(event{kind: synced, inode: f.node.number})
	return lib.SQLITE_OK
}

func sizeC(_ *libc.TLS, p, out uintptr) int32 {
	f := fileOf(p)
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if failed, _ := f.disk.fails(Size, f.name); failed {
		return lib.SQLITE_IOERR_FSTAT
	}
	*at[int64](out) = int64(len(f.node.data))
	return lib.SQLITE_OK
}

func controlC(_ *libc.TLS, _ uintptr, _ int32, _ uintptr) int32 { return lib.SQLITE_NOTFOUND }

func sectorC(_ *libc.TLS, _ uintptr) int32 { return sector }

// characteristicsC promises nothing: not even that a write leaves the sectors
// beside it alone.
func characteristicsC(_ *libc.TLS, _ uintptr) int32 { return 0 }
