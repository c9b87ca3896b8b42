package store

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// Where row clocks are, by the table's layout:
//
//	layoutInteger  __patina_clk_T by the key, which is the rowid: living and dead
//	layoutRowid    __patina_clk_T by the local rowid: the living;
//	               __patina_tomb_T by the key: the dead
//	layoutKey      __patina_clk_T by the key: living and dead
//
// A rowid is a number of this file alone, and VACUUM or a dump may renumber it.
// So a clock by rowid begins with a hash of its row's key, and whenever the
// schema moved without us the clocks are given their rows again (rekey.go).

// clockTable names the table that keeps the clocks of t's rows.
func clockTable(t *table) string { return internalPrefix + "clk_" + t.name }

// tombTable names the table that keeps the clocks of deleted rows of layoutRowid.
func tombTable(t *table) string { return internalPrefix + "tomb_" + t.name }

// clockTableSQL makes the clock table. An integer key is the rowid there too, so
// that the two b-trees run in step.
func clockTableSQL(t *table) string {
	name := quoteIdent(clockTable(t))
	switch t.layout {
	case layoutInteger:
		return "CREATE TABLE " + name + "(id INTEGER PRIMARY KEY, m BLOB NOT NULL)"
	case layoutRowid:
		return "CREATE TABLE " + name + "(rid INTEGER PRIMARY KEY, m BLOB NOT NULL)"
	}
	return keyedTableSQL(t, name)
}

func tombTableSQL(t *table) string { return keyedTableSQL(t, quoteIdent(tombTable(t))) }

