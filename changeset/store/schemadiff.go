package store

import (
	"fmt"
	"slices"
	"strings"

	"github.com/patinadb/patina/changeset/sqlite"
)

// plan is how to bring a database to a schema: statements to run in one
// transaction, in order. Everything that could fail for what the database
// holds is refused before, so that a plan applies on every node or on none.
type plan struct {
	statements []string
	notes      []string // what is here and not wanted: left alone, to be logged once
	created    []string // tables that are new
	extended   []string // tables that get columns
}

func (p *plan) add(q plan) {
	p.statements = append(p.statements, q.statements...)
	p.notes = append(p.notes, q.notes...)
	p.created = append(p.created, q.created...)
	p.extended = append(p.extended, q.extended...)
}

// planFiles returns what current lacks of desired. Only new tables, added
// columns and new indexes are possible; anything else is a *SchemaError.
func planFiles(current, desired *schema) (plan, error) {
	var p plan
	for _, want := range desired.sorted() {
		q, refused := planTable(current, want)
		if refused != nil {
			return plan{}, refused.at(want.place)
		}
		p.add(q)
	}
	// Indexes come last: they may need columns that were added.
	for _, want := range desired.sorted() {
		for i := range want.indexes {
			q, refused := planIndex(current, want, &want.indexes[i])
			if refused != nil {
				return plan{}, refused.at(want.indexes[i].place)
			}
			p.add(q)
		}
	}
	p.notes = append(p.notes, absent(current, desired)...)
	if err := rehearse(current, desired, p); err != nil {
		return plan{}, err
	}
	return p, nil
}

// planTable returns the statements that make want of what is there.
func planTable(current *schema, want *table) (plan, *SchemaError) {
	if reason, taken := current.local[foldName(want.name)]; taken {
		return plan{}, &SchemaError{Table: want.name, Reason: "the name is taken here by something that is not replicated: " + reason}
	}
	if t, x := current.findIndex(want.name); x != nil {
		return plan{}, &SchemaError{Table: want.name, Reason: "the name is taken by an index of table " + t.name}
	}
	have := current.lookup(want.name)
	if have == nil {
		return plan{statements: []string{want.sql}, created: []string{want.name}}, nil
	}
	if refused := compareTable(have, want); refused != nil {
		return plan{}, refused
	}
	var p plan
	for i := range want.columns {
		c := &want.columns[i]
		if old := have.column(c.name); old != nil {
			if refused := compareColumn(have, old, c); refused != nil {
				return plan{}, refused
			}
			continue
		}
		if refused := checkAdded(have, c); refused != nil {
			return plan{}, refused
		}
		p.statements = append(p.statements, "ALTER TABLE "+quoteIdent(have.name)+" ADD COLUMN "+c.clause.text)
	}
	if len(p.statements) > 0 {
		p.extended = []string{have.name}
	}
	if refused := compareConstraints(have, want); refused != nil {
		return plan{}, refused
	}
	return p, nil
}

// cannotAlter ends every refusal of a change to what exists.
const cannotAlter = "; existing definitions cannot be changed, only tables, columns and indexes added"

// compareTable compares what is of the table as a whole.
func compareTable(have, want *table) *SchemaError {
	deny := func(format string, args ...any) *SchemaError {
		return &SchemaError{Table: have.name, Reason: fmt.Sprintf(format, args...) + cannotAlter}
	}
	switch {
	case have.strict != want.strict:
		return deny("it is %s and should be %s", strictness(have), strictness(want))
	case have.withoutRowid != want.withoutRowid:
		return deny("WITHOUT ROWID differs")
	case have.autoincrement != want.autoincrement:
		return deny("AUTOINCREMENT differs")
	}
	if old, now := have.keyNames(), want.keyNames(); !slices.Equal(old, now) {
		refused := deny("the primary key is (%s) and should be (%s)", strings.Join(old, ", "), strings.Join(now, ", "))
		for _, name := range slices.Concat(now, old) {
			if slices.Contains(old, name) != slices.Contains(now, name) {
				refused.Column = name
				break
			}
		}
		return refused
	}
	return nil
}

func strictness(t *table) string {
	if t.strict {
		return "STRICT"
	}
	return "not STRICT"
}

// keyNames returns the folded names of the key columns, in key order.
func (t *table) keyNames() []string {
	out := make([]string, len(t.key))
	for i, k := range t.key {
		out[i] = foldName(t.columns[k].name)
	}
	return out
}

