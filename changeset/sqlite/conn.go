package sqlite

import (
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
)

// Conn is a connection. One goroutine uses it at a time.
type Conn struct {
	tls     *libc.TLS
	db      uintptr
	handle  uintptr // in the registry
	scratch uintptr // 64 bytes of C memory for results of single calls

	mode   Mode    // of what is prepared next
	judge  Mode    // under which the authorizer answers right now
	access *Access // what the running prepare or step touches is added to it
	step   bool    // the authorizer is asked at step
	schema bool    // the running prepare writes the schema table
	denial string  // why the authorizer refused first in the running call

	modules map[string]bool // names of registered virtual table modules, lower case
	pragmas map[string]bool // names of all pragmas, lower case

	live  map[*Stmt]struct{} // prepared and not finalized
	cache cache

	hook      func(*Preupdate)
	muted     bool
	preupdate Preupdate
	tables    map[string]string // interned names for the hook

	functions []function
	args      []Value // of the function that is running
	answer    buffer  // of the function that ran last

	walFrames   int // after the last commit
	deadline    time.Time
	now         func() time.Time
	expired     bool        // the progress handler ended a statement by the deadline
	interrupted atomic.Bool // set by the goroutine of InterruptOn
}

// SetMode sets the mode of what is prepared from now on.
func (c *Conn) SetMode(m Mode) { c.mode = m }

// Mode returns the mode of what is prepared next.
func (c *Conn) Mode() Mode { return c.mode }

// Close finalizes all statements and closes the connection. The last
// connection to a file checkpoints and removes its WAL. Closing twice is
// allowed.
func (c *Conn) Close() error {
	if c.db == 0 {
		return nil
	}
	for s := range c.live {
		s.Finalize()
	}
	c.cache.clear()
	rc := lib.Xsqlite3_close(c.tls, c.db)
	var err error
	if rc != lib.SQLITE_OK {
		err = c.fail(rc)
		lib.Xsqlite3_close_v2(c.tls, c.db)
	}
	c.release()
	return err
}

// release gives back what is not SQLite's.
func (c *Conn) release() {
	unregister(c)
	c.db = 0
	c.answer.free(c.tls)
	libc.Xfree(c.tls, c.scratch)
	c.tls.Close()
	c.tls = nil
}

// Exec runs a whole script without parameters, ignoring its rows. What failed
// at prepare has its offset in the script.
func (c *Conn) Exec(sql string) error {
	for rest := sql; ; {
		s, tail, err := c.Prepare(rest)
		if e := (*Error)(nil); errors.As(err, &e) && e.Offset >= 0 {
			e.Offset += len(sql) - len(rest)
		}
		if err != nil || s == nil {
			return err
		}
		err = s.Run()
		s.Finalize()
		if err != nil {
			return err
		}
		rest = tail
	}
}

// Prepare compiles the first statement of sql and returns it with the rest of
// the text. The caller finalizes it. The statement is nil if only blanks and
// comments are left. Offsets in an *Error count from the start of sql.
func (c *Conn) Prepare(sql string) (s *Stmt, tail string, err error) {
	return c.prepare(sql, 0)
}

// Keep compiles one statement that the caller uses often and finalizes, under
// the connection's mode: like Cached, without its look-up. Bindings and run are
// the caller's to reset.
func (c *Conn) Keep(sql string) (*Stmt, error) {
	s, _, err := c.prepare(sql, lib.SQLITE_PREPARE_PERSISTENT)
	return s, err
}

func (c *Conn) prepare(sql string, flags uint32) (*Stmt, string, error) {
	if c.db == 0 {
		return nil, "", misuse("connection is closed")
	}
	if strings.IndexByte(sql, 0) >= 0 {
		// SQLite would silently stop there and run half of the text.
		return nil, "", &Error{Code: ErrGeneric, Message: "SQL text contains a NUL character", Offset: strings.IndexByte(sql, 0)}
	}
	text, err := c.newCString(sql)
	if err != nil {
		return nil, "", err
	}
	defer libc.Xfree(c.tls, text)

	access := &Access{}
	p, end, err := c.compile(text, len(sql), flags, access)
	if err != nil {
		return nil, "", err
	}
	tail := sql[end:]
	if p == 0 {
		return nil, tail, nil
	}
	s := &Stmt{c: c, p: p, mode: c.mode, access: access, text: sql[:end]}
	s.buffers = make([]buffer, lib.Xsqlite3_bind_parameter_count(c.tls, p))
	c.live[s] = struct{}{}
	return s, tail, nil
}

