package store

import (
	"fmt"
	"strings"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// prepared is one statement of ours, compiled at first use and kept.
type prepared struct {
	sql  string
	mode sqlite.Mode
	stmt *sqlite.Stmt
}

// use returns the compiled statement, reset. Its last bindings may still be there:
// the caller binds all.
func (w *writer) use(p *prepared) (*sqlite.Stmt, error) {
	if p.stmt != nil {
		return p.stmt, nil
	}
	mode := w.conn.Mode()
	w.conn.SetMode(p.mode)
	defer w.conn.SetMode(mode)
	var err error
	if p.stmt, err = w.conn.Keep(p.sql); err != nil {
		return nil, fmt.Errorf("prepare %s: %w", p.sql, err)
	}
	return p.stmt, nil
}

// tableStatements is the SQL that replication runs on one table. Row statements
// say OR ABORT, which overrides ON CONFLICT clauses of the schema; OR REPLACE
// would put a DEFAULT in the place of a NULL. They run in ModeApply: no triggers.
type tableStatements struct {
	table                *table
	summer               *changeset.Summer
	delta                changeset.Sum // of the version in work
	keyNames, dataNames  []string
	defaults             []sqlite.Value // apply default of each data column
	byName               map[string]int // folded name of each data column to its ordinal
	clockKeys            int            // values that the clock table goes by
	tombs                bool           // layoutRowid: there may be a tombstone
	readClock, newClock  prepared
	setClock, dropClock  prepared
	moveClocks           prepared // clocks by rowid: see clockRun
	readTomb, putTomb    prepared
	dropTomb             prepared
	findRow, insertRow   prepared // layoutRowid: rowid and clock by key; a row that must be new
	createRow, deleteRow prepared
	selectRow            prepared
	updates              map[string]*prepared // by the encoded column set
}

// keptUpdates bounds the update statements of one table that stay compiled.
const keptUpdates = 64

// keptTables bounds the tables whose statements stay compiled from one
// transaction to the next.
const keptTables = 128

func newTableStatements(t *table) *tableStatements {
	s := &tableStatements{table: t, updates: map[string]*prepared{}, byName: map[string]int{}}
	var data, selected []string
	for _, i := range t.key {
		s.keyNames = append(s.keyNames, t.columns[i].name)
	}
	for d, i := range t.data {
		c := &t.columns[i]
		s.dataNames = append(s.dataNames, c.name)
		data = append(data, quoteIdent(c.name))
		s.defaults = append(s.defaults, c.applyDefault)
		s.byName[foldName(c.name)] = d
	}
	if selected = data; len(data) == 0 {
		selected = []string{"1"}
	}
	s.summer = newSummer(t)
	s.clockStatements()
	row := quoteIdent(t.name)
	apply := func(sql string) prepared { return prepared{sql: sql, mode: sqlite.ModeApply} }
	where := s.rowTerms()
	s.deleteRow = apply("DELETE FROM " + row + " WHERE " + where)
	s.selectRow = apply("SELECT " + strings.Join(selected, ", ") + " FROM " + row + " WHERE " + where)
	keys := quoteAll(s.keyNames)
	insert := "INSERT OR ABORT INTO " + row + "(" + strings.Join(append(keys[:len(keys):len(keys)], data...), ", ") + ") VALUES(?" + strings.Repeat(", ?", len(keys)+len(data)-1) +
		") ON CONFLICT(" + strings.Join(keys, ", ") + ") DO "
	s.insertRow = apply(insert + "NOTHING")
	s.createRow = s.insertRow
	if len(data) > 0 {
		set := make([]string, len(data))
		for i, name := range data {
			set[i] = name + " = excluded." + name
		}
		s.createRow = apply(insert + "UPDATE SET " + strings.Join(set, ", "))
	}
	return s
}

func quoteAll(names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = quoteIdent(name)
	}
	return out
}

