package sqlite

import (
	"context"
	"time"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
)

// progressOps is after how many instructions of SQLite's machine the deadline
// is looked at: 20 to 100 µs of ordinary work.
const progressOps = 1000

var progressEntry = entryPoint(progressC)

func progressC(_ *libc.TLS, handle uintptr) int32 {
	c := connection(handle)
	if c == nil || c.interrupted.Load() {
		return 1
	}
	if !c.deadline.IsZero() && !c.now().Before(c.deadline) {
		c.expired = true
		return 1
	}
	return 0
}

// SetDeadline ends statements that are still running at t with ErrInterrupt and
// the message "statement time limit exceeded". The zero time means none; a nil
// now is time.Now. It is looked at every thousand instructions, so a short
// statement still runs after t. A write that it ends takes the whole transaction
// with it: see [Conn.Autocommit]. The wait for another connection's lock is
// bounded by Config.BusyTimeout instead.
func (c *Conn) SetDeadline(t time.Time, now func() time.Time) {
	if now == nil {
		now = time.Now
	}
	c.deadline, c.now = t, now
}

// InterruptOn ends statements with ErrInterrupt once ctx is done, also those
// that begin after it. Nobody may do this to a writer: see SetDeadline. The
// caller calls stop before it uses the connection for something else; no
// interrupt arrives after stop has returned. Statements that stand on a row must
// be reset before that, and stop must be called before Close.
func (c *Conn) InterruptOn(ctx context.Context) (stop func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	fired := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(fired)
		// The flag reaches statements that have not begun, for which
		// sqlite3_interrupt is void. The call reaches what looks at the
		// engine's own flag alone, such as count(*).
		c.interrupted.Store(true)
		lib.Xsqlite3_interrupt(c.tls, c.db)
	})
	return func() {
		if !cancel() {
			<-fired
		}
		c.interrupted.Store(false)
	}
}
