package sqlite

import (
	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
)

var walEntry = entryPoint(walC)

// walC is called after each commit of the connection with the frames that the
// WAL has then. Setting it also switches automatic checkpoints off.
func walC(_ *libc.TLS, handle, _, _ uintptr, frames int32) int32 {
	if c := connection(handle); c != nil {
		c.walFrames = int(frames)
	}
	return lib.SQLITE_OK
}

// WALFrames returns how many frames the WAL had after the connection's last
// commit, 0 before the first.
func (c *Conn) WALFrames() int { return c.walFrames }
