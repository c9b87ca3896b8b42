package sqlite

import (
	"unsafe"

	"modernc.org/libc"
	"modernc.org/libc/sys/types"
)

// pointer turns an address of C memory into a pointer. C memory is mapped
// outside of the Go heap, so the collector neither moves nor frees it. Go
// memory never goes the other way.
func pointer(p uintptr) unsafe.Pointer {
	return *(*unsafe.Pointer)(unsafe.Pointer(&p))
}

// cbytes is a view of n bytes of C memory; nil for a null address.
func cbytes(p uintptr, n int) []byte {
	if p == 0 || n <= 0 {
		return nil
	}
	return unsafe.Slice((*byte)(pointer(p)), n)
}

// cstring is a view of a NUL-terminated string, without the NUL.
func cstring(p uintptr) []byte {
	if p == 0 {
		return nil
	}
	n := 0
	for *(*byte)(unsafe.Add(pointer(p), n)) != 0 {
		n++
	}
	return cbytes(p, n)
}

// newCString copies s to C memory, NUL-terminated. The caller frees it.
func (c *Conn) newCString(s string) (uintptr, error) {
	p := libc.Xmalloc(c.tls, types.Size_t(len(s)+1))
	if p == 0 {
		return 0, ErrNoMemory
	}
	b := cbytes(p, len(s)+1)
	copy(b, s)
	b[len(s)] = 0
	return p, nil
}

// buffer is C memory that holds the text or blob of one parameter. It belongs
// to its parameter, so that binding another one never touches it.
type buffer struct {
	p   uintptr
	cap int
}

// keep bounds what a parameter holds on to after ClearBindings, in bytes.
const keep = 64 << 10

// set copies v into the buffer and returns its address, which is not null even
// if v is empty: to SQLite that would be NULL.
func (b *buffer) set(tls *libc.TLS, v []byte) (uintptr, error) {
	if len(v) > b.cap || b.cap == 0 {
		b.free(tls)
		n := max(64, len(v))
		if b.p = libc.Xmalloc(tls, types.Size_t(n)); b.p == 0 {
			return 0, ErrNoMemory
		}
		b.cap = n
	}
	copy(cbytes(b.p, b.cap), v)
	return b.p, nil
}

func (b *buffer) free(tls *libc.TLS) {
	if b.p != 0 {
		libc.Xfree(tls, b.p)
	}
	*b = buffer{}
}
