package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// Error says what of a request is not a statement, and where.
type Error struct {
	Element int // index in the array of statements, from 0; -1 when the whole text is meant
	Offset  int // in bytes from the start of the text
	Reason  string
}

// Error gives the place before the reason.
func (e *Error) Error() string {
	if e.Element < 0 {
		return fmt.Sprintf("%s (byte %d)", e.Reason, e.Offset)
	}
	return fmt.Sprintf("element %d (byte %d): %s", e.Element, e.Offset, e.Reason)
}

// TooManyError reports more statements than the limit.
type TooManyError struct{ Count, Limit int }

// Error names both numbers.
func (e *TooManyError) Error() string {
	return fmt.Sprintf("%d statements, the limit is %d", e.Count, e.Limit)
}

// Statements reads the body of a transaction: an array of statements in any
// form. An empty array is an *Error, more than limit statements a *TooManyError.
func Statements(text []byte, limit int) ([]sqlite.Statement, error) {
	c, err := newCursor(text)
	if err != nil {
		return nil, err
	}
	if c.peek() != '[' {
		return nil, &Error{-1, c.i, "the body must be an array of statements, not " + c.kind()}
	}
	if n := c.count(); n == 0 {
		return nil, &Error{-1, c.i, "at least one statement is required"}
	} else if n > limit {
		return nil, &TooManyError{n, limit}
	}
	var list []sqlite.Statement
	for c.open(); c.more(); {
		c.peek()
		st, err := c.statement()
		if err != nil {
			return nil, c.at(len(list), err)
		}
		list = append(list, st)
	}
	return list, nil
}

// Statement reads the body of a query: one statement in any form.
func Statement(text []byte) (sqlite.Statement, error) {
	c, err := newCursor(text)
	if err != nil {
		return sqlite.Statement{}, err
	}
	st, err := c.statement()
	if err != nil {
		return sqlite.Statement{}, c.at(-1, err)
	}
	return st, nil
}

// Values reads an array of cells.
func Values(text []byte) ([]changeset.Value, error) {
	c, err := newCursor(text)
	if err != nil {
		return nil, err
	}
	if c.peek() != '[' {
		return nil, &Error{-1, c.i, "cells must be an array, not " + c.kind()}
	}
	values, err := c.values()
	if err != nil {
		return nil, c.at(-1, err)
	}
	return values, nil
}

// Value reads one cell or parameter.
func Value(text []byte) (changeset.Value, error) {
	c, err := newCursor(text)
	if err != nil {
		return changeset.Value{}, err
	}
	v, err := c.value()
	if err != nil {
		return v, c.at(-1, err)
	}
	return v, nil
}

func newCursor(text []byte) (*cursor, error) {
	if !json.Valid(text) {
		return nil, syntaxError(text)
	}
	if !utf8.Valid(text) {
		return nil, &Error{-1, firstInvalid(text), "the body is not valid UTF-8"}
	}
	return &cursor{b: text}, nil
}

func syntaxError(text []byte) error {
	var any json.RawMessage
	err := json.Unmarshal(text, &any)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return &Error{-1, int(syntax.Offset), "the body is not JSON: " + syntax.Error()}
	}
	return &Error{-1, 0, fmt.Sprintf("the body is not JSON: %v", err)}
}

func firstInvalid(text []byte) int {
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(text)
}

// at gives err the place where the cursor stands.
func (c *cursor) at(element int, err error) error {
	return &Error{element, c.i, err.Error()}
}

// kind names the next value in messages.
func (c *cursor) kind() string {
	switch c.peek() {
	case '"':
		return "a string"
	case '[':
		return "an array"
	case '{':
		return "an object"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}

// count returns the number of elements of the array that comes next, and does
// not move.
func (c *cursor) count() int {
	ahead := *c
	n := 0
	for ahead.open(); ahead.more(); n++ {
		ahead.raw()
	}
	return n
}

func (c *cursor) statement() (sqlite.Statement, error) {
	var st sqlite.Statement
	switch c.peek() {
	case '"':
		sql, err := c.str()
		st.SQL = string(sql)
		return st, err
	case '[':
		return c.arrayForm()
	case '{':
		return c.objectForm()
	}
	return st, errors.New("a statement must be a string, an array or an object, not " + c.kind())
}

// arrayForm reads ["sql"], ["sql", [p, …]], ["sql", {name: p}] and
// ["sql", p, …]. An array or object is the nested form only when it is the sole
// second element.
func (c *cursor) arrayForm() (st sqlite.Statement, err error) {
	elements := c.count()
	if elements == 0 {
		return st, errors.New("an empty array is no statement: its first element must be the SQL")
	}
	c.open()
	if c.peek() != '"' {
		return st, errors.New("the first element of a statement must be its SQL as a string, not " + c.kind())
	}
	sql, err := c.str()
	if err != nil {
		return st, err
	}
	st.SQL = string(sql)
	if elements > 2 {
		st.Params = make([]changeset.Value, 0, elements-1)
	}
	for err == nil && c.more() {
		switch first := c.peek(); {
		case elements == 2 && first == '[':
			st.Params, err = c.values()
		case elements == 2 && first == '{':
			st.Named, err = c.named()
		default:
			var v changeset.Value
			v, err = c.value()
			st.Params = append(st.Params, v)
		}
	}
	return st, err
}

func (c *cursor) objectForm() (st sqlite.Statement, err error) {
	found := false
	for c.open(); c.more(); {
		c.peek()
		start := c.i
		name, err := c.key()
		if err != nil {
			return st, err
		}
		switch string(name) {
		case "query":
			found = true
			st.SQL, err = c.query()
		case "params":
			st.Params, err = c.params()
		case "named_params":
			st.Named, err = c.namedParams()
		default:
			c.i = start
			err = fmt.Errorf("unknown key %q in a statement, which has query, params and named_params", name)
		}
		if err != nil {
			return st, err
		}
	}
	if !found {
		return st, errors.New(`a statement object needs the key "query"`)
	}
	return st, nil
}

func (c *cursor) query() (string, error) {
	if c.peek() != '"' {
		return "", errors.New("query must be a string, not " + c.kind())
	}
	sql, err := c.str()
	return string(sql), err
}

func (c *cursor) params() ([]changeset.Value, error) {
	switch c.peek() {
	case 'n':
		c.raw()
		return nil, nil
	case '[':
		return c.values()
	}
	return nil, errors.New("params must be an array or null, not " + c.kind())
}

func (c *cursor) namedParams() (map[string]changeset.Value, error) {
	switch c.peek() {
	case 'n':
		c.raw()
		return nil, nil
	case '{':
		return c.named()
	}
	return nil, errors.New("named_params must be an object or null, not " + c.kind())
}

func (c *cursor) values() ([]changeset.Value, error) {
	list := make([]changeset.Value, 0, c.count())
	for c.open(); c.more(); {
		v, err := c.value()
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

func (c *cursor) named() (map[string]changeset.Value, error) {
	list := make(map[string]changeset.Value)
	for c.open(); c.more(); {
		c.peek()
		start := c.i
		name, err := c.key()
		if err != nil {
			return nil, err
		}
		if len(name) == 0 {
			c.i = start
			return nil, errors.New("a parameter's name is empty")
		}
		v, err := c.value()
		if err != nil {
			return nil, err
		}
		list[string(name)] = v
	}
	return list, nil
}
