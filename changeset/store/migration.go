package store

import (
	"fmt"
	"strings"

	"github.com/patinadb/patina/changeset/sqlite"
)

// migration plans the statements of a request one after the other on a private
// copy of the schema, so that each sees what those before it did.
type migration struct {
	conn  *sqlite.Conn // the private copy
	look  *introspector
	state *schema // what conn holds
	plan  plan
}

// planMigration plans statements of the API, which follow the same rules as
// schema files. index is that of the statement that is refused, else -1; then
// nothing is planned. Differences that planFiles leaves alone, it does too.
func planMigration(current *schema, statements []string) (p plan, index int, err error) {
	conn, err := makePrivate(current)
	if err != nil {
		return plan{}, -1, err
	}
	defer conn.Close()
	look, err := newIntrospector(conn)
	if err != nil {
		return plan{}, -1, err
	}
	defer look.close()
	m := &migration{conn: conn, look: look, state: current.clone()}
	for i, sql := range statements {
		if err := m.text(sql); err != nil {
			return plan{}, i, err
		}
	}
	return m.plan, -1, nil
}

// clone copies the maps; tables are shared, they are never changed in place.
func (s *schema) clone() *schema {
	out := &schema{tables: make(map[string]*table, len(s.tables)), local: s.local, digest: s.digest}
	for k, t := range s.tables {
		out.tables[k] = t
	}
	return out
}

// text plans one element of the request: usually one statement.
func (m *migration) text(sql string) error {
	if strings.IndexByte(sql, 0) >= 0 {
		return &SchemaError{Reason: "a NUL byte in the text"}
	}
	s := &schemaScript{conn: m.conn, sql: sql}
	found := false
	for {
		more, refused := s.next()
		if refused != nil {
			return refused
		}
		if !more {
			break
		}
		found = true
		if err := m.statement(s); err != nil {
			return err
		}
	}
	if !found {
		return &SchemaError{Reason: "no statement: " + allowedStatements}
	}
	return nil
}

// statement runs one statement on the private copy as if its object were not
// there, compares what it made with what was there, and puts the copy into the
// state that the plan leads to.
func (m *migration) statement(s *schemaScript) error {
	if err := m.conn.Exec("SAVEPOINT statement"); err != nil {
		return err
	}
	p, planErr := m.tryStatement(s)
	if err := m.conn.Exec("ROLLBACK TO statement; RELEASE statement"); err != nil {
		return err
	}
	if planErr != nil {
		return planErr
	}
	for _, sql := range p.statements {
		if err := m.conn.Exec(sql); err != nil {
			return &SchemaError{Table: s.head.target(), Reason: err.Error(), Err: err}
		}
	}
	if len(p.statements) > 0 {
		if err := m.refresh(s.head.target()); err != nil {
			return err
		}
	}
	m.plan.add(p)
	return nil
}

func (m *migration) tryStatement(s *schemaScript) (plan, error) {
	exists, err := m.clear(s.head)
	if err != nil {
		return plan{}, err
	}
	if exists && s.head.ifNotExists {
		// Not even compared; but it must parse, and s must move behind it.
		if refused := s.run(); refused != nil {
			return plan{}, refused
		}
		return plan{}, nil
	}
	if refused := s.run(); refused != nil {
		return plan{}, refused
	}
	want, err := m.look.table(s.head.target())
	if err != nil {
		return plan{}, err
	}
	if s.head.kind == statementTable {
		if refused := checkTable(want); refused != nil {
			return plan{}, refused
		}
		return asError(planTable(m.state, want))
	}
	for i := range want.indexes {
		x := &want.indexes[i]
		if x.constraint || !sameName(x.name, s.head.name) {
			continue
		}
		if refused := checkIndex(want, x); refused != nil {
			return plan{}, refused
		}
		return asError(planIndex(m.state, want, x))
	}
	return plan{}, &SchemaError{Table: s.head.target(), Reason: fmt.Sprintf("index %s was not made", s.head.name)}
}

// clear takes the object that a statement defines out of the private copy, and
// says whether it was there.
func (m *migration) clear(h statementHead) (exists bool, err error) {
	if h.kind == statementTable {
		t := m.state.lookup(h.name)
		if t == nil {
			if reason, taken := m.state.local[foldName(h.name)]; taken && !h.ifNotExists {
				return false, &SchemaError{Table: h.name, Reason: "it is here and not replicated: " + reason}
			} else if taken {
				return true, nil
			}
			return false, nil
		}
		return true, m.conn.Exec("DROP TABLE " + quoteIdent(t.name))
	}
	if reason, local := m.state.local[foldName(h.table)]; local {
		return false, &SchemaError{Table: h.table, Reason: "it is here and not replicated: " + reason}
	}
	_, x := m.state.findIndex(h.name)
	if x == nil {
		return false, nil
	}
	return true, m.conn.Exec("DROP INDEX IF EXISTS " + quoteIdent(x.name))
}

// refresh reads a table of the private copy anew.
func (m *migration) refresh(name string) error {
	t, err := m.look.table(name)
	if err != nil {
		return err
	}
	if err := checkWhole(t); err != nil {
		return err
	}
	if old := m.state.lookup(name); old != nil {
		for _, x := range old.indexes {
			if x.harm != "" { // not in the copy, but its name is taken
				t.indexes = append(t.indexes, x)
			}
		}
	}
	m.state.tables[foldName(t.name)] = t
	return nil
}

// asError keeps a nil *SchemaError from becoming an error that is not nil.
func asError(p plan, refused *SchemaError) (plan, error) {
	if refused != nil {
		return plan{}, refused
	}
	return p, nil
}
