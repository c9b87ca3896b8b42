package sqlite

import (
	"fmt"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
)

// Code is an SQLite result code, primary or extended. A primary code is an
// error that errors.Is finds in every *Error of that class; an extended code
// finds only itself.
type Code int32

// Primary result codes that callers branch on.
const (
	ErrGeneric    = Code(lib.SQLITE_ERROR)
	ErrBusy       = Code(lib.SQLITE_BUSY)
	ErrLocked     = Code(lib.SQLITE_LOCKED)
	ErrNoMemory   = Code(lib.SQLITE_NOMEM)
	ErrReadOnly   = Code(lib.SQLITE_READONLY)
	ErrInterrupt  = Code(lib.SQLITE_INTERRUPT)
	ErrIOErr      = Code(lib.SQLITE_IOERR)
	ErrCorrupt    = Code(lib.SQLITE_CORRUPT)
	ErrFull       = Code(lib.SQLITE_FULL)
	ErrCantOpen   = Code(lib.SQLITE_CANTOPEN)
	ErrTooBig     = Code(lib.SQLITE_TOOBIG)
	ErrConstraint = Code(lib.SQLITE_CONSTRAINT)
	ErrMismatch   = Code(lib.SQLITE_MISMATCH)
	ErrMisuse     = Code(lib.SQLITE_MISUSE)
	ErrAuth       = Code(lib.SQLITE_AUTH)
	ErrRange      = Code(lib.SQLITE_RANGE)
	ErrNotADB     = Code(lib.SQLITE_NOTADB)
)

// Extended result codes that callers branch on.
const (
	ErrBusySnapshot         = Code(lib.SQLITE_BUSY_SNAPSHOT)
	ErrConstraintCheck      = Code(lib.SQLITE_CONSTRAINT_CHECK)
	ErrConstraintNotNull    = Code(lib.SQLITE_CONSTRAINT_NOTNULL)
	ErrConstraintPrimaryKey = Code(lib.SQLITE_CONSTRAINT_PRIMARYKEY)
	ErrConstraintUnique     = Code(lib.SQLITE_CONSTRAINT_UNIQUE)
	ErrConstraintRowID      = Code(lib.SQLITE_CONSTRAINT_ROWID)
	ErrConstraintTrigger    = Code(lib.SQLITE_CONSTRAINT_TRIGGER)
	ErrConstraintDataType   = Code(lib.SQLITE_CONSTRAINT_DATATYPE)
)

// Primary returns the primary code of c.
func (c Code) Primary() Code { return c & 0xff }

// Error returns SQLite's text for the code.
func (c Code) Error() string {
	return libc.GoString(lib.Xsqlite3_errstr(nil, int32(c)))
}

// Error is a failed call of SQLite.
type Error struct {
	Code    Code   // extended
	Message string // SQLite's bare text, or the reason of a refusal
	Offset  int    // of the offending token, in bytes from the start of the SQL; -1 unknown
}

// Error returns the message alone, as clients of rqlite expect it.
func (e *Error) Error() string { return e.Message }

// Is makes errors.Is work with codes: see [Code].
func (e *Error) Is(target error) bool {
	c, ok := target.(Code)
	return ok && (c == e.Code || c == e.Code.Primary())
}

// misuse is the error of a call that the package refuses by itself.
func misuse(format string, args ...any) *Error {
	return &Error{Code: ErrMisuse, Message: fmt.Sprintf(format, args...), Offset: -1}
}

// fail makes the error of the call that just returned rc. A refusal by the
// authorizer explains whatever followed from it: SQLite itself only says "not
// authorized", sometimes under the plain code ERROR.
func (c *Conn) fail(rc int32) *Error {
	e := &Error{Code: Code(rc), Offset: -1}
	switch {
	case c.denial != "":
		e.Code, e.Message = ErrAuth, c.denial
		c.denial = ""
	case c.expired && e.Code.Primary() == ErrInterrupt:
		e.Message = "statement time limit exceeded"
	default:
		e.Message = libc.GoString(lib.Xsqlite3_errmsg(c.tls, c.db))
		e.Offset = int(lib.Xsqlite3_error_offset(c.tls, c.db))
	}
	return e
}
