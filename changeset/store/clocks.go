package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/hlc"
	"github.com/patinadb/patina/changeset/sqlite"
)

// A stored clock is a uvarint causal length, then its groups, each a column set
// and a stamp. A column set {0 … n-1} is the uvarint n<<1; any other is the
// uvarint bytes<<1|1 and a little-endian bitmap. There is no "all columns": a
// column added later is covered by no earlier stamp. A stamp is 8 bytes of time,
// the actor's ordinal and the version. The usual clock takes 13 bytes.

func (t *actorTable) appendClock(b []byte, k *changeset.Clock) []byte {
	b = binary.AppendUvarint(b, uint64(k.CausalLength))
	for _, g := range k.Groups {
		b = appendColumns(b, g.Columns)
		b = t.appendStamp(b, g.Stamp)
	}
	return b
}

func appendColumns(b []byte, s changeset.ColumnSet) []byte {
	if n, ok := s.Prefix(); ok {
		return binary.AppendUvarint(b, uint64(n)<<1)
	}
	var bitmap []byte
	for i := range s.All {
		for len(bitmap) <= i/8 {
			bitmap = append(bitmap, 0)
		}
		bitmap[i/8] |= 1 << (i % 8)
	}
	b = binary.AppendUvarint(b, uint64(len(bitmap))<<1|1)
	return append(b, bitmap...)
}

// maxColumns is above SQLite's own limit for a table (SQLITE_MAX_COLUMN).
const maxColumns = 32767

// errDamaged: an internal table here holds what we did not write. It is not
// changeset.ErrCorrupt, which would be the fault of the peer that sent something.
var errDamaged = errors.New("damaged")

// decodeClock reads a stored clock into k, whose groups it reuses.
func (t *actorTable) decodeClock(b []byte, k *changeset.Clock) error {
	k.Groups = k.Groups[:0]
	r := clockReader{b: b}
	k.CausalLength = changeset.CausalLength(r.uvarint())
	for len(r.b) > 0 && !r.bad {
		g := changeset.Group{Columns: r.columns()}
		g.Stamp.Time = hlc.Timestamp(r.uint64())
		ord := r.uvarint()
		g.Stamp.Version = changeset.Version(r.uvarint())
		if ord >= uint64(len(t.ids)) {
			r.bad = true
			break
		}
		g.Stamp.Actor = t.ids[ord]
		k.Groups = append(k.Groups, g)
	}
	if r.bad || k.CausalLength == 0 || len(k.Groups) == 0 {
		return fmt.Errorf("row clock x'%x': %w", b, errDamaged)
	}
	return nil
}

type clockReader struct {
	b   []byte
	bad bool
}

func (r *clockReader) uvarint() uint64 {
	x, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return x
}

func (r *clockReader) take(n uint64) []byte {
	if uint64(len(r.b)) < n {
		r.bad, r.b = true, nil
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *clockReader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *clockReader) columns() (s changeset.ColumnSet) {
	x := r.uvarint()
	if x>>1 > maxColumns {
		r.bad, r.b = true, nil
		return s
	}
	if x&1 == 0 {
		return changeset.FirstColumns(int(x >> 1))
	}
	for i, octet := range r.take(x >> 1) {
		for j := range 8 {
			if octet>>j&1 != 0 {
				s = s.With(i*8 + j)
			}
		}
	}
	return s
}

// clockTable names the table that keeps the clocks of t's rows, living and dead.
func clockTable(t *table) string { return internalPrefix + "clk_" + t.name }

// clockTableSQL makes it. An integer key is the rowid there too, so that the two
// b-trees run in step; every other key is repeated by value, which stays right
// when VACUUM or a dump renumbers rowids.
func clockTableSQL(t *table) string {
	name := quoteIdent(clockTable(t))
	if t.layout == layoutInteger {
		return "CREATE TABLE " + name + "(id INTEGER PRIMARY KEY, m BLOB NOT NULL)"
	}
	var b strings.Builder
	b.WriteString("CREATE TABLE " + name + "(")
	for n, i := range t.key {
		fmt.Fprintf(&b, "k%d %s, ", n+1, t.columns[i].affinity.declaration())
	}
	b.WriteString("m BLOB NOT NULL, PRIMARY KEY(")
	for n := range t.key {
		if n > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "k%d", n+1)
	}
	b.WriteString(")) WITHOUT ROWID")
	return b.String()
}

// tableStatements is the SQL that replication runs on one table. Key values are
// bound first. Row statements say OR ABORT, which overrides ON CONFLICT clauses
// of the schema; OR REPLACE would put a DEFAULT in the place of a NULL.
type tableStatements struct {
	table                           *table
	readClock, newClock, putClock   string
	createRow, deleteRow, selectRow string
	updates                         map[string]string // by the encoded column set
	defaults                        []sqlite.Value    // apply default of each data column
	byName                          map[string]int    // folded name of each data column to its ordinal
}

