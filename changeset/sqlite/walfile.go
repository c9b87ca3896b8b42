package sqlite

import (
	"encoding/binary"
	"unsafe"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
)

// Sizes in the -wal file, in bytes.
const (
	walFileHeader  = 32
	walFrameHeader = 24
)

// lockByte is where SQLite locks the database file: the page there holds nothing.
const lockByte = 1 << 30

// WALIndex is the header of the WAL's index, which all connections share: what
// the last commit, whoever made it, left in the -wal file.
type WALIndex struct {
	Change   uint32  // counts commits
	PageSize int     // in bytes
	Frames   int     // that count in the WAL
	Pages    int     // of the database
	Salts    [8]byte // of the WAL since it last started over, at its begin and in each frame
	Moved    int     // frames that checkpoints have put into the database, and synced
}

// Same reports whether x and y are of the same commit.
func (x WALIndex) Same(y WALIndex) bool {
	x.Moved, y.Moved = 0, 0
	return x == y
}

// Size returns how long the -wal file is at least, in bytes.
func (x WALIndex) Size() int64 {
	if x.Frames == 0 {
		return 0
	}
	return x.frame(x.Frames + 1)
}

// frame is where the frame with number n, from 1, begins.
func (x WALIndex) frame(n int) int64 {
	return walFileHeader + int64(n-1)*int64(x.PageSize+walFrameHeader)
}

// WALIndex reads the header, from the memory that SQLite maps; ok is false while
// somebody is writing it, or if there is none. Reading a -shm file that somebody
// has cut short ends the process with SIGBUS, as does any use of the database.
func (c *Conn) WALIndex() (x WALIndex, ok bool) {
	file := c.filePointer(lib.SQLITE_FCNTL_FILE_POINTER)
	if file == 0 {
		return x, false
	}
	const region = 32 << 10
	*(*uintptr)(pointer(c.scratch)) = 0
	m := methodsOf(file)
	if m == nil || m.FiVersion < 2 || m.FxShmMap == 0 {
		return x, false
	}
	shmMap := *(*func(*libc.TLS, uintptr, int32, int32, int32, uintptr) int32)(unsafe.Pointer(&struct{ uintptr }{m.FxShmMap}))
	rc := shmMap(c.tls, file, 0, region, 0, c.scratch)
	p := *(*uintptr)(pointer(c.scratch))
	if rc != lib.SQLITE_OK || p == 0 {
		return x, false
	}
	// Who writes begins with the second copy.
	const size = int(unsafe.Sizeof(lib.TWalIndexHdr{}))
	first := *(*lib.TWalIndexHdr)(pointer(p))
	if second := *(*lib.TWalIndexHdr)(pointer(p + uintptr(size))); first != second || first.FisInit == 0 {
		return x, false
	}
	x = WALIndex{Change: first.FiChange, Frames: int(first.FmxFrame), Pages: int(first.FnPage)}
	x.PageSize = int(first.FszPage&0xfe00) + int(first.FszPage&1)<<16
	x.Moved = int(*(*uint32)(pointer(p + uintptr(2*size)))) // nBackfill follows the copies
	copy(x.Salts[:], unsafe.Slice((*byte)(unsafe.Pointer(&first.FaSalt)), len(x.Salts)))
	return x, true
}

// WALKept reports whether the -wal file has the begin of frame n of the log that x
// tells of, or of the file for n = 0: a file that was cut short and written again
// further on has zeros there.
func (c *Conn) WALKept(x WALIndex, n int) bool {
	if n == 0 {
		b, ok := c.readWAL(0, walFileHeader)
		return !ok || [8]byte(b[16:24]) == x.Salts
	}
	b, ok := c.readWAL(x.frame(n), walFrameHeader)
	return !ok || [8]byte(b[8:16]) == x.Salts
}

// WALHolds reports whether all pages above the first n are in those frames of the
// log that x tells of that a checkpoint is still to move: else they must be in the
// database. It reads the begin of these frames.
func (c *Conn) WALHolds(x WALIndex, n int) bool {
	missing := map[uint32]bool{}
	if x.Pages-n > x.Frames-x.Moved+1 {
		return false
	}
	for page := n + 1; page <= x.Pages; page++ {
		if page != lockByte/x.PageSize+1 {
			missing[uint32(page)] = true
		}
	}
	for f := x.Frames; f > x.Moved && len(missing) > 0; f-- { // the last are the likeliest
		b, ok := c.readWAL(x.frame(f), walFrameHeader)
		if !ok || [8]byte(b[8:16]) != x.Salts {
			break
		}
		delete(missing, binary.BigEndian.Uint32(b))
	}
	return len(missing) == 0
}

// readWAL reads up to 64 bytes of the -wal file through SQLite's own handle; what
// is beyond its end reads as zeros. The bytes are valid until the next call.
func (c *Conn) readWAL(offset int64, n int) (b []byte, ok bool) {
	file := c.filePointer(lib.SQLITE_FCNTL_JOURNAL_POINTER)
	if file == 0 {
		return nil, false
	}
	m := methodsOf(file)
	if m == nil {
		return nil, false
	}
	read := *(*func(*libc.TLS, uintptr, uintptr, int32, int64) int32)(unsafe.Pointer(&struct{ uintptr }{m.FxRead}))
	rc := read(c.tls, file, c.scratch, int32(n), offset)
	return cbytes(c.scratch, n), rc == lib.SQLITE_OK || rc == lib.SQLITE_IOERR_SHORT_READ
}

// filePointer returns SQLite's handle of the database file or its WAL, 0 if it has
// none.
func (c *Conn) filePointer(op int32) uintptr {
	*(*uintptr)(pointer(c.scratch)) = 0
	if rc := lib.Xsqlite3_file_control(c.tls, c.db, 0, op, c.scratch); rc != lib.SQLITE_OK {
		return 0
	}
	return *(*uintptr)(pointer(c.scratch))
}

// methodsOf returns what a handle can do; nil if its file is not open.
func methodsOf(file uintptr) *lib.Tsqlite3_io_methods {
	return (*lib.Tsqlite3_io_methods)(pointer(*(*uintptr)(pointer(file))))
}

// KeepFiles makes Close leave the -wal and -shm where they are, also as the last
// connection, and what is in the WAL alone unless checkpoint is set.
func (c *Conn) KeepFiles(checkpoint bool) error {
	*(*int32)(pointer(c.scratch)) = 1
	rc := lib.Xsqlite3_file_control(c.tls, c.db, 0, lib.SQLITE_FCNTL_PERSIST_WAL, c.scratch)
	if rc != lib.SQLITE_OK && rc != lib.SQLITE_NOTFOUND { // a VFS need not know it
		return c.fail(rc)
	}
	return c.setConfig(lib.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, flag(!checkpoint))
}