// compile prepares under c.mode and returns the statement's address and the
// offset of what follows it.
func (c *Conn) compile(text uintptr, n int, flags uint32, access *Access) (p uintptr, end int, err error) {
	c.denial, c.expired, c.schema = "", false, false
	judge, outer, step := c.judge, c.access, c.step
	c.judge, c.access, c.step = c.mode, access, false
	hidden := c.hideTriggers()
	out := c.scratch
	// The length includes the NUL, which saves SQLite a copy.
	rc := lib.Xsqlite3_prepare_v3(c.tls, c.db, text, int32(n+1), flags, out, out+8)
	c.showTriggers(hidden)
	c.judge, c.access, c.step = judge, outer, step
	if rc != lib.SQLITE_OK {
		return 0, 0, c.fail(rc)
	}
	p = *(*uintptr)(pointer(out))
	end = int(*(*uintptr)(pointer(out + 8)) - text)
	if c.schema && c.mode.client() && len(access.DDL) == 0 {
		lib.Xsqlite3_finalize(c.tls, p)
		return 0, 0, &Error{Code: ErrAuth, Message: "table sqlite_master may not be modified", Offset: -1}
	}
	c.denial = ""
	return p, end, nil
}

// hideTriggers takes trigger programs out of what is compiled in ModeApply, and
// reports whether they must be put back. ENABLE_TRIGGER by sqlite3_db_config
// does the same, but makes SQLite prepare every statement of the connection
// again; and to answer IGNORE from the authorizer is not enough: an ignored
// DELETE still deletes, with every column in its WHERE replaced by NULL.
func (c *Conn) hideTriggers() (hidden bool) {
	flags := &(*lib.Tsqlite3)(pointer(c.db)).Fflags
	if c.judge != ModeApply || *flags&lib.SQLITE_EnableTrigger == 0 {
		return false
	}
	*flags &^= lib.SQLITE_EnableTrigger
	return true
}

func (c *Conn) showTriggers(hidden bool) {
	if hidden {
		(*lib.Tsqlite3)(pointer(c.db)).Fflags |= lib.SQLITE_EnableTrigger
	}
}

// Each runs sql with positional args and calls fn for each row; fn may be nil.
// An error of fn ends the run and is returned. Text that was passed to Each
// stays prepared, see [Conn.Cached].
func (c *Conn) Each(sql string, args []Value, fn func(*Stmt) error) error {
	s, err := c.Cached(sql)
	if err != nil || s == nil {
		return err
	}
	defer s.Reset()
	for i, v := range args {
		if err := s.Bind(i+1, v); err != nil {
			return err
		}
	}
	for {
		row, err := s.Step()
		if err != nil || !row {
			return err
		}
		if fn == nil {
			continue
		}
		if err := fn(s); err != nil {
			return err
		}
	}
}

// Autocommit reports that no transaction is open.
func (c *Conn) Autocommit() bool { return lib.Xsqlite3_get_autocommit(c.tls, c.db) != 0 }

// Changes returns the rows that the last INSERT, UPDATE or DELETE changed by
// itself; those of triggers do not count. Other statements leave it alone:
// look whether TotalChanges moved.
func (c *Conn) Changes() int64 { return lib.Xsqlite3_changes64(c.tls, c.db) }

// TotalChanges returns the rows changed since the connection was opened, those
// of triggers included.
func (c *Conn) TotalChanges() int64 { return lib.Xsqlite3_total_changes64(c.tls, c.db) }

// LastInsertID returns the rowid of the last insert.
func (c *Conn) LastInsertID() int64 {
	return lib.Xsqlite3_last_insert_rowid(c.tls, c.db)
}

// SetLastInsertID sets what LastInsertID and last_insert_rowid() return until
// the next insert.
func (c *Conn) SetLastInsertID(id int64) {
	lib.Xsqlite3_set_last_insert_rowid(c.tls, c.db, id)
}
