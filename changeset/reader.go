package changeset

import (
	"encoding/binary"
	"fmt"
)

// reader walks over encoded bytes. Its first error sticks: every later read
// returns zero values, and the loops over counts end because they look at err.
// It never allocates more than a fixed multiple of the bytes that are left.
type reader struct {
	b      []byte
	off    int
	err    error
	table  string // being read, for errors
	values int    // read so far, of MaxValues
}

// fail keeps the first error, with the place where the failing field starts.
func (r *reader) fail(kind error, at int, format string, args ...any) {
	if r.err == nil {
		r.err = &DecodeError{Err: kind, Offset: at, Table: r.table, Reason: fmt.Sprintf(format, args...)}
	}
	r.b, r.off = nil, 0
}

func (r *reader) left() int { return len(r.b) - r.off }

// take returns a view of the next n bytes, nil if there are fewer.
func (r *reader) take(n int, what string) []byte {
	if n > r.left() {
		r.fail(ErrTruncated, r.off, "%s of %d bytes, %d left", what, n, r.left())
		return nil
	}
	b := r.b[r.off : r.off+n : r.off+n]
	r.off += n
	return b
}

func (r *reader) oneByte(what string) byte {
	if b := r.take(1, what); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint64(what string) uint64 {
	if b := r.take(8, what); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// uvarint reads LEB128 in its shortest form.
func (r *reader) uvarint(what string) uint64 {
	if r.off < len(r.b) && r.b[r.off] < 0x80 {
		r.off++
		return uint64(r.b[r.off-1])
	}
	return r.longUvarint(what)
}

func (r *reader) longUvarint(what string) uint64 {
	var v uint64
	for i := 0; i < binary.MaxVarintLen64; i++ {
		if r.off+i >= len(r.b) {
			r.fail(ErrTruncated, r.off, "%s ends within its varint", what)
			return 0
		}
		c := r.b[r.off+i]
		if c < 0x80 {
			if c == 0 && i > 0 || i == binary.MaxVarintLen64-1 && c > 1 {
				break
			}
			r.off += i + 1
			return v | uint64(c)<<(7*i)
		}
		v |= uint64(c&0x7f) << (7 * i)
	}
	r.fail(ErrCorrupt, r.off, "%s is not a minimal 64-bit varint", what)
	return 0
}

// count reads how many items follow, each of at least size bytes, so that a
// caller may allocate for them.
func (r *reader) count(size int, what string) int {
	at := r.off
	n := r.uvarint(what)
	if n > uint64(r.left()/size) {
		r.fail(ErrTruncated, at, "%d %s declared, %d bytes left", n, what, r.left())
		return 0
	}
	return int(n)
}

// view reads a length and returns that many bytes, shared.
func (r *reader) view(what string) []byte {
	at := r.off
	n := r.uvarint(what)
	if n > uint64(r.left()) {
		r.fail(ErrTruncated, at, "%s of %d bytes, %d left", what, n, r.left())
		return nil
	}
	return r.take(int(n), what)
}
