package sqlite

import (
	"unsafe"

	"modernc.org/libc"
	"modernc.org/libc/sys/types"
	lib "modernc.org/sqlite/lib"
)

// The library is built with SQLITE_ENABLE_MEMORY_MANAGEMENT, by which all page
// caches of the process share one list of pages under one mutex, taken at each
// access to a page. Without that option SQLite gives each cache a list of its own
// (pcache1.separateCache); the code for it is there, but no call turns it on.
// Measured on two cores, separate against shared: joins within the cache by two
// readers at once 2.4 times as many, by four 2.9 times; point reads beside a busy
// writer 1.05 to 1.08, and the writer's commits beside them 1.1 to 1.3.
//
// What the shared list gave is lost: a busy connection does not grow at the cost
// of idle ones, so Config.CacheBytes is what a connection has.

// cachesAreSeparate says whether each connection has page caches of its own.
// Package variables are set before any connection can be opened.
var cachesAreSeparate = separateCaches()

// separateCaches gives every cache made from now on a group of its own. It
// changes nothing and returns false if the library is not as it expects.
func separateCaches() bool {
	tls := libc.NewTLS()
	defer tls.Close()
	methods := libc.Xcalloc(tls, 1, types.Size_t(unsafe.Sizeof(lib.Tsqlite3_pcache_methods2{})))
	defer libc.Xfree(tls, methods)
	va := libc.NewVaList(methods)
	defer libc.Xfree(tls, va)
	// Without a cache of somebody else this sets and then returns the library's own.
	if lib.Xsqlite3_config(tls, lib.SQLITE_CONFIG_GETPCACHE2, va) != lib.SQLITE_OK || lib.Xsqlite3_initialize(tls) != lib.SQLITE_OK {
		return false
	}
	m := (*lib.Tsqlite3_pcache_methods2)(pointer(methods))
	if m.FxCreate == 0 || m.FxDestroy == 0 {
		return false
	}
	p := newProbe(tls, m)
	if p.cache == 0 {
		return false
	}
	defer p.destroy()
	if !p.fits() {
		return false
	}
	// The group of a cache is otherwise the first member of the global state.
	global := (*lib.TPCacheGlobal)(pointer(p.group() - unsafe.Offsetof(lib.TPCacheGlobal{}.Fgrp)))
	if global.FisInit != 1 || global.FseparateCache != 0 {
		return false
	}
	global.FseparateCache = 1
	q := newProbe(tls, m)
	if q.cache == 0 || !q.fits() || !q.isSeparate() {
		global.FseparateCache = 0
	}
	if q.cache != 0 {
		q.destroy()
	}
	return global.FseparateCache == 1
}

const (
	probePage  = 4096
	probeExtra = 136
)

// probe is a page cache that no connection uses.
type probe struct {
	tls     *libc.TLS
	methods *lib.Tsqlite3_pcache_methods2
	cache   uintptr
}

func newProbe(tls *libc.TLS, m *lib.Tsqlite3_pcache_methods2) probe {
	create := entryFunction[func(*libc.TLS, int32, int32, int32) uintptr](m.FxCreate)
	return probe{tls, m, create(tls, probePage, probeExtra, 1)}
}

func (p probe) destroy() {
	entryFunction[func(*libc.TLS, uintptr)](p.methods.FxDestroy)(p.tls, p.cache)
}

// fits reports whether the cache has in its members what it was made with.
func (p probe) fits() bool {
	c := (*lib.TPCache1)(pointer(p.cache))
	return c.FszPage == probePage && c.FszExtra == probeExtra && c.FbPurgeable == 1 && c.FnPage == 0 && c.FpGroup != 0
}

func (p probe) group() uintptr { return (*lib.TPCache1)(pointer(p.cache)).FpGroup }

// isSeparate reports whether the group lies behind the cache, in its memory.
func (p probe) isSeparate() bool { return p.group() == p.cache+unsafe.Sizeof(lib.TPCache1{}) }

// entryFunction is the inverse of entryPoint.
func entryFunction[T any](p uintptr) T {
	return *(*T)(unsafe.Pointer(&struct{ p uintptr }{p}))
}