// compareColumn compares a column that is on both sides.
func compareColumn(t *table, have, want *column) *SchemaError {
	deny := func(format string, args ...any) *SchemaError {
		return &SchemaError{Table: t.name, Column: have.name, Reason: fmt.Sprintf(format, args...) + cannotAlter}
	}
	orNone := func(s string) string {
		if s == "" {
			return "none"
		}
		return s
	}
	switch {
	case normalType(have.decl) != normalType(want.decl):
		return deny("its type is %s and should be %s", orNone(have.decl), orNone(want.decl))
	case have.notNull != want.notNull:
		return deny("NOT NULL differs")
	case have.generated != want.generated:
		return deny("GENERATED differs")
	case have.generator != want.generator:
		return deny("its generating expression differs")
	case have.defaultIdentity() != want.defaultIdentity():
		return deny("its default is %s and should be %s", orNone(have.dflt), orNone(want.dflt))
	case foldName(have.collation) != foldName(want.collation):
		return deny("its collation is %s and should be %s", have.collation, want.collation)
	}
	return nil
}

// checkAdded says whether ALTER TABLE ADD COLUMN can add c with the same
// outcome on every node, whatever rows the table has there.
func checkAdded(t *table, c *column) *SchemaError {
	deny := func(reason string) *SchemaError {
		return &SchemaError{Table: t.name, Column: c.name, Reason: reason}
	}
	switch {
	case c.generated == generatedStored:
		return deny("a STORED generated column cannot be added to an existing table; make it VIRTUAL")
	case hasWords(c.clause.tokens, "check"):
		return deny("a CHECK cannot be added to an existing table: rows that are there could break it")
	case c.hasDefault && !c.literalDefault:
		return deny("an added column needs a literal default, not " + c.dflt + ": nodes would compute different values for the rows that are there")
	case c.notNull && (!c.literalDefault || isNullLiteral(c.dflt)):
		return deny("an added column that is NOT NULL needs a literal default for the rows that are there")
	}
	return nil
}

// compareConstraints compares what no ALTER TABLE can touch. References of
// columns that only one side has are that column's own affair.
func compareConstraints(have, want *table) *SchemaError {
	deny := func(format string, args ...any) *SchemaError {
		return &SchemaError{Table: have.name, Reason: fmt.Sprintf(format, args...) + cannotAlter}
	}
	if !slices.Equal(have.checks, want.checks) && !have.onlyMore(want) {
		return deny("its CHECK constraints differ")
	}
	if !slices.Equal(have.uniques(want), want.uniques(nil)) {
		return deny("its UNIQUE constraints differ")
	}
	old, now := have.referencesWithin(want), want.referencesToAlter(have)
	if !slices.Equal(old, now) {
		refused := deny("its references (FOREIGN KEY) differ")
		for _, f := range slices.Concat(want.foreign, have.foreign) {
			if slices.Contains(old, f.text) != slices.Contains(now, f.text) {
				refused.Column = f.from[0]
				break
			}
		}
		return refused
	}
	return nil
}

// onlyMore reports whether t's CHECKs are want's and those of columns that
// want does not mention.
func (t *table) onlyMore(want *table) bool {
	var rest []string
	for i := range t.columns {
		if c := &t.columns[i]; want.column(c.name) == nil {
			rest = append(rest, checkClauses(c.clause.tokens)...)
		}
	}
	rest = append(rest, want.checks...)
	slices.Sort(rest)
	return slices.Equal(rest, t.checks)
}

// uniques returns the UNIQUE constraints as sorted text, but for those on a
// column that other lacks; other may be nil.
func (t *table) uniques(other *table) []string {
	var out []string
	for i := range t.indexes {
		x := &t.indexes[i]
		beyond := func(c indexColumn) bool { return other != nil && other.column(c.name) == nil }
		if x.constraint && !slices.ContainsFunc(x.columns, beyond) {
			out = append(out, x.terms())
		}
	}
	slices.Sort(out)
	return out
}

// referencesWithin returns the sorted references between columns that other
// has too.
func (t *table) referencesWithin(other *table) []string {
	var out []string
	beyond := func(name string) bool { return other.column(name) == nil }
	for _, f := range t.foreign {
		if !slices.ContainsFunc(f.from, beyond) {
			out = append(out, f.text)
		}
	}
	slices.Sort(out)
	return out
}

// referencesToAlter returns the sorted references, but for those that come
// along when their column is added to have.
func (t *table) referencesToAlter(have *table) []string {
	var out []string
	for _, f := range t.foreign {
		if len(f.from) != 1 || have.column(f.from[0]) != nil || !t.declaresReference(f.from[0]) {
			out = append(out, f.text)
		}
	}
	slices.Sort(out)
	return out
}

