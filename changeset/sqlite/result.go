package sqlite

import (
	"time"

	"github.com/patinadb/patina/changeset"
)

// Value is one SQLite storage value.
type Value = changeset.Value

// Statement is SQL text with its parameters. Params are positional. Named are
// by name, with or without the prefix; a name without prefix matches :name,
// @name and $name.
type Statement struct {
	SQL    string
	Params []Value
	Named  map[string]Value
}

// Result is the outcome of one statement of a request.
type Result struct {
	Columns []string  // names of the result columns
	Types   []string  // declared types of the result columns, "" for expressions
	Rows    [][]Value // nil if there were none
	// LastInsertID and RowsAffected are those of the connection right after
	// the statement, 0 where it changed nothing.
	LastInsertID, RowsAffected int64
	HasRows                    bool // the statement has result columns
	Time                       time.Duration
	Err                        error
}

// RowSink takes the result of a query as it is read. Columns is called once,
// before the first row. The values of a row are valid during the call only.
type RowSink interface {
	Columns(names []string) error
	Row(values []Value) error
}
