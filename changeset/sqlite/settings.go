package sqlite

import (
	"time"

	lib "modernc.org/sqlite/lib"
)

// Limit is a limit of SQLite on a connection.
type Limit int32

// Limits that are worth lowering for client SQL.
const (
	LimitLength         = Limit(lib.SQLITE_LIMIT_LENGTH)          // bytes of a text, blob or row
	LimitSQLLength      = Limit(lib.SQLITE_LIMIT_SQL_LENGTH)      // bytes of a statement
	LimitColumn         = Limit(lib.SQLITE_LIMIT_COLUMN)          // columns of a table or result
	LimitExprDepth      = Limit(lib.SQLITE_LIMIT_EXPR_DEPTH)      // depth of an expression
	LimitCompoundSelect = Limit(lib.SQLITE_LIMIT_COMPOUND_SELECT) // terms of UNION and the like
	LimitVdbeOp         = Limit(lib.SQLITE_LIMIT_VDBE_OP)         // instructions of a program
	LimitFunctionArg    = Limit(lib.SQLITE_LIMIT_FUNCTION_ARG)
	LimitAttached       = Limit(lib.SQLITE_LIMIT_ATTACHED)
	LimitLikePattern    = Limit(lib.SQLITE_LIMIT_LIKE_PATTERN_LENGTH)
	LimitVariable       = Limit(lib.SQLITE_LIMIT_VARIABLE_NUMBER)
	LimitTriggerDepth   = Limit(lib.SQLITE_LIMIT_TRIGGER_DEPTH)
)

// SetLimit sets a limit and returns what it was; a negative n only asks.
func (c *Conn) SetLimit(l Limit, n int) int {
	return int(lib.Xsqlite3_limit(c.tls, c.db, int32(l), int32(n)))
}

// SetTriggers switches triggers. All statements are prepared again afterwards.
func (c *Conn) SetTriggers(on bool) error {
	return c.setConfig(lib.SQLITE_DBCONFIG_ENABLE_TRIGGER, flag(on))
}

// SetIgnoreChecks switches CHECK constraints off or on. All statements are
// prepared again afterwards. CHECK of STRICT types and NOT NULL stay on.
func (c *Conn) SetIgnoreChecks(on bool) error {
	if on {
		return c.internal("PRAGMA ignore_check_constraints=1", nil)
	}
	return c.internal("PRAGMA ignore_check_constraints=0", nil)
}

func flag(on bool) int32 {
	if on {
		return 1
	}
	return 0
}

// internal runs a cached statement of ours whatever the mode is.
func (c *Conn) internal(sql string, fn func(*Stmt) error) error {
	mode := c.mode
	c.mode = ModeInternal
	defer func() { c.mode = mode }()
	return c.Each(sql, nil, fn)
}

func (c *Conn) internalInteger(sql string) (n int64, err error) {
	err = c.internal(sql, func(s *Stmt) error { n = s.Integer(0); return nil })
	return n, err
}

// DataVersion returns a number that changes when another connection has
// committed to the file. Commits of this connection leave it alone.
func (c *Conn) DataVersion() (uint32, error) {
	n, err := c.internalInteger("PRAGMA data_version")
	return uint32(n), err
}

// SchemaVersion returns SQLite's counter of schema changes in the file.
func (c *Conn) SchemaVersion() (int64, error) {
	return c.internalInteger("PRAGMA schema_version")
}

// SetBusyTimeout bounds how long later calls wait for a lock of another
// connection, to the millisecond. Zero means not at all.
func (c *Conn) SetBusyTimeout(d time.Duration) {
	lib.Xsqlite3_busy_timeout(c.tls, c.db, int32(max(0, d.Milliseconds())))
}

// PageSize returns the bytes of a page of the file.
func (c *Conn) PageSize() (int, error) {
	n, err := c.internalInteger("PRAGMA page_size")
	return int(n), err
}

// Checkpoint moves the WAL into the database file: as much as is possible
// without waiting (PASSIVE), or all of it, after which the -wal file is empty
// (TRUNCATE; waits up to the busy timeout and fails with ErrBusy). It returns
// the frames in the WAL and how many of them are in the database file, with
// ErrBusy too, unless another checkpoint runs: then both are -1.
func (c *Conn) Checkpoint(truncate bool) (walFrames, moved int, err error) {
	mode := int32(lib.SQLITE_CHECKPOINT_PASSIVE)
	if truncate {
		mode = lib.SQLITE_CHECKPOINT_TRUNCATE
	}
	out := c.scratch + 32
	c.denial = ""
	rc := lib.Xsqlite3_wal_checkpoint_v2(c.tls, c.db, 0, mode, out, out+4)
	n := (*[2]int32)(pointer(out))
	if rc != lib.SQLITE_OK {
		err = c.fail(rc)
	}
	return int(n[0]), int(n[1]), err
}
