package faultdisk

import (
	"modernc.org/libc"
	"modernc.org/libc/sys/types"
	lib "modernc.org/sqlite/lib"
)

// locks are SQLite's five levels on one file. The disk's mutex guards them.
type locks struct {
	shared  int   // files at SHARED or above
	writer  *file // at RESERVED or above
	pending bool  // nobody new may share
}

func lockC(_ *libc.TLS, p uintptr, level int32) int32 {
	f := fileOf(p)
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	l := &f.node.locks
	if level <= f.level {
		return lib.SQLITE_OK
	}
	if failed, _ := f.disk.fails(Lock, f.name); failed {
		return lib.SQLITE_IOERR_LOCK
	}
	if f.level == lib.SQLITE_LOCK_NONE {
		if l.pending {
			return lib.SQLITE_BUSY
		}
		l.shared++
		f.level = lib.SQLITE_LOCK_SHARED
	}
	if level == lib.SQLITE_LOCK_SHARED {
		return lib.SQLITE_OK
	}
	if l.writer != nil && l.writer != f {
		return lib.SQLITE_BUSY
	}
	l.writer = f
	if level == lib.SQLITE_LOCK_EXCLUSIVE {
		l.pending = true
		if l.shared > 1 {
			f.level = lib.SQLITE_LOCK_PENDING
			return lib.SQLITE_BUSY
		}
	}
	f.level = level
	return lib.SQLITE_OK
}

func unlockC(_ *libc.TLS, p uintptr, level int32) int32 {
	f := fileOf(p)
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	f.unlock(level)
	return lib.SQLITE_OK
}

func (f *file) unlock(level int32) {
	l := &f.node.locks
	if level >= f.level {
		return
	}
	if l.writer == f {
		l.writer, l.pending = nil, false
	}
	if level == lib.SQLITE_LOCK_NONE {
		l.shared--
	}
	f.level = level
}

func reservedC(_ *libc.TLS, p, out uintptr) int32 {
	f := fileOf(p)
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	*at[int32](out) = 0
	if f.node.locks.writer != nil {
		*at[int32](out) = 1
	}
	return lib.SQLITE_OK
}

// shm is the shared memory of a database: what would be its -shm.
type shm struct {
	users   int
	regions []uintptr // C memory
	shared  [lib.SQLITE_SHM_NLOCK]int
	owner   [lib.SQLITE_SHM_NLOCK]*file
}

func shmMapC(tls *libc.TLS, p uintptr, region, size, extend int32, out uintptr) int32 {
	f := fileOf(p)
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	*at[uintptr](out) = 0
	if failed, _ := f.disk.fails(ShmMap, f.name); failed {
		return lib.SQLITE_IOERR_SHMMAP
	}
	if f.node.shm == nil {
		f.node.shm = &shm{}
	}
	s := f.node.shm
	if !f.mapped {
		f.mapped = true
		s.users++
	}
	if int(region) >= len(s.regions) && extend == 0 {
		return lib.SQLITE_OK
	}
	for len(s.regions) <= int(region) {
		m := libc.Xcalloc(tls, 1, types.Size_t(size))
		if m == 0 {
			return lib.SQLITE_NOMEM
		}
		s.regions = append(s.regions, m)
	}
	*at[uintptr](out) = s.regions[region]
	return lib.SQLITE_OK
}

func shmLockC(_ *libc.TLS, p uintptr, first, n, flags int32) int32 {
	f := fileOf(p)
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	s := f.node.shm
	exclusive := flags&lib.SQLITE_SHM_EXCLUSIVE != 0
	if flags&lib.SQLITE_SHM_UNLOCK != 0 {
		f.release(first, n)
		return lib.SQLITE_OK
	}
	if failed, _ := f.disk.fails(ShmLock, f.name); failed {
		return lib.SQLITE_IOERR_SHMLOCK
	}
	for i := first; i < first+n; i++ {
		others := s.shared[i]
		if f.shared>>i&1 != 0 {
			others--
		}
		if s.owner[i] != nil && s.owner[i] != f || exclusive && others > 0 {
			return lib.SQLITE_BUSY
		}
	}
	for i := first; i < first+n; i++ {
		switch {
		case exclusive:
			s.owner[i] = f
			f.owned |= 1 << i
		case f.shared>>i&1 == 0:
			s.shared[i]++
			f.shared |= 1 << i
		}
	}
	return lib.SQLITE_OK
}

func (f *file) release(first, n int32) {
	s := f.node.shm
	for i := first; i < first+n; i++ {
		if f.owned>>i&1 != 0 {
			s.owner[i] = nil
		}
		if f.shared>>i&1 != 0 {
			s.shared[i]--
		}
		f.owned &^= 1 << i
		f.shared &^= 1 << i
	}
}

// shmBarrierC orders memory by way of the mutex.
func shmBarrierC(_ *libc.TLS, p uintptr) {
	f := fileOf(p)
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
}

func shmUnmapC(tls *libc.TLS, p uintptr, _ int32) int32 {
	f := fileOf(p)
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	f.unmap(tls)
	return lib.SQLITE_OK
}

// unmap lets the shared memory go with its last user.
func (f *file) unmap(tls *libc.TLS) {
	if !f.mapped {
		return
	}
	s := f.node.shm
	f.release(0, lib.SQLITE_SHM_NLOCK)
	f.mapped = false
	if s.users--; s.users == 0 {
		for _, m := range s.regions {
			libc.Xfree(tls, m)
		}
		f.node.shm = nil
	}
}
