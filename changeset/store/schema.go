package store

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/zeebo/blake3"

	"github.com/patinadb/patina/changeset"
)

// SchemaFile is one .sql file of the node's schema.
type SchemaFile struct {
	Name string // as errors name it
	SQL  string
}

// SchemaError says which part of a schema is refused, and why. File and Line
// are empty for a migration.
type SchemaError struct {
	File          string
	Line          int // from 1; 0 unknown
	Table, Column string
	Reason        string
	Err           error // of SQLite, where it was SQLite that refused
}

// Error prints file:line: table, column: reason, as far as they are known.
func (e *SchemaError) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File)
		if e.Line > 0 {
			fmt.Fprintf(&b, ":%d", e.Line)
		}
		b.WriteString(": ")
	}
	switch {
	case e.Table != "" && e.Column != "":
		fmt.Fprintf(&b, "table %s, column %s: ", e.Table, e.Column)
	case e.Table != "":
		fmt.Fprintf(&b, "table %s: ", e.Table)
	}
	b.WriteString(e.Reason)
	return b.String()
}

// Unwrap returns SQLite's error, if there is one.
func (e *SchemaError) Unwrap() error { return e.Err }

// at fills in the place, where the error does not have one yet.
func (e *SchemaError) at(p schemaPlace) *SchemaError {
	if e.File == "" && e.Line == 0 {
		e.File, e.Line = p.file, p.line
	}
	return e
}

// schemaPlace is where a definition begins in the schema files.
type schemaPlace struct {
	file string
	line int
}

// generatedKind says whether and how SQLite computes a column.
type generatedKind uint8

const (
	generatedNone generatedKind = iota
	generatedVirtual
	generatedStored
)

// column is one column of a replicated table.
type column struct {
	name     string
	decl     string // declared type as SQLite reports it, "" none
	affinity affinity
	notNull  bool
	dflt     string // SQL text of the DEFAULT, "" none
	// hasDefault: there is a DEFAULT of any kind. literalDefault: it is a
	// constant (also NULL), which SQLite evaluates alike everywhere.
	hasDefault, literalDefault bool
	// ambiguousDefault: SQLite gives new rows another value than the rows that
	// were there when the column was added ('1.5' and '1.50' for TEXT DEFAULT
	// 1.50).
	ambiguousDefault bool
	// applyDefault is the value of an uncovered cell (DESIGN section 2, rule 3),
	// with the column's affinity; NULL for key and generated columns.
	applyDefault changeset.Value
	collation    string // as SQLite prints it: BINARY unless declared
	keyPos       int    // 1-based position in the key, 0 no
	generated    generatedKind
	generator    string // normalised tokens of the generating expression
	hidden       bool   // of virtual tables only: never set for a replicated one
	ordinal      int    // in table_xinfo order
	data         int    // ordinal among the data columns; -1 key or generated
	clause       columnClause
}

// layout says how a table's row clocks are keyed.
type layout uint8

const (
	// layoutInteger: the key is the rowid itself (INTEGER PRIMARY KEY).
	layoutInteger layout = iota
	// layoutRowid: another key of a table with rowids. Clocks of living rows go by
	// the local rowid, guarded by a hash of the key; those of deleted rows by key.
	layoutRowid
	// layoutKey: WITHOUT ROWID tables, and the few whose rowid no name reaches;
	// clocks go by the key's values.
	layoutKey
)

// table is a replicated table. Key columns are those of the primary key, data
// columns all others that SQLite does not compute.
type table struct {
	name                 string
	generation           changeset.CausalLength
	layout               layout
	withoutRowid, strict bool
	// rowid is a name that reaches the rowid: no column is called so. "" for a
	// WITHOUT ROWID table.
	rowid         string
	columns       []column            // table_xinfo order; generated columns included
	key           []int               // column ordinals in key order
	data          []int               // column ordinals of data columns, in local order
	all           changeset.ColumnSet // the ordinals of data: FirstColumns(len(data))
	autoincrement bool
	// hasTriggers, hasChecks: apply switches these off. hasConflictClauses:
	// some constraint says ON CONFLICT, which only an explicit OR overrides.
	hasTriggers, hasChecks, hasConflictClauses bool
	indexes                                    []index  // CREATE INDEX and UNIQUE; without the key's own
	checks                                     []string // normalised tokens, sorted
	foreign                                    []foreignKey
	keyIndex                                   *index // of a key that is not the rowid
	sql                                        string // sqlite_schema.sql
	// unknown is why SQLite cannot make the table again in a private database:
	// it uses what only somebody else's process has. "" for most.
	unknown string
	place   schemaPlace
	sum     int // ordinal of its clock sum: see state.go
}

// index is an index of a replicated table.
type index struct {
	name       string
	columns    []indexColumn
	unique     bool
	partial    bool
	constraint bool   // made by UNIQUE in CREATE TABLE, not by CREATE INDEX
	sql        string // sqlite_schema.sql, "" for a constraint
	// harm says why the index could make apply fail: somebody else made it. ""
	// for one that the rules allow.
	harm  string
	place schemaPlace
	// unknown is why SQLite cannot make it again, as of a table.
	unknown string
}