// declaresReference reports whether the column's own clause says REFERENCES,
// which comes along when the column is added.
func (t *table) declaresReference(column string) bool {
	return hasWords(t.column(column).clause.tokens, "references")
}

// planIndex compares or adds one index of CREATE INDEX.
func planIndex(current *schema, t *table, want *index) (plan, *SchemaError) {
	if want.constraint {
		return plan{}, nil
	}
	deny := func(format string, args ...any) (plan, *SchemaError) {
		return plan{}, &SchemaError{Table: t.name, Reason: fmt.Sprintf("index %s: ", want.name) + fmt.Sprintf(format, args...)}
	}
	if reason, taken := current.local[foldName(want.name)]; taken {
		return deny("the name is taken here by something that is not replicated: %s", reason)
	}
	if other := current.lookup(want.name); other != nil {
		return deny("the name is taken by a table")
	}
	owner, have := current.findIndex(want.name)
	switch {
	case have == nil:
		return plan{statements: []string{want.sql}}, nil
	case !sameName(owner.name, t.name):
		return deny("the name is taken by an index of table %s", owner.name)
	case !have.equal(want):
		return deny("it is here with another definition; drop it first, or choose another name")
	}
	return plan{}, nil
}

// terms prints the columns of an index for comparison.
func (x *index) terms() string {
	var b strings.Builder
	for _, c := range x.columns {
		fmt.Fprintf(&b, "%s %s %t %t,", quoteIdent(foldName(c.name)), foldName(c.collation), c.desc, c.rowid)
	}
	return b.String()
}

// equal compares two indexes by introspection, and by their text what
// introspection does not show: expressions and WHERE.
func (x *index) equal(y *index) bool {
	if x.unique != y.unique || x.partial != y.partial || x.terms() != y.terms() {
		return false
	}
	hasExpression := slices.ContainsFunc(x.columns, func(c indexColumn) bool { return c.name == "" && !c.rowid })
	if !x.partial && !hasExpression {
		return true
	}
	return normalTerms(x.sql) == normalTerms(y.sql)
}

// normalTerms makes the terms of a CREATE INDEX comparable. ASC says nothing.
func normalTerms(sql string) string {
	ts := indexTerms(sql)
	return normalTokens(slices.DeleteFunc(slices.Clone(ts), func(t token) bool { return t.is("asc") }))
}

// absent lists what current has and desired does not.
func absent(current, desired *schema) []string {
	var notes []string
	for _, have := range current.sorted() {
		want := desired.lookup(have.name)
		if want == nil {
			notes = append(notes, "table "+have.name+" is not in the schema files; left alone")
			continue
		}
		for i := range have.columns {
			if want.column(have.columns[i].name) == nil {
				notes = append(notes, "column "+have.name+"."+have.columns[i].name+" is not in the schema files; left alone")
			}
		}
		for i := range have.indexes {
			x := &have.indexes[i]
			if _, other := desired.findIndex(x.name); other == nil && !x.constraint {
				notes = append(notes, "index "+x.name+" of table "+have.name+" is not in the schema files; left alone")
			}
		}
	}
	return notes
}

// makePrivate builds a private database with current's tables and indexes.
func makePrivate(current *schema) (*sqlite.Conn, error) {
	c, err := openPrivate()
	if err != nil {
		return nil, err
	}
	for _, t := range current.sorted() {
		if err := c.Exec(t.sql); err != nil {
			c.Close()
			return nil, fmt.Errorf("make table %s in a private database: %w", t.name, err)
		}
		for i := range t.indexes {
			if x := &t.indexes[i]; !x.constraint && x.harm == "" {
				if err := c.Exec(x.sql); err != nil {
					c.Close()
					return nil, fmt.Errorf("make index %s in a private database: %w", x.name, err)
				}
			}
		}
	}
	return c, nil
}

// rehearse runs the plan on a private copy and requires that nothing is left
// to do after it: no node starts a plan that cannot end as wanted.
func rehearse(current, desired *schema, p plan) error {
	if len(p.statements) == 0 {
		return nil
	}
	c, err := makePrivate(current)
	if err != nil {
		return err
	}
	defer c.Close()
	for _, sql := range p.statements {
		if err := c.Exec(sql); err != nil {
			return &SchemaError{Reason: "cannot run " + sql + ": " + err.Error(), Err: err}
		}
	}
	after, err := readSchema(c)
	if err != nil {
		return err
	}
	for _, want := range desired.sorted() {
		q, refused := planTable(after, want)
		if refused == nil && len(q.statements) > 0 {
			refused = &SchemaError{Table: want.name, Reason: "SQLite did not make the table as it is defined"}
		}
		if refused != nil {
			return refused.at(want.place)
		}
	}
	return nil
}
