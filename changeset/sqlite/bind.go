package sqlite

import (
	"fmt"

	"github.com/patinadb/patina/changeset"
	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
)

// Bind binds the i-th parameter, from 1. The value is copied.
func (s *Stmt) Bind(i int, v Value) error {
	switch v.Kind() {
	case changeset.Integer:
		return s.BindInteger(i, v.Integer())
	case changeset.Real:
		return s.bound(lib.Xsqlite3_bind_double(s.c.tls, s.p, int32(i), v.Real()))
	case changeset.Text:
		return s.bindText(i, v.Bytes())
	case changeset.Blob:
		return s.BindBlob(i, v.Bytes())
	}
	return s.bound(lib.Xsqlite3_bind_null(s.c.tls, s.p, int32(i)))
}

// BindInteger binds an INTEGER.
func (s *Stmt) BindInteger(i int, n int64) error {
	return s.bound(lib.Xsqlite3_bind_int64(s.c.tls, s.p, int32(i), n))
}

// BindText binds a TEXT.
func (s *Stmt) BindText(i int, v string) error { return s.bindText(i, []byte(v)) }

// BindBlob binds a BLOB; nil is the empty blob, not NULL.
func (s *Stmt) BindBlob(i int, v []byte) error {
	p, err := s.copy(i, v)
	if err != nil {
		return err
	}
	return s.bound(lib.Xsqlite3_bind_blob64(s.c.tls, s.p, int32(i), p, uint64(len(v)), 0))
}

func (s *Stmt) bindText(i int, v []byte) error {
	p, err := s.copy(i, v)
	if err != nil {
		return err
	}
	return s.bound(lib.Xsqlite3_bind_text64(s.c.tls, s.p, int32(i), p, uint64(len(v)), 0, lib.SQLITE_UTF8))
}

// copy puts v into the memory of parameter i, where SQLite reads it until the
// parameter is bound again. A statement that is running keeps its bindings, as
// SQLite demands.
func (s *Stmt) copy(i int, v []byte) (uintptr, error) {
	if s.active {
		return 0, misuse("cannot bind to a running statement")
	}
	if i < 1 || i > len(s.buffers) {
		return 0, s.bound(lib.SQLITE_RANGE)
	}
	return s.buffers[i-1].set(s.c.tls, v)
}

func (s *Stmt) bound(rc int32) error {
	switch rc {
	case lib.SQLITE_OK:
		return nil
	case lib.SQLITE_RANGE:
		return &Error{Code: ErrRange, Message: "column index out of range", Offset: -1}
	}
	return &Error{Code: Code(rc), Message: Code(rc).Error(), Offset: -1}
}

// ClearBindings makes all parameters NULL and gives large memory back.
func (s *Stmt) ClearBindings() {
	if s.p == 0 || len(s.buffers) == 0 {
		return
	}
	lib.Xsqlite3_clear_bindings(s.c.tls, s.p)
	for i := range s.buffers {
		if s.buffers[i].cap > keep {
			s.buffers[i].free(s.c.tls)
		}
	}
}

// BindStatement binds the parameters of st by position and by name. As with
// rqlite, parameters in excess are ignored, and too few are an error by their
// number: a name that the statement does not have counts too.
func (s *Stmt) BindStatement(st Statement) error {
	want, got := len(s.buffers), len(st.Params)+len(st.Named)
	if got < want {
		return &Error{Code: ErrGeneric, Message: fmt.Sprintf("not enough args to execute query: want %d got %d", want, got), Offset: -1}
	}
	for i, v := range st.Params {
		if i >= want {
			break
		}
		if err := s.Bind(i+1, v); err != nil {
			return err
		}
	}
	if len(st.Named) == 0 {
		return nil
	}
	for i := 1; i <= want; i++ {
		name := libc.GoString(lib.Xsqlite3_bind_parameter_name(s.c.tls, s.p, int32(i)))
		if name == "" {
			continue
		}
		v, ok := st.Named[name]
		if !ok {
			v, ok = st.Named[name[1:]]
		}
		if !ok {
			continue
		}
		if err := s.Bind(i, v); err != nil {
			return fmt.Errorf("parameter %s: %w", name, err)
		}
	}
	return nil
}