func keyedTableSQL(t *table, name string) string {
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

// rowRef names a row: by its key and, where clocks go by rowid, by that.
type rowRef struct {
	key   []sqlite.Value
	hash  changeset.KeyHash
	rowid int64
}

// place says where a clock was found.
type place uint8

const (
	nowhere     place = iota
	amongLiving       // or, but for layoutRowid, in the one table for both
	amongDead
)

// readClock reads the clock of a row into k.
func (w *writer) readClock(s *tableStatements, r *rowRef, k *changeset.Clock) (place, error) {
	st, err := w.use(&s.readClock)
	if err != nil {
		return nowhere, err
	}
	if err := s.bindClock(st, r); err != nil {
		return nowhere, err
	}
	row, err := st.Step()
	if err != nil {
		return nowhere, err
	}
	if row {
		found, err := w.openClock(s, st.View(0), r, k)
		st.Reset()
		if found || err != nil {
			return amongLiving, err
		}
	}
	if s.table.layout != layoutRowid {
		return nowhere, nil
	}
	return w.readTomb(s, r, k)
}

// clockIsOf reports whether a clock by rowid is that of a key.
func clockIsOf(m []byte, key changeset.KeyHash) bool {
	return len(m) >= 8 && binary.BigEndian.Uint64(m) == key.Low
}

// openClock decodes a stored clock, false if it is another row's.
func (w *writer) openClock(s *tableStatements, m []byte, r *rowRef, k *changeset.Clock) (bool, error) {
	if s.table.layout == layoutRowid {
		if len(m) < 8 {
			return false, fmt.Errorf("row clock x'%x': %w", m, errDamaged)
		}
		if binary.BigEndian.Uint64(m) != r.hash.Low {
			return false, nil
		}
		m = m[8:]
	}
	return true, w.actors.decodeClock(m, k)
}

func (w *writer) readTomb(s *tableStatements, r *rowRef, k *changeset.Clock) (place, error) {
	if !s.tombs {
		return nowhere, nil
	}
	st, err := w.use(&s.readTomb)
	if err != nil {
		return nowhere, err
	}
	if err := bindAll(st, 1, r.key); err != nil {
		return nowhere, err
	}
	row, err := st.Step()
	if err != nil || !row {
		return nowhere, err
	}
	defer st.Reset()
	return amongDead, w.actors.decodeClock(st.View(0), k)
}

// newClock writes the clock of a row that has none where it was looked for by
// trying: false, and nothing written, if it has one. Not for layoutRowid.
func (w *writer) newClock(s *tableStatements, r *rowRef, k *changeset.Clock) (made bool, err error) {
	before := w.conn.TotalChanges()
	if err := w.writeClock(s, &s.newClock, r, k); err != nil {
		return false, err
	}
	return w.conn.TotalChanges() != before, nil
}

// putClock writes the clock of a row that was found at a place.
func (w *writer) putClock(s *tableStatements, r *rowRef, k *changeset.Clock, at place) error {
	if s.table.layout != layoutRowid {
		if at == nowhere {
			return w.writeClock(s, &s.newClock, r, k)
		}
		return w.writeClock(s, &s.setClock, r, k)
	}
	if !k.CausalLength.Alive() {
		if at == amongLiving {
			if err := w.dropClock(s, r); err != nil {
				return err
			}
		}
		return w.putTomb(s, r, k)
	}
	switch at {
	case amongLiving:
		return w.writeClock(s, &s.setClock, r, k)
	case amongDead:
		if err := w.dropTomb(s, r); err != nil {
			return err
		}
	}
	return w.writeClock(s, &s.newClock, r, k)
}

// sealClock encodes a clock as it is stored among the living. The bytes are valid
// until the next clock is encoded.
func (w *writer) sealClock(s *tableStatements, r *rowRef, k *changeset.Clock) []byte {
	w.scratch = w.scratch[:0]
	if s.table.layout == layoutRowid {
		w.scratch = binary.BigEndian.AppendUint64(w.scratch, r.hash.Low)
	}
	w.scratch = w.actors.appendClock(w.scratch, k)
	return w.scratch
}

func (w *writer) writeClock(s *tableStatements, p *prepared, r *rowRef, k *changeset.Clock) error {
	m := w.sealClock(s, r, k)
	st, err := w.use(p)
	if err != nil {
		return err
	}
	if err := s.bindClock(st, r); err != nil {
		return err
	}
	if err := st.BindBlob(s.clockKeys+1, m); err != nil {
		return err
	}
	return st.Run()
}

// dropClock removes a clock by rowid.
func (w *writer) dropClock(s *tableStatements, r *rowRef) error {
	st, err := w.use(&s.dropClock)
	if err != nil {
		return err
	}
	if err := st.BindInteger(1, r.rowid); err != nil {
		return err
	}
	return st.Run()
}

func (w *writer) putTomb(s *tableStatements, r *rowRef, k *changeset.Clock) error {
	s.tombs = true
	w.scratch = w.actors.appendClock(w.scratch[:0], k)
	st, err := w.use(&s.putTomb)
	if err != nil {
		return err
	}
	if err := bindAll(st, 1, r.key); err != nil {
		return err
	}
	if err := st.BindBlob(len(r.key)+1, w.scratch); err != nil {
		return err
	}
	return st.Run()
}

func (w *writer) dropTomb(s *tableStatements, r *rowRef) error {
	st, err := w.use(&s.dropTomb)
	if err != nil {
		return err
	}
	if err := bindAll(st, 1, r.key); err != nil {
		return err
	}
	return st.Run()
}

// bindClock binds what the clock table goes by.
func (s *tableStatements) bindClock(st *sqlite.Stmt, r *rowRef) error {
	if s.table.layout == layoutRowid {
		return st.BindInteger(1, r.rowid)
	}
	return bindAll(st, 1, r.key)
}

func bindAll(st *sqlite.Stmt, from int, values []sqlite.Value) error {
	for i := range values {
		if err := st.Bind(from+i, values[i]); err != nil {
			return err
		}
	}
	return nil
}

// eachClock calls f with the key and clock of every row of t that has a clock,
// the dead included; the clock is valid during the call. Clocks by rowid that
// belong to no row are left out.
func eachClock(c *sqlite.Conn, actors *actorTable, t *table, f func(key []sqlite.Value, k *changeset.Clock) error) error {
	var k changeset.Clock
	read := func(sql string, guarded bool) error {
		return c.Each(sql, nil, func(st *sqlite.Stmt) error {
			var key []sqlite.Value
			for i := range t.key {
				key = append(key, st.Column(i))
			}
			m := st.View(len(key))
			if guarded {
				if !clockIsOf(m, hashColumns(st, len(key))) {
					return nil
				}
				m = m[8:]
			}
			if err := actors.decodeClock(m, &k); err != nil {
				return err
			}
			return f(key, &k)
		})
	}
	clock := quoteIdent(clockTable(t))
	if t.layout != layoutRowid {
		return read("SELECT * FROM "+clock, false)
	}
	err := read("SELECT "+strings.Join(keyTerms(t, "t."), ", ")+", c.m FROM "+clock+" c JOIN "+quoteIdent(t.name)+" t ON t."+t.rowid+" = c.rid", true)
	if err != nil {
		return err
	}
	return read("SELECT * FROM "+quoteIdent(tombTable(t)), false)
}

// clockTables returns the SQL of t's tables of clocks by name.
func clockTables(t *table) map[string]string {
	out := map[string]string{clockTable(t): clockTableSQL(t)}
	if t.layout == layoutRowid {
		out[tombTable(t)] = tombTableSQL(t)
	}
	return out
}
