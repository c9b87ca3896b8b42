package sqlite

import (
	"fmt"
	"unsafe"

	"github.com/patinadb/patina/changeset"
	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
)

// entryPoint returns the address by which transpiled C calls a top-level
// function: that of the pointer to its code. It must never be given a closure,
// which the collector would free.
func entryPoint[T any](f T) uintptr {
	return *(*uintptr)(unsafe.Pointer(&struct{ f T }{f}))
}

type function struct {
	name     string // lower case
	internal bool   // not for clients
	call     func(args []Value) (Value, error)
}

// functionBits bounds the functions of a connection: the user data of each is
// the connection's handle shifted by so many bits, plus the function's index.
const functionBits = 10

var functionEntry = entryPoint(functionC)

// CreateFunction adds an SQL function with the given number of arguments, -1
// for any. It is not deterministic, may be used in every mode, but not in the
// schema's index expressions. fn sees views of SQLite's memory in args, valid
// during the call. An error or panic of fn fails the statement.
func (c *Conn) CreateFunction(name string, args int, fn func(args []Value) (Value, error)) error {
	return c.createFunction(function{fold(name), false, fn}, args, lib.SQLITE_INNOCUOUS)
}

// CreateDeterministic is CreateFunction for a function whose result depends on
// its arguments alone, so that SQLite may call it less often and indexes may
// use it.
func (c *Conn) CreateDeterministic(name string, args int, fn func(args []Value) (Value, error)) error {
	return c.createFunction(function{fold(name), false, fn}, args, lib.SQLITE_INNOCUOUS|lib.SQLITE_DETERMINISTIC)
}

// CreateInternal is CreateFunction for a function that only statements of
// ModeInternal may call, and neither views, triggers nor the schema.
func (c *Conn) CreateInternal(name string, args int, fn func(args []Value) (Value, error)) error {
	return c.createFunction(function{fold(name), true, fn}, args, lib.SQLITE_DIRECTONLY)
}

func (c *Conn) createFunction(f function, args int, flags int32) error {
	if len(c.functions) == 1<<functionBits {
		return misuse("too many functions")
	}
	text, err := c.newCString(f.name)
	if err != nil {
		return err
	}
	defer libc.Xfree(c.tls, text)
	c.functions = append(c.functions, f)
	data := c.handle<<functionBits | uintptr(len(c.functions)-1)
	flags |= lib.SQLITE_UTF8
	if rc := lib.Xsqlite3_create_function_v2(c.tls, c.db, text, int32(args), flags, data, functionEntry, 0, 0, 0); rc != lib.SQLITE_OK {
		return c.fail(rc)
	}
	return nil
}

// own reports a function made by CreateFunction or CreateDeterministic.
func (c *Conn) own(name string) bool {
	for i := range c.functions {
		if c.functions[i].name == name && !c.functions[i].internal {
			return true
		}
	}
	return false
}

func functionC(tls *libc.TLS, ctx uintptr, argc int32, argv uintptr) {
	data := lib.Xsqlite3_user_data(tls, ctx)
	c := connection(data >> functionBits)
	if c == nil {
		return
	}
	args := c.args[:0]
	c.args = nil // fn may run a statement that calls a function
	for _, v := range unsafe.Slice((*uintptr)(pointer(argv)), argc) {
		args = append(args, c.value(v))
	}
	v, err := c.functions[data&(1<<functionBits-1)].safely(args)
	c.args = args
	if err != nil {
		c.resultError(ctx, err)
		return
	}
	c.result(ctx, v)
}

// safely turns a panic into an error: it must not unwind through the engine.
func (f *function) safely(args []Value) (v Value, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("function %s: panic: %v", f.name, r)
		}
	}()
	return f.call(args)
}

func (c *Conn) result(ctx uintptr, v Value) {
	switch v.Kind() {
	case changeset.Integer:
		lib.Xsqlite3_result_int64(c.tls, ctx, v.Integer())
	case changeset.Real:
		lib.Xsqlite3_result_double(c.tls, ctx, v.Real())
	case changeset.Text, changeset.Blob:
		p, err := c.answer.set(c.tls, v.Bytes())
		if err != nil {
			lib.Xsqlite3_result_error_nomem(c.tls, ctx)
			return
		}
		if n := uint64(len(v.Bytes())); v.Kind() == changeset.Text {
			lib.Xsqlite3_result_text64(c.tls, ctx, p, n, lib.SQLITE_TRANSIENT, lib.SQLITE_UTF8)
		} else {
			lib.Xsqlite3_result_blob64(c.tls, ctx, p, n, lib.SQLITE_TRANSIENT)
		}
		if c.answer.cap > keep {
			c.answer.free(c.tls)
		}
	default:
		lib.Xsqlite3_result_null(c.tls, ctx)
	}
}

func (c *Conn) resultError(ctx uintptr, err error) {
	b := buffer{}
	p, memory := b.set(c.tls, []byte(err.Error()))
	if memory != nil {
		lib.Xsqlite3_result_error_nomem(c.tls, ctx)
		return
	}
	defer b.free(c.tls)
	lib.Xsqlite3_result_error(c.tls, ctx, p, int32(len(err.Error())))
}
