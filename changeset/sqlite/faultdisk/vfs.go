package faultdisk

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"modernc.org/libc"
	"modernc.org/libc/sys/types"
	lib "modernc.org/sqlite/lib"
)

// The layouts of sqlite3_vfs (version 1) and sqlite3_io_methods (version 2) in
// SQLite's header; Go aligns them as C does.
type cVFS struct {
	version, fileSize, maxPath                        int32
	next, name, data                                  uintptr
	open, remove, access, fullPath                    uintptr
	dlOpen, dlError, dlSym, dlClose                   uintptr
	randomness, sleep, currentTime, lastError, time64 uintptr
}

type cMethods struct {
	version                                                int32
	close, read, write, truncate, sync, size, lock, unlock uintptr
	checkReserved, control, sectorSize, characteristics    uintptr
	shmMap, shmLock, shmBarrier, shmUnmap                  uintptr
}

// cFile is our sqlite3_file.
type cFile struct{ methods, handle uintptr }

// entryPoint returns the address by which transpiled C calls a top-level
// function; a closure would be collected.
func entryPoint[T any](f T) uintptr { return *(*uintptr)(unsafe.Pointer(&struct{ f T }{f})) }

// at turns an address of C memory into a pointer.
func at[T any](p uintptr) *T { return *(**T)(unsafe.Pointer(&p)) }

func bytesAt(p uintptr, n int32) []byte { return unsafe.Slice(at[byte](p), n) }

// handles are how C refers to disks and open files: never by a Go pointer.
var handles struct {
	sync.Map
	last atomic.Uint64
}

func newHandle(v any) uintptr {
	h := uintptr(handles.last.Add(1))
	handles.Store(h, v)
	return h
}

func byHandle[T any](h uintptr) *T {
	v, _ := handles.Load(h)
	return v.(*T)
}

// methods live in C memory for the life of the process.
var methods = sync.OnceValue(func() uintptr {
	tls := libc.NewTLS()
	defer tls.Close()
	p := libc.Xcalloc(tls, 1, types.Size_t(unsafe.Sizeof(cMethods{})))
	*at[cMethods](p) = cMethods{2,
		entryPoint(closeC), entryPoint(readC), entryPoint(writeC), entryPoint(truncateC), entryPoint(syncC), entryPoint(sizeC),
		entryPoint(lockC), entryPoint(unlockC), entryPoint(reservedC), entryPoint(controlC), entryPoint(sectorC), entryPoint(characteristicsC),
		entryPoint(shmMapC), entryPoint(shmLockC), entryPoint(shmBarrierC), entryPoint(shmUnmapC)}
	return p
})

// registration is what SQLite holds of a disk.
type registration struct {
	tls       *libc.TLS
	vfs, name uintptr
	handle    uintptr
}

// New returns a disk with the contents of an image, all durable; the zero Image
// is empty. Close it after all of its connections.
func New(img Image) (*Disk, error) {
	d := &Disk{files: map[string]*node{}, next: img.next}
	names := make([]string, 0, len(img.files))
	for name := range img.files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		n := &node{number: img.files[name], data: slices.Clone(img.data[img.files[name]])}
		d.files[name] = n
		d.record(event{kind: created, inode: n.number, name: name})
		d.record(event{kind: written, inode: n.number, data: img.data[n.number]})
		d.record(event{kind: synced, inode: n.number})
	}
	tls := libc.NewTLS()
	d.c.tls, d.c.handle = tls, newHandle(d)
	d.name = fmt.Sprint("faultdisk", d.c.handle)
	var err error
	if d.c.name, err = libc.CString(d.name); err != nil {
		return nil, err
	}
	// The default VFS gives the clock, random numbers and names of paths.
	base := lib.Xsqlite3_vfs_find(tls, 0)
	d.c.vfs = libc.Xcalloc(tls, 1, types.Size_t(unsafe.Sizeof(cVFS{})))
	v := at[cVFS](d.c.vfs)
	*v = *at[cVFS](base)
	v.version, v.fileSize, v.maxPath, v.next, v.name, v.data = 1, int32(unsafe.Sizeof(cFile{})), 1024, 0, d.c.name, d.c.handle
	v.open, v.remove, v.access, v.fullPath = entryPoint(openC), entryPoint(removeC), entryPoint(accessC), entryPoint(fullPathC)
	v.lastError = entryPoint(lastErrorC)
	if rc := lib.Xsqlite3_vfs_register(tls, d.c.vfs, 0); rc != lib.SQLITE_OK {
		return nil, fmt.Errorf("register %s: %d", d.name, rc)
	}
	return d, nil
}

