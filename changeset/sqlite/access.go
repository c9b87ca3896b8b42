package sqlite

import "slices"

// Op is how a statement writes a table. The numbers are SQLite's own.
type Op uint8

// The three ways to write.
const (
	OpDelete Op = 9
	OpInsert Op = 18
	OpUpdate Op = 23
)

// String returns the SQL keyword.
func (o Op) String() string {
	switch o {
	case OpDelete:
		return "DELETE"
	case OpInsert:
		return "INSERT"
	case OpUpdate:
		return "UPDATE"
	}
	return "?"
}

// Access is what a statement can touch, as the authorizer was asked while it
// was prepared, the bodies of triggers and views included. When SQLite prepares
// a statement again because the schema changed, what is new is added, and
// nothing is taken away.
type Access struct {
	Writes []TableWrite
	Reads  []string // tables and views; as written in the SQL where no column is read
	DDL    []string // such as "CREATE TABLE t"
}

// TableWrite is one way in which a statement can write one table. REPLACE and
// OR REPLACE delete rows too, and are an OpInsert or OpUpdate alone.
type TableWrite struct {
	Table   string
	Op      Op
	Columns []string // OpUpdate: those that can change; "ROWID" is the rowid itself
}

// write notes a write; column is "" for INSERT and DELETE.
func (a *Access) write(table string, op Op, column string) {
	i := slices.IndexFunc(a.Writes, func(w TableWrite) bool { return w.Op == op && w.Table == table })
	if i < 0 {
		i = len(a.Writes)
		a.Writes = append(a.Writes, TableWrite{Table: table, Op: op})
	}
	if w := &a.Writes[i]; column != "" && !slices.Contains(w.Columns, column) {
		w.Columns = append(w.Columns, column)
	}
}

func (a *Access) read(table string) {
	if table != "" && !slices.Contains(a.Reads, table) {
		a.Reads = append(a.Reads, table)
	}
}

func (a *Access) ddl(what string) {
	if !slices.Contains(a.DDL, what) {
		a.DDL = append(a.DDL, what)
	}
}
