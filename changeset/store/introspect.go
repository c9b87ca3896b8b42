package store

import (
	"fmt"
	"slices"
	"strings"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// introspector reads definitions from c. What the pragmas do not tell (the
// collation of a column, the value of a DEFAULT) it finds out in a private
// database, where it makes each table again.
type introspector struct {
	c, private *sqlite.Conn
}

func newIntrospector(c *sqlite.Conn) (*introspector, error) {
	private, err := openPrivate()
	if err != nil {
		return nil, err
	}
	return &introspector{c, private}, nil
}

// openPrivate opens an empty database in memory.
func openPrivate() (*sqlite.Conn, error) {
	c, err := sqlite.Open(sqlite.Config{Path: ":memory:"})
	if err != nil {
		return nil, fmt.Errorf("open a private database: %w", err)
	}
	c.SetMode(sqlite.ModeInternal)
	return c, nil
}

func (r *introspector) close() { r.private.Close() }

// readSchema introspects the user's tables of main. A table that cannot be
// replicated is listed in local with the reason. c must be in ModeInternal.
func readSchema(c *sqlite.Conn) (*schema, error) {
	r, err := newIntrospector(c)
	if err != nil {
		return nil, err
	}
	defer r.close()
	return r.schema()
}

// object is a row of sqlite_schema.
type schemaObject struct{ kind, name, table, sql string }

func (r *introspector) schema() (*schema, error) {
	s := &schema{tables: map[string]*table{}, local: map[string]string{}, lost: map[string]string{}}
	objects, err := r.objects()
	if err != nil {
		return nil, err
	}
	kinds, err := r.tableKinds()
	if err != nil {
		return nil, err
	}
	unknown, err := r.unknownVirtual(objects, kinds)
	if err != nil {
		return nil, err
	}
	for _, o := range objects {
		if o.kind != "table" {
			continue
		}
		if kind := kinds[foldName(o.name)]; kind != "table" {
			s.local[foldName(o.name)] = localKinds[kind]
			continue
		}
		if whole := partOf(o.name, unknown); whole != "" {
			s.local[foldName(o.name)] = "its name is that of a part of the virtual table " + whole + ", whose module this SQLite does not know"
			continue
		}
		t, err := r.table(o.name)
		if err != nil {
			return nil, err
		}
		if refused := checkTable(t); refused != nil {
			s.local[foldName(o.name)] = refused.Reason
			continue
		}
		for i := range t.indexes {
			if refused := checkIndex(t, &t.indexes[i]); refused != nil {
				t.indexes[i].harm = refused.Reason
			}
		}
		s.tables[foldName(t.name)] = t
	}
	for _, o := range objects {
		switch {
		case o.kind == "view":
			s.local[foldName(o.name)] = viewReason
		case o.kind == "index" && s.lookup(o.table) == nil:
			s.local[foldName(o.name)] = "it is an index of " + o.table
		}
	}
	s.seal()
	return s, nil
}

// viewReason is why a view is local.
const viewReason = "it is a view"

// localKinds are reasons by the type that table_list gives.
var localKinds = map[string]string{
	"virtual": "it is a virtual table",
	"shadow":  "it is a part of a virtual table",
	"":        "it is unknown to this SQLite",
}

// objects returns what is ours to look at, tables before the rest.
func (r *introspector) objects() ([]schemaObject, error) {
	var out []schemaObject
	err := r.c.Each(`SELECT type, name, tbl_name, coalesce(sql, '') FROM main.sqlite_schema`, nil, func(s *sqlite.Stmt) error {
		o := schemaObject{columnText(s, 0), columnText(s, 1), columnText(s, 2), columnText(s, 3)}
		if !hasPrefixFold(o.name, internalPrefix) && !hasPrefixFold(o.name, "sqlite_") {
			out = append(out, o)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read sqlite_schema: %w", err)
	}
	return out, nil
}

// tableKinds returns table_list's type by folded name.
func (r *introspector) tableKinds() (map[string]string, error) {
	kinds := map[string]string{}
	err := r.c.Each(`SELECT name, type FROM pragma_table_list WHERE schema = 'main'`, nil, func(s *sqlite.Stmt) error {
		kinds[foldName(columnText(s, 0))] = columnText(s, 1)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read table_list: %w", err)
	}
	return kinds, nil
}

// unknownVirtual lists the virtual tables whose module this SQLite lacks. It cannot
// tell which tables such a module keeps its data in.
func (r *introspector) unknownVirtual(objects []schemaObject, kinds map[string]string) (names []string, err error) {
	for _, o := range objects {
		if kinds[foldName(o.name)] != "virtual" {
			continue
		}
		known := false
		err := r.c.Each("SELECT 1 FROM pragma_module_list WHERE name = ? COLLATE NOCASE", textArgs(moduleOf(o.sql)), func(*sqlite.Stmt) error {
			known = true
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read module_list: %w", err)
		}
		if !known {
			names = append(names, o.name)
		}
	}
	return names, nil
}

// moduleOf returns the module of a CREATE VIRTUAL TABLE.
func moduleOf(sql string) string {
	ts := tokens(sql)
	for i := range len(ts) - 1 {
		if ts[i].is("using") {
			return ts[i+1].text
		}
	}
	return ""
}

// partOf returns the virtual table that a table has in its name as its parts do, ""
// if it is none of them.
func partOf(name string, virtual []string) string {
	for _, v := range virtual {
		if hasPrefixFold(name, v+"_") {
			return v
		}
	}
	return ""
}

func columnText(s *sqlite.Stmt, i int) string { return string(s.View(i)) }

// textArgs makes the arguments of a pragma function on main.
func textArgs(names ...string) []changeset.Value {
	out := make([]changeset.Value, len(names))
	for i, n := range names {
		out[i] = changeset.TextValue(n)
	}
	return out
}

// table introspects one ordinary table, whether or not it can be replicated.
func (r *introspector) table(name string) (*table, error) {
	t := &table{name: name, generation: 1}
	steps := []struct {
		what string
		read func(*table) error
	}{
		{"definition", r.readDefinition},
		{"columns", r.readColumns},
		{"indexes", r.readIndexes},
		{"references", r.readForeignKeys},
		{"private copy", r.readPrivate},
	}
	for _, step := range steps {
		if err := step.read(t); err != nil {
			return nil, fmt.Errorf("introspect table %s: %s: %w", name, step.what, err)
		}
	}
	t.arrange()
	return t, nil
}

func (r *introspector) readDefinition(t *table) error {
	err := r.c.Each(`SELECT type, coalesce(sql, ''), name FROM main.sqlite_schema WHERE tbl_name = ? COLLATE NOCASE AND type IN ('table', 'trigger')`,
		textArgs(t.name), func(s *sqlite.Stmt) error {
			if columnText(s, 0) == "trigger" {
				t.hasTriggers = t.hasTriggers || !hasPrefixFold(columnText(s, 2), internalPrefix)
				return nil
			}
			t.name, t.sql = columnText(s, 2), columnText(s, 1)
			return nil
		})
	if err != nil {
		return err
	}
	ts := tokens(t.sql)
	t.checks = checkClauses(ts)
	t.hasChecks = len(t.checks) > 0
	t.hasConflictClauses = hasWords(ts, "on", "conflict")
	t.autoincrement = hasWords(ts, "autoincrement")
	return r.c.Each(`SELECT wr, strict FROM pragma_table_list WHERE schema = 'main' AND name = ? COLLATE NOCASE`,
		textArgs(t.name), func(s *sqlite.Stmt) error {
			t.withoutRowid, t.strict = s.Integer(0) != 0, s.Integer(1) != 0
			return nil
		})
}

func (r *introspector) readColumns(t *table) error {
	clauses := clausesOf(t.sql)
	return r.c.Each(`SELECT name, type, "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(?, 'main') ORDER BY cid`,
		textArgs(t.name), func(s *sqlite.Stmt) error {
			c := column{
				name:       columnText(s, 0),
				decl:       columnText(s, 1),
				notNull:    s.Integer(2) != 0,
				hasDefault: s.Kind(3) != changeset.Null,
				keyPos:     int(s.Integer(4)),
				collation:  "BINARY",
				ordinal:    len(t.columns),
			}
			if c.hasDefault {
				c.dflt = columnText(s, 3)
				c.literalDefault, _ = isLiteral(c.dflt)
			}
			switch s.Integer(5) {
			case 1:
				c.hidden = true
			case 2:
				c.generated = generatedVirtual
			case 3:
				c.generated = generatedStored
			}
			c.affinity = affinityOf(c.decl, t.strict)
			c.clause = clauses.columns[foldName(c.name)]
			if c.generated != generatedNone {
				c.generator = normalTokens(c.clause.generator())
			}
			t.columns = append(t.columns, c)
			return nil
		})
}

func (r *introspector) readIndexes(t *table) error {
	var keys []bool
	err := r.c.Each(`SELECT l.name, l."unique", l.origin, l.partial, coalesce(m.sql, '')
		FROM pragma_index_list(?, 'main') AS l LEFT JOIN main.sqlite_schema AS m ON m.type = 'index' AND m.name = l.name ORDER BY l.name`,
		textArgs(t.name), func(s *sqlite.Stmt) error {
			t.indexes = append(t.indexes, index{
				name:       columnText(s, 0),
				unique:     s.Integer(1) != 0,
				constraint: columnText(s, 2) != "c",
				partial:    s.Integer(3) != 0,
				sql:        columnText(s, 4),
			})
			keys = append(keys, columnText(s, 2) == "pk")
			return nil
		})
	if err != nil {
		return err
	}
	for i := range t.indexes {
		if t.indexes[i].columns, err = readIndexColumns(r.c, t.indexes[i].name); err != nil {
			return err
		}
	}
	if i := slices.Index(keys, true); i >= 0 {
		x := t.indexes[i]
		t.keyIndex, t.indexes = &x, slices.Delete(t.indexes, i, i+1)
	}
	return nil
}

// readIndexColumns returns the terms of an index, without what SQLite adds.
func readIndexColumns(c *sqlite.Conn, name string) ([]indexColumn, error) {
	var out []indexColumn
	err := c.Each(`SELECT cid, coalesce(name, ''), "desc", coll FROM pragma_index_xinfo(?, 'main') WHERE key ORDER BY seqno`,
		textArgs(name), func(s *sqlite.Stmt) error {
			out = append(out, indexColumn{columnText(s, 1), s.Integer(0) == -1, s.Integer(2) != 0, columnText(s, 3)})
			return nil
		})
	return out, err
}

func (r *introspector) readForeignKeys(t *table) error {
	last := int64(-1)
	var ends []string
	err := r.c.Each(`SELECT id, "table", "from", coalesce("to", ''), on_update, on_delete FROM pragma_foreign_key_list(?, 'main') ORDER BY id, seq`,
		textArgs(t.name), func(s *sqlite.Stmt) error {
			if id := s.Integer(0); id != last {
				last = id
				t.foreign = append(t.foreign, foreignKey{text: fmt.Sprintf("%s on update %s on delete %s", quoteIdent(foldName(columnText(s, 1))), columnText(s, 4), columnText(s, 5))})
				ends = append(ends, "")
			}
			i := len(t.foreign) - 1
			t.foreign[i].from = append(t.foreign[i].from, foldName(columnText(s, 2)))
			ends[i] += " " + quoteIdent(foldName(columnText(s, 2))) + ">" + quoteIdent(foldName(columnText(s, 3)))
			return nil
		})
	for i := range t.foreign {
		t.foreign[i].text += ends[i]
	}
	return err
}

// arrange derives what follows from the columns.
func (t *table) arrange() {
	taken := map[string]bool{}
	for i := range t.columns {
		c := &t.columns[i]
		taken[foldName(c.name)] = true
		c.data = -1
		switch {
		case c.keyPos > 0:
			t.key = append(t.key, i)
		case c.generated == generatedNone && !c.hidden:
			c.data = len(t.data)
			t.data = append(t.data, i)
		}
	}
	slices.SortFunc(t.key, func(a, b int) int { return t.columns[a].keyPos - t.columns[b].keyPos })
	t.all = changeset.FirstColumns(len(t.data))
	t.layout = layoutKey
	if t.withoutRowid {
		return
	}
	for _, name := range []string{"oid", "_rowid_", "rowid"} {
		if !taken[name] {
			t.rowid = name
		}
	}
	switch {
	case len(t.key) == 1 && t.keyIndex == nil: // one INTEGER column without an index of its own
		t.layout = layoutInteger
	case t.rowid != "":
		t.layout = layoutRowid
	}
}

// readPrivate makes the table again in the private database, to see the
// collations of its columns and what its defaults evaluate to.
func (r *introspector) readPrivate(t *table) error {
	if err := r.private.Exec("SAVEPOINT look"); err != nil {
		return err
	}
	err := r.look(t)
	if undo := r.private.Exec("ROLLBACK TO look; RELEASE look"); undo != nil && err == nil {
		err = undo
	}
	return err
}

func (r *introspector) look(t *table) error {
	if err := r.private.Exec(t.sql); err != nil {
		t.unknown = err.Error()
		return nil
	}
	names := make([]string, len(t.columns))
	for i := range t.columns {
		names[i] = quoteIdent(t.columns[i].name)
	}
	if err := r.private.Exec("CREATE INDEX __patina_look ON " + quoteIdent(t.name) + "(" + strings.Join(names, ", ") + ")"); err != nil {
		t.unknown = err.Error()
		return nil
	}
	terms, err := readIndexColumns(r.private, "__patina_look")
	if err != nil {
		return err
	}
	for i := range terms {
		t.columns[i].collation = terms[i].collation
	}
	r.compile(t)
	return r.evaluateDefaults(t)
}

// compile finds out what of t only somebody else's process can run. A DEFAULT does
// not count: an INSERT can give every column.
func (r *introspector) compile(t *table) {
	var names, marks []string
	for i := range t.columns {
		if c := &t.columns[i]; c.generated == generatedNone {
			names, marks = append(names, quoteIdent(c.name)), append(marks, "?")
		}
	}
	insert, _, err := r.private.Prepare("INSERT INTO " + quoteIdent(t.name) + "(" + joinTerms(names) + ") VALUES(" + joinTerms(marks) + ")")
	if err != nil {
		t.unknown = err.Error()
		return
	}
	insert.Finalize()
	for i := range t.indexes {
		if x := &t.indexes[i]; !x.constraint {
			if err := r.private.Exec(x.sql); err != nil {
				x.unknown = err.Error()
			}
		}
	}
}

// evaluateDefaults sets the apply defaults (DESIGN section 2, rule 3).
func (r *introspector) evaluateDefaults(t *table) error {
	var definitions []string
	var which []int
	for i := range t.columns {
		c := &t.columns[i]
		if c.keyPos > 0 || c.generated != generatedNone {
			continue
		}
		if c.notNull {
			c.applyDefault = c.affinity.zero()
		}
		if c.literalDefault {
			term := c.dflt
			if _, bare := isLiteral(term); !bare {
				term = "(" + term + ")"
			}
			definitions = append(definitions, fmt.Sprintf("c%d %s DEFAULT %s", i, c.affinity.declaration(), term))
			which = append(which, i)
		}
	}
	if len(which) == 0 {
		return nil
	}
	fresh, err := r.defaultsOf("CREATE TABLE __patina_defaults(" + strings.Join(definitions, ", ") + "); INSERT INTO __patina_defaults DEFAULT VALUES")
	if err != nil {
		return err
	}
	added, err := r.defaultsOf("CREATE TABLE __patina_defaults(id INTEGER); INSERT INTO __patina_defaults VALUES(1);" +
		"ALTER TABLE __patina_defaults ADD COLUMN " + strings.Join(definitions, "; ALTER TABLE __patina_defaults ADD COLUMN "))
	if err != nil {
		return err
	}
	added = added[1:]
	for k, i := range which {
		t.columns[i].ambiguousDefault = !fresh[k].Equal(added[k])
		if fresh[k].Kind() != changeset.Null {
			t.columns[i].applyDefault = fresh[k]
		}
	}
	return nil
}

// defaultsOf makes __patina_defaults with one row, reads it and drops it.
func (r *introspector) defaultsOf(script string) (row []changeset.Value, err error) {
	if err := r.private.Exec(script); err != nil {
		return nil, err
	}
	s, _, err := r.private.Prepare("SELECT * FROM __patina_defaults")
	if err != nil {
		return nil, err
	}
	defer func() {
		s.Finalize()
		if drop := r.private.Exec("DROP TABLE __patina_defaults"); err == nil {
			err = drop
		}
	}()
	if _, err := s.Step(); err != nil {
		return nil, err
	}
	for i := range s.ColumnCount() {
		row = append(row, s.Column(i))
	}
	return row, nil
}