func newTableStatements(t *table) *tableStatements {
	s := &tableStatements{table: t, updates: map[string]string{}, byName: map[string]int{}}
	clock := quoteIdent(clockTable(t))
	where, marks := s.keyTerms()
	s.readClock = "SELECT m FROM " + clock + " WHERE " + where
	s.newClock = "INSERT INTO " + clock + " VALUES(" + marks + ", ?) ON CONFLICT DO NOTHING"
	s.putClock = "INSERT OR REPLACE INTO " + clock + " VALUES(" + marks + ", ?)"

	var names, keys, keyWhere, set, selected []string
	for n, i := range t.key {
		keys = append(keys, quoteIdent(t.columns[i].name))
		keyWhere = append(keyWhere, fmt.Sprintf("%s = ?%d", keys[n], n+1))
	}
	for d, i := range t.data {
		c := &t.columns[i]
		name := quoteIdent(c.name)
		names = append(names, name)
		selected = append(selected, name)
		set = append(set, name+" = excluded."+name)
		s.defaults = append(s.defaults, c.applyDefault)
		s.byName[foldName(c.name)] = d
	}
	if len(selected) == 0 {
		selected = []string{"1"}
	}
	row := quoteIdent(t.name)
	s.deleteRow = "DELETE FROM " + row + " WHERE " + strings.Join(keyWhere, " AND ")
	s.selectRow = "SELECT " + strings.Join(selected, ", ") + " FROM " + row + " WHERE " + strings.Join(keyWhere, " AND ")
	s.createRow = "INSERT OR ABORT INTO " + row + "(" + strings.Join(append(keys, names...), ", ") + ") VALUES(?" + strings.Repeat(", ?", len(keys)+len(names)-1) +
		") ON CONFLICT(" + strings.Join(keys, ", ") + ") DO "
	if len(set) == 0 {
		s.createRow += "NOTHING"
	} else {
		s.createRow += "UPDATE SET " + strings.Join(set, ", ")
	}
	return s
}

// keyTerms returns the condition on the clock table's key and its placeholders.
func (s *tableStatements) keyTerms() (where, marks string) {
	if s.table.layout == layoutInteger {
		return "id = ?1", "?"
	}
	var terms []string
	for n := range s.table.key {
		terms = append(terms, fmt.Sprintf("k%d = ?%d", n+1, n+1))
	}
	return strings.Join(terms, " AND "), "?" + strings.Repeat(", ?", len(terms)-1)
}

// update returns the statement that sets exactly the given data columns.
func (s *tableStatements) update(columns changeset.ColumnSet) string {
	var buf [16]byte
	key := appendColumns(buf[:0], columns)
	if sql, ok := s.updates[string(key)]; ok {
		return sql
	}
	var set, where []string
	for n, i := range s.table.key {
		where = append(where, fmt.Sprintf("%s = ?%d", quoteIdent(s.table.columns[i].name), n+1))
	}
	for d := range columns.All {
		set = append(set, fmt.Sprintf("%s = ?%d", quoteIdent(s.table.columns[s.table.data[d]].name), len(where)+len(set)+1))
	}
	sql := "UPDATE OR ABORT " + quoteIdent(s.table.name) + " SET " + strings.Join(set, ", ") + " WHERE " + strings.Join(where, " AND ")
	s.updates[string(key)] = sql
	return sql
}

// statements returns the SQL for t, made once per schema.
func (w *writer) statements(t *table) *tableStatements {
	if s := w.tables[t.name]; s != nil {
		return s
	}
	if w.tables == nil {
		w.tables = map[string]*tableStatements{}
	}
	s := newTableStatements(t)
	w.tables[t.name] = s
	return s
}

// readClock reads the clock of a row into k, false if it has none.
func (w *writer) readClock(s *tableStatements, key []sqlite.Value, k *changeset.Clock) (found bool, err error) {
	st, err := w.bound(s.readClock, key, nil)
	if err != nil {
		return false, err
	}
	defer st.Reset()
	if found, err = st.Step(); err != nil || !found {
		return false, err
	}
	return true, w.actors.decodeClock(st.View(0), k)
}

// newClock writes the clock of a row that has none; false, and nothing written,
// if it has one.
func (w *writer) newClock(s *tableStatements, key []sqlite.Value, k *changeset.Clock) (made bool, err error) {
	before := w.conn.TotalChanges()
	if err := w.writeClock(s.newClock, key, k); err != nil {
		return false, err
	}
	return w.conn.TotalChanges() != before, nil
}

func (w *writer) putClock(s *tableStatements, key []sqlite.Value, k *changeset.Clock) error {
	return w.writeClock(s.putClock, key, k)
}

func (w *writer) writeClock(sql string, key []sqlite.Value, k *changeset.Clock) error {
	w.scratch = w.actors.appendClock(w.scratch[:0], k)
	st, err := w.bound(sql, key, nil)
	if err != nil {
		return err
	}
	if err := st.BindBlob(len(key)+1, w.scratch); err != nil {
		return err
	}
	return st.Run()
}

// bound returns a cached statement of the current mode with key and more bound.
func (w *writer) bound(sql string, key, more []sqlite.Value) (*sqlite.Stmt, error) {
	st, err := w.conn.Cached(sql)
	if err != nil {
		return nil, err
	}
	for i, v := range key {
		if err := st.Bind(i+1, v); err != nil {
			return nil, err
		}
	}
	for i, v := range more {
		if err := st.Bind(len(key)+i+1, v); err != nil {
			return nil, err
		}
	}
	return st, nil
}