// clockStatements writes the SQL on the clock table.
func (s *tableStatements) clockStatements() {
	t := s.table
	clock := quoteIdent(clockTable(t))
	internal := func(sql string) prepared { return prepared{sql: sql, mode: sqlite.ModeInternal} }
	where, marks := "id = ?1", "?1"
	s.clockKeys = 1
	keyWhere, keyMarks := keyedTerms(len(t.key))
	switch t.layout {
	case layoutRowid:
		where = "rid = ?1"
	case layoutKey:
		where, marks, s.clockKeys = keyWhere, keyMarks, len(t.key)
	}
	value := fmt.Sprintf("?%d", s.clockKeys+1)
	s.readClock = internal("SELECT m FROM " + clock + " WHERE " + where)
	s.setClock = internal("UPDATE " + clock + " SET m = " + value + " WHERE " + where)
	s.newClock = internal("INSERT INTO " + clock + " VALUES(" + marks + ", " + value + ") ON CONFLICT DO NOTHING")
	id, _, _ := strings.Cut(where, " ")
	if t.layout != layoutKey {
		s.moveClocks = internal(fmt.Sprintf("UPDATE %s SET m = %s(%s, m) WHERE %s BETWEEN ?1 AND ?2", clock, moveFunction, id, id))
	}
	if t.layout != layoutRowid {
		return
	}
	// A clock that is in the way is of a row that somebody else removed.
	s.newClock = internal("INSERT OR REPLACE INTO " + clock + " VALUES(?1, ?2)")
	s.dropClock = internal("DELETE FROM " + clock + " WHERE rid = ?1")
	tomb := quoteIdent(tombTable(t))
	s.readTomb = internal("SELECT m FROM " + tomb + " WHERE " + keyWhere)
	s.putTomb = internal(fmt.Sprintf("INSERT OR REPLACE INTO %s VALUES(%s, ?%d)", tomb, keyMarks, len(t.key)+1))
	s.dropTomb = internal("DELETE FROM " + tomb + " WHERE " + keyWhere)
	var terms []string
	for n, name := range quoteAll(s.keyNames) {
		terms = append(terms, fmt.Sprintf("t.%s = ?%d", name, n+1))
	}
	s.findRow = internal("SELECT t." + t.rowid + ", c.m FROM " + quoteIdent(t.name) + " t LEFT JOIN " + clock + " c ON c.rid = t." + t.rowid + " WHERE " + strings.Join(terms, " AND "))
}

// keyedTerms returns the condition on a table by key, and its placeholders.
func keyedTerms(keys int) (where, marks string) {
	var terms, places []string
	for n := range keys {
		terms = append(terms, fmt.Sprintf("k%d = ?%d", n+1, n+1))
		places = append(places, fmt.Sprintf("?%d", n+1))
	}
	return strings.Join(terms, " AND "), strings.Join(places, ", ")
}

// rowTerms returns the condition on the table's own row: by rowid where that is
// known from the clock, else by key.
func (s *tableStatements) rowTerms() string {
	if s.table.layout == layoutRowid {
		return s.table.rowid + " = ?1"
	}
	var terms []string
	for n, name := range quoteAll(s.keyNames) {
		terms = append(terms, fmt.Sprintf("%s = ?%d", name, n+1))
	}
	return strings.Join(terms, " AND ")
}

// update returns the statement that sets exactly the given data columns.
func (s *tableStatements) update(columns changeset.ColumnSet) *prepared {
	var buf [16]byte
	key := changeset.AppendColumnSet(buf[:0], columns)
	if p, ok := s.updates[string(key)]; ok {
		return p
	}
	if len(s.updates) >= keptUpdates {
		s.dropUpdates()
	}
	var set []string
	for d := range columns.All {
		set = append(set, fmt.Sprintf("%s = ?%d", quoteIdent(s.dataNames[d]), s.clockKeys+len(set)+1))
	}
	p := &prepared{mode: sqlite.ModeApply, sql: "UPDATE OR ABORT " + quoteIdent(s.table.name) + " SET " + strings.Join(set, ", ") + " WHERE " + s.rowTerms()}
	s.updates[string(key)] = p
	return p
}

func (s *tableStatements) dropUpdates() {
	for key, p := range s.updates {
		p.drop()
		delete(s.updates, key)
	}
}

func (p *prepared) drop() {
	if p.stmt != nil {
		p.stmt.Finalize()
		p.stmt = nil
	}
}

func (s *tableStatements) drop() {
	s.dropUpdates()
	for _, p := range []*prepared{&s.readClock, &s.newClock, &s.setClock, &s.dropClock, &s.moveClocks, &s.readTomb, &s.putTomb, &s.dropTomb,
		&s.findRow, &s.insertRow, &s.createRow, &s.deleteRow, &s.selectRow} {
		p.drop()
	}
}

// statements returns the SQL for t, made once per schema.
func (w *writer) statements(t *table) (*tableStatements, error) {
	if s := w.tables[t.name]; s != nil {
		return s, nil
	}
	s := newTableStatements(t)
	if t.layout == layoutRowid {
		err := w.conn.Each("SELECT 1 FROM "+quoteIdent(tombTable(t))+" LIMIT 1", nil, func(*sqlite.Stmt) error { s.tombs = true; return nil })
		if err != nil {
			return nil, fmt.Errorf("read tombstones of %s: %w", t.name, err)
		}
	}
	if w.tables == nil {
		w.tables = map[string]*tableStatements{}
	}
	w.tables[t.name] = s
	return s, nil
}

// dropStatements forgets everything compiled for the schema that was.
func (w *writer) dropStatements() {
	for _, s := range w.tables {
		s.drop()
	}
	w.tables, w.touched, w.capture.last = nil, nil, nil
}