// Close takes the disk from SQLite; no file on it may be open.
func (d *Disk) Close() error {
	d.mu.Lock()
	open := d.open
	d.mu.Unlock()
	if open != 0 {
		return fmt.Errorf("%s: %d files are open", d.name, open)
	}
	lib.Xsqlite3_vfs_unregister(d.c.tls, d.c.vfs)
	libc.Xfree(d.c.tls, d.c.vfs)
	libc.Xfree(d.c.tls, d.c.name)
	handles.Delete(d.c.handle)
	d.c.tls.Close()
	return nil
}

func diskOf(vfs uintptr) *Disk { return byHandle[Disk](at[cVFS](vfs).data) }

func openC(_ *libc.TLS, vfs, name, out uintptr, flags int32, outFlags uintptr) int32 {
	*at[cFile](out) = cFile{}
	d := diskOf(vfs)
	d.mu.Lock()
	defer d.mu.Unlock()
	if failed, full := d.fails(Open, libc.GoString(name)); failed {
		if full {
			return lib.SQLITE_FULL
		}
		return lib.SQLITE_CANTOPEN
	}
	if name == 0 {
		return lib.SQLITE_CANTOPEN // see Limits
	}
	path := libc.GoString(name)
	if d.files[path] == nil && flags&lib.SQLITE_OPEN_CREATE == 0 {
		return lib.SQLITE_CANTOPEN
	}
	f := &file{disk: d, node: d.create(path), name: path, removeOnClose: flags&lib.SQLITE_OPEN_DELETEONCLOSE != 0}
	d.open++
	*at[cFile](out) = cFile{methods(), newHandle(f)}
	if outFlags != 0 {
		*at[int32](outFlags) = flags
	}
	return lib.SQLITE_OK
}

func removeC(_ *libc.TLS, vfs, name uintptr, durably int32) int32 {
	d := diskOf(vfs)
	d.mu.Lock()
	defer d.mu.Unlock()
	if failed, _ := d.fails(Delete, libc.GoString(name)); failed {
		return lib.SQLITE_IOERR_DELETE
	}
	path := libc.GoString(name)
	if d.files[path] == nil {
		return lib.SQLITE_IOERR_DELETE_NOENT
	}
	d.drop(path, durably != 0)
	return lib.SQLITE_OK
}

func (d *Disk) drop(path string, durably bool) {
	e := event{kind: removed, name: path, inode: d.files[path].number}
	if durably {
		e.kind = removedDurably
	}
	delete(d.files, path)
	d.record(e)
}

// accessC finds an empty file absent for SQLITE_ACCESS_EXISTS, as the VFS of unix
// does.
func accessC(_ *libc.TLS, vfs, name uintptr, flags int32, out uintptr) int32 {
	d := diskOf(vfs)
	d.mu.Lock()
	defer d.mu.Unlock()
	*at[int32](out) = 0
	if failed, _ := d.fails(Access, libc.GoString(name)); failed {
		return lib.SQLITE_IOERR_ACCESS
	}
	n := d.files[libc.GoString(name)]
	if n != nil && (flags != lib.SQLITE_ACCESS_EXISTS || len(n.data) > 0) {
		*at[int32](out) = 1
	}
	return lib.SQLITE_OK
}

func fullPathC(_ *libc.TLS, _, name uintptr, size int32, out uintptr) int32 {
	path := libc.GoString(name)
	if len(path) >= int(size) {
		return lib.SQLITE_CANTOPEN
	}
	b := bytesAt(out, int32(len(path)+1))
	copy(b, path)
	b[len(path)] = 0
	return lib.SQLITE_OK
}

func lastErrorC(_ *libc.TLS, _ uintptr, _ int32, _ uintptr) int32 { return 0 }