// indexColumn is one term of an index.
type indexColumn struct {
	name      string // "" for an expression
	rowid     bool
	desc      bool
	collation string
}

// foreignKey is a declared reference, which is kept and not enforced.
type foreignKey struct {
	from []string // folded
	text string   // normalised whole
}

// schema is what the database holds, or should hold. It is immutable once made.
type schema struct {
	tables map[string]*table // by ASCII-folded name
	// local holds the other names of the shared namespace of tables, views and
	// indexes: what is here but not replicated, with the reason.
	local  map[string]string
	lost   map[string]string // of local: tables that replicated; see lost.go
	digest [32]byte
}

// lookup returns the replicated table of that name, in any case, or nil.
func (s *schema) lookup(name string) *table { return s.tables[foldName(name)] }

// exclude takes t out of what replicates. It is for a schema that nobody has
// seen yet.
func (s *schema) exclude(t *table, reason string) {
	delete(s.tables, foldName(t.name))
	s.local[foldName(t.name)] = reason
	for i := range t.indexes {
		if x := &t.indexes[i]; !x.constraint {
			s.local[foldName(x.name)] = "it is an index of " + t.name
		}
	}
	s.seal()
}

// lose takes the table of that name out of what replicates, if it is there at all.
func (s *schema) lose(name, reason string) {
	if t := s.lookup(name); t != nil {
		s.exclude(t, reason)
	}
	name = foldName(name)
	s.local[name], s.lost[name] = reason, reason
}

// sorted returns the tables by folded name.
func (s *schema) sorted() []*table {
	out := make([]*table, 0, len(s.tables))
	for _, t := range s.tables {
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b *table) int { return strings.Compare(foldName(a.name), foldName(b.name)) })
	return out
}

// findIndex returns the index of that name that CREATE INDEX made, and its
// table.
func (s *schema) findIndex(name string) (*table, *index) {
	for _, t := range s.tables {
		for i := range t.indexes {
			if x := &t.indexes[i]; !x.constraint && sameName(x.name, name) {
				return t, x
			}
		}
	}
	return nil, nil
}

// column returns the column of that name, in any case, or nil.
func (t *table) column(name string) *column {
	for i := range t.columns {
		if sameName(t.columns[i].name, name) {
			return &t.columns[i]
		}
	}
	return nil
}

// seal computes the digest: BLAKE3 over the tables sorted by folded name, of
// each its name, generation, STRICT and key, and the columns sorted by folded
// name with type, NOT NULL, default, collation and generating expression.
// Indexes, CHECKs, references, AUTOINCREMENT and the order of columns stay out:
// nodes may differ in them and still hold equal content.
func (s *schema) seal() {
	b := []byte{1} // version of this layout
	for _, t := range s.sorted() {
		b = appendSchemaField(b, foldName(t.name))
		b = binary.AppendUvarint(b, uint64(t.generation))
		b = append(b, schemaFlag(t.strict))
		order := slices.Clone(t.columns)
		slices.SortFunc(order, func(x, y column) int { return strings.Compare(foldName(x.name), foldName(y.name)) })
		b = binary.AppendUvarint(b, uint64(len(order)))
		for i := range order {
			c := &order[i]
			b = appendSchemaField(b, foldName(c.name))
			b = appendSchemaField(b, normalType(c.decl))
			b = append(b, schemaFlag(c.notNull), byte(c.generated))
			b = binary.AppendUvarint(b, uint64(c.keyPos))
			b = appendSchemaField(b, c.defaultIdentity())
			b = appendSchemaField(b, foldName(c.collation))
			b = appendSchemaField(b, c.generator)
		}
	}
	s.digest = blake3.Sum256(b)
}

// defaultIdentity is equal for defaults that mean the same: a literal by its
// value, NULL like none at all, anything else by its tokens.
func (c *column) defaultIdentity() string {
	switch {
	case !c.hasDefault:
		return ""
	case !c.literalDefault:
		return "expression " + normalSQL(c.dflt)
	case isNullLiteral(c.dflt):
		return ""
	}
	v := c.applyDefault
	b := append([]byte("value "), byte(v.Kind()))
	switch v.Kind() {
	case changeset.Integer:
		b = binary.BigEndian.AppendUint64(b, uint64(v.Integer()))
	case changeset.Real:
		b = binary.BigEndian.AppendUint64(b, math.Float64bits(v.Real()))
	default:
		b = append(b, v.Bytes()...)
	}
	return string(b)
}

func appendSchemaField(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func schemaFlag(on bool) byte {
	if on {
		return 1
	}
	return 0
}

// normalType makes declared types comparable: case and runs of blanks do not
// count.
func normalType(decl string) string {
	return foldName(strings.Join(strings.Fields(decl), " "))
}
