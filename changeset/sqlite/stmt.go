package sqlite

import (
	"github.com/patinadb/patina/changeset"
	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
)

// Stmt is a prepared statement. It belongs to its connection's goroutine. After
// Finalize, or after its connection was closed, its methods fail and do no harm.
type Stmt struct {
	c       *Conn
	p       uintptr // 0 once finalized
	mode    Mode    // under which it was prepared, and is stepped
	access  *Access
	text    string
	buffers []buffer // text and blobs of the parameters

	active bool  // stands on a row: stepped and not reset
	entry  entry // in the cache
}

// Step runs the statement to its next row. Without a row it is already reset,
// both at the end and after an error.
func (s *Stmt) Step() (row bool, err error) {
	c := s.c
	if s.p == 0 {
		return false, misuse("statement is finalized")
	}
	if c.interrupted.Load() {
		s.Reset()
		return false, &Error{Code: ErrInterrupt, Message: "interrupted", Offset: -1}
	}
	c.denial, c.expired = "", false
	judge, access, step := c.judge, c.access, c.step
	c.judge, c.access, c.step = s.mode, s.access, true
	hidden := c.hideTriggers()
	hook := c.silence()
	rc := lib.Xsqlite3_step(c.tls, s.p)
	c.speak(hook)
	c.showTriggers(hidden)
	c.judge, c.access, c.step = judge, access, step
	switch rc {
	case lib.SQLITE_ROW:
		s.active = true
		return true, nil
	case lib.SQLITE_DONE:
		s.Reset()
		return false, nil
	}
	e := c.fail(rc)
	s.Reset()
	return false, e
}

// Run steps to the end.
func (s *Stmt) Run() error {
	for {
		if row, err := s.Step(); err != nil || !row {
			return err
		}
	}
}

// Reset ends the run of the statement; bindings stay.
func (s *Stmt) Reset() {
	if s.p != 0 {
		lib.Xsqlite3_reset(s.c.tls, s.p)
	}
	s.active = false
}

// Finalize frees the statement. Calling it again is allowed.
func (s *Stmt) Finalize() {
	if s.p == 0 {
		return
	}
	s.c.cache.remove(s)
	delete(s.c.live, s)
	lib.Xsqlite3_finalize(s.c.tls, s.p)
	s.p, s.active = 0, false
	for i := range s.buffers {
		s.buffers[i].free(s.c.tls)
	}
	s.buffers = nil
}

// ColumnCount returns the number of result columns, 0 if the statement returns
// no rows. Like the names it can change with the first Step, if the schema has
// changed since the statement was prepared and it selects *.
func (s *Stmt) ColumnCount() int { return int(lib.Xsqlite3_column_count(s.c.tls, s.p)) }

// ColumnName returns the name of a result column.
func (s *Stmt) ColumnName(i int) string {
	if s.p == 0 {
		return ""
	}
	return libc.GoString(lib.Xsqlite3_column_name(s.c.tls, s.p, int32(i)))
}

// ColumnDeclType returns the declared type of the column that a result column
// comes from, "" for an expression.
func (s *Stmt) ColumnDeclType(i int) string {
	if s.p == 0 {
		return ""
	}
	return libc.GoString(lib.Xsqlite3_column_decltype(s.c.tls, s.p, int32(i)))
}

// Kind returns the storage class of a column of the current row.
func (s *Stmt) Kind(i int) changeset.Kind {
	return changeset.Kind(lib.Xsqlite3_column_type(s.c.tls, s.p, int32(i)))
}

// Integer returns a column of the current row as INTEGER.
func (s *Stmt) Integer(i int) int64 {
	return lib.Xsqlite3_column_int64(s.c.tls, s.p, int32(i))
}

// Real returns a column of the current row as REAL.
func (s *Stmt) Real(i int) float64 {
	return lib.Xsqlite3_column_double(s.c.tls, s.p, int32(i))
}

// View returns the bytes of a TEXT or BLOB column without copying them. They
// are valid until the next call on s. Of a number it is its text.
func (s *Stmt) View(i int) []byte {
	// Not column_text: that may copy the text to put a NUL behind it.
	p := lib.Xsqlite3_column_blob(s.c.tls, s.p, int32(i))
	return cbytes(p, int(lib.Xsqlite3_column_bytes(s.c.tls, s.p, int32(i))))
}

// Column returns a copy of a column of the current row.
func (s *Stmt) Column(i int) Value {
	return s.c.value(lib.Xsqlite3_column_value(s.c.tls, s.p, int32(i))).Clone()
}

// value reads an sqlite3_value. Its bytes are a view of SQLite's memory.
func (c *Conn) value(v uintptr) Value {
	m := (*lib.Tsqlite3_value)(pointer(v))
	switch flags := int(m.Fflags); {
	case flags&(lib.MEM_Null|lib.MEM_IntReal|lib.MEM_Zero) != 0 || int(m.Fenc) != lib.SQLITE_UTF8:
		return c.anyValue(v)
	case flags&lib.MEM_Int != 0:
		return changeset.IntegerValue(*(*int64)(pointer(v))) // u.i, the first member
	case flags&lib.MEM_Real != 0:
		return changeset.RealValue(*(*float64)(pointer(v)))
	case flags&lib.MEM_Str != 0:
		return changeset.TextBytes(cbytes(m.Fz, int(m.Fn)))
	case flags&lib.MEM_Blob != 0:
		return changeset.BlobValue(cbytes(m.Fz, int(m.Fn)))
	}
	return c.anyValue(v)
}

// anyValue reads an sqlite3_value by SQLite's own functions: value knows what
// they would find for all that is common.
func (c *Conn) anyValue(v uintptr) Value {
	switch k := changeset.Kind(lib.Xsqlite3_value_type(c.tls, v)); k {
	case changeset.Integer:
		return changeset.IntegerValue(lib.Xsqlite3_value_int64(c.tls, v))
	case changeset.Real:
		return changeset.RealValue(lib.Xsqlite3_value_double(c.tls, v))
	case changeset.Text, changeset.Blob:
		p := lib.Xsqlite3_value_blob(c.tls, v)
		b := cbytes(p, int(lib.Xsqlite3_value_bytes(c.tls, v)))
		if k == changeset.Text {
			return changeset.TextBytes(b)
		}
		return changeset.BlobValue(b)
	}
	return changeset.NullValue()
}

// ReadOnly reports that the statement does not write the database file by
// itself. It is not a gate: see the package comment.
func (s *Stmt) ReadOnly() bool { return lib.Xsqlite3_stmt_readonly(s.c.tls, s.p) != 0 }

// IsExplain reports EXPLAIN and EXPLAIN QUERY PLAN.
func (s *Stmt) IsExplain() bool { return s.p != 0 && lib.Xsqlite3_stmt_isexplain(s.c.tls, s.p) != 0 }

// ParameterCount returns the number of the highest parameter.
func (s *Stmt) ParameterCount() int { return len(s.buffers) }

// SQL returns the text of this statement alone.
func (s *Stmt) SQL() string { return s.text }

// Access returns what the statement can touch.
func (s *Stmt) Access() *Access { return s.access }
