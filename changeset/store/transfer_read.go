package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
	"github.com/patinadb/patina/sync/versions"
)

// State transfer, the side that gives (DESIGN section 6): rows and tombstones with
// their clocks, table after table in the order of what their clocks go by, in parts,
// each from a read snapshot of its own, so that none pins the WAL for long.

// StatePart is one part of the state of a database.
type StatePart struct {
	// Block is an encoded changeset.StateBlock; nil if nothing that was looked at is
	// needed.
	Block []byte
	Rows  int
	// Next is where the next part begins; nil after the last. Only the store that
	// gave it reads it.
	Next []byte
	// Vector holds every version that the rows can be of.
	Vector *versions.Vector
}

// partLimits bound one part. The last row may pass the bytes.
type partLimits struct {
	bytes, rows int // encoded; looked at, needed or not
	time        time.Duration
}

// defaultPart takes the receiver as long to merge as some groups of requests.
var defaultPart = partLimits{256 << 10, 50_000, 200 * time.Millisecond}

// ErrFilling: a store that is being filled itself gives no state.
var ErrFilling = errors.New("store: being filled with the state of another node")

// StateTables names the replicated tables and their columns.
func (s *Store) StateTables() (out []changeset.StateBlock) {
	for _, t := range s.schema.Load().sorted() {
		out = append(out, t.stateNames())
	}
	return out
}

func (t *table) stateNames() changeset.StateBlock {
	b := changeset.StateBlock{Name: t.name, Generation: t.generation}
	for _, i := range t.key {
		b.Key = append(b.Key, t.columns[i].name)
	}
	for _, i := range t.data {
		b.Columns = append(b.Columns, t.columns[i].name)
	}
	return b
}

// ReadState returns the part that begins at a cursor, nil for the first: rows whose
// clocks say something of versions that held does not hold. A caller that keeps the
// vector of before the first part, and goes on until Next is nil, has the state of
// that vector, with some of what is in the parts' vectors. It fails with ErrFilling
// while this store is being filled.
func (s *Store) ReadState(ctx context.Context, cursor []byte, held *versions.Vector) (StatePart, error) {
	return s.readState(ctx, cursor, held, defaultPart)
}

func (s *Store) readState(ctx context.Context, cursor []byte, held *versions.Vector, limits partLimits) (p StatePart, err error) {
	if s.Filling() != nil {
		return p, ErrFilling
	}
	r := stateRead{limits: limits, held: held, forked: s.Forked(), sets: map[changeset.ActorID]versions.Set{}, started: time.Now(), part: &p}
	err = s.serving.use(ctx, sqlite.ModeInternal, func(c *sqlite.Conn) error {
		r.conn = c
		if err := c.Exec("BEGIN"); err != nil {
			return err
		}
		return errors.Join(r.read(s.schema.Load(), cursor), c.Exec("COMMIT"))
	})
	if err != nil {
		return p, err
	}
	// What the snapshot showed is published once the writer has taken another turn.
	if err := s.do(ctx, func() {}); err != nil {
		return p, err
	}
	p.Vector = s.Vector().AppliedOnly()
	if s.Filling() != nil { // since: the vector does not say what the snapshot showed
		return StatePart{}, ErrFilling
	}
	return p, nil
}

// stateRead is one ReadState.
type stateRead struct {
	limits  partLimits
	conn    *sqlite.Conn
	actors  *actorTable
	schema  int64 // schema_version
	held    *versions.Vector
	forked  []Fork
	sets    map[changeset.ActorID]versions.Set // of held, as far as asked for; of forked actors nothing
	started time.Time
	looked  int
	part    *StatePart

	table   *table
	encoder *changeset.StateEncoder
	clock   changeset.Clock
}

// stateCursor is where a part begins: in a table, among the living or the dead,
// behind the last row of the part before.
type stateCursor struct {
	table string // folded; "" the first
	dead  bool   // among the tombstones of layoutRowid
	after []sqlite.Value
}

// readActors reads the ordinals as the snapshot has them.
func (r *stateRead) readActors() error {
	r.actors = &actorTable{}
	return r.conn.Each("SELECT id FROM __patina_actor ORDER BY ord", nil, func(st *sqlite.Stmt) error {
		var a changeset.ActorID
		copy(a[:], st.View(0))
		r.actors.ids = append(r.actors.ids, a)
		return nil
	})
}

func (r *stateRead) read(s *schema, cursor []byte) error {
	if err := r.readActors(); err != nil {
		return err
	}
	var err error
	if r.schema, err = r.conn.SchemaVersion(); err != nil {
		return err
	}
	at, err := r.decodeCursor(cursor)
	if err != nil {
		return err
	}
	for _, t := range s.sorted() {
		name := foldName(t.name)
		if name < at.table {
			continue
		}
		if name > at.table {
			at = stateCursor{table: name}
		}
		next, err := r.readTable(t, at)
		if err != nil {
			return fmt.Errorf("state of table %s: %w", t.name, err)
		}
		if next == nil && r.encoder != nil { // a block is of one table
			next = &stateCursor{table: name + "\x00"}
		}
		if next != nil {
			r.part.Next = r.encodeCursor(*next)
			break
		}
	}
	if r.encoder != nil {
		r.part.Block = r.encoder.Bytes()
	}
	return nil
}

// readTable reads on in one table: the living, then the dead where they are apart. It
// returns where the next part begins, nil at the table's end.
func (r *stateRead) readTable(t *table, at stateCursor) (*stateCursor, error) {
	r.table = t
	full, err := r.rows(&at)
	if err == nil && !full && t.layout == layoutRowid && !at.dead {
		at = stateCursor{table: at.table, dead: true}
		full, err = r.rows(&at)
	}
	if err != nil || !full {
		return nil, err
	}
	return &at, nil
}

// rows reads on in one table of clocks. It reports whether the part is full, and
// moves at behind the last row.
func (r *stateRead) rows(at *stateCursor) (full bool, err error) {
	keys := len(r.table.key)
	sql := r.sql(at)
	err = r.conn.Each(sql, at.after, func(st *sqlite.Stmt) error {
		if err := r.row(st, at.dead); err != nil {
			return err
		}
		if r.looked++; r.looked < r.limits.rows && (r.encoder == nil || r.encoder.Size() < r.limits.bytes) && (r.looked%256 != 0 || time.Since(r.started) < r.limits.time) {
			return nil
		}
		if r.table.layout == layoutRowid && !at.dead {
			at.after = []sqlite.Value{changeset.IntegerValue(st.Integer(keys + 2))}
		} else {
			at.after = columnValues(st, keys)
		}
		return errChunkFull
	})
	if errors.Is(err, errChunkFull) {
		return true, nil
	}
	return false, err
}

// sql selects key, clock, whether the row is there, rowid and data, behind at.after.
func (r *stateRead) sql(at *stateCursor) string {
	t := r.table
	data := quotedData(t)
	if at.dead {
		key := make([]string, len(t.key))
		for n := range t.key {
			key[n] = fmt.Sprintf("c.k%d", n+1)
		}
		return "SELECT c.*, 0, 0 FROM " + quoteIdent(tombTable(t)) + " c" + behind(key, at.after)
	}
	join, key, by, rowid := " LEFT JOIN ", []string{"c.id"}, []string{"c.id"}, "0"
	switch t.layout {
	case layoutKey:
		key = nil
		for n := range t.key {
			key = append(key, fmt.Sprintf("c.k%d", n+1))
		}
		by = key
	case layoutRowid:
		join, key, by, rowid = " JOIN ", keyTerms(t, "t."), []string{"c.rid"}, "c.rid"
	}
	there := "t." + quoteIdent(t.columns[t.key[0]].name) + " IS NOT NULL"
	terms := append(append(key[:len(key):len(key)], "c.m", there, rowid), data...)
	return "SELECT " + joinTerms(terms) + " FROM " + quoteIdent(clockTable(t)) + " c" + join + quoteIdent(t.name) + " t ON " + clockJoin(t) + behind(by, at.after)
}

// behind is the condition on what comes after a row, in that order.
func behind(by []string, after []sqlite.Value) string {
	terms := joinTerms(by)
	if after == nil {
		return " ORDER BY " + terms
	}
	return " WHERE (" + terms + ") > (?" + strings.Repeat(", ?", len(by)-1) + ") ORDER BY " + terms
}

// row adds the current row to the part, if it is needed.
func (r *stateRead) row(st *sqlite.Stmt, dead bool) error {
	keys := len(r.table.key)
	m := st.View(keys)
	if r.table.layout == layoutRowid && !dead {
		if !clockIsOf(m, hashColumns(st, keys)) {
			return nil // of a row that another program moved: see Check
		}
		m = m[8:]
	}
	if err := r.actors.decodeClock(m, &r.clock); err != nil {
		return fmt.Errorf("row %s: %w", printKey(columnValues(st, keys)), err)
	}
	if r.covered() || r.clock.CausalLength.Alive() && st.Integer(keys+1) == 0 {
		return nil
	}
	if r.encoder == nil {
		names := r.table.stateNames()
		var err error
		if r.encoder, err = changeset.NewStateEncoder(&names); err != nil {
			return err
		}
	}
	row := changeset.RowState{Key: columnValues(st, keys), Clock: r.clock}
	if r.clock.CausalLength.Alive() {
		for _, g := range r.clock.Groups {
			for d := range g.Columns.All {
				if d >= len(r.table.data) {
					return fmt.Errorf("row %s: its clock names a column that is not there: %w", printKey(row.Key), errDamaged)
				}
				row.Values = append(row.Values, st.Column(keys+3+d))
			}
		}
	}
	r.encoder.Add(&row)
	r.part.Rows++
	return nil
}

// covered reports whether everything that the clock says is of versions that the
// receiver holds.
func (r *stateRead) covered() bool {
	if r.held.Len() == 0 {
		return false
	}
	for i := range r.clock.Groups {
		stamp := &r.clock.Groups[i].Stamp
		set, known := r.sets[stamp.Actor]
		if !known {
			if !slices.ContainsFunc(r.forked, func(f Fork) bool { return f.Actor == stamp.Actor }) {
				set = r.held.Entry(stamp.Actor).Applied
			}
			r.sets[stamp.Actor] = set
		}
		if !set.Contains(stamp.Version) {
			return false
		}
	}
	return true
}

// encodeCursor is decodeCursor's inverse.
func (r *stateRead) encodeCursor(at stateCursor) []byte {
	b := changeset.AppendValue(nil, changeset.IntegerValue(r.schema))
	b = changeset.AppendValue(b, changeset.TextValue(at.table))
	dead := int64(0)
	if at.dead {
		dead = 1
	}
	b = changeset.AppendValue(b, changeset.IntegerValue(dead))
	for _, v := range at.after {
		b = changeset.AppendValue(b, v)
	}
	return b
}

// decodeCursor reads a cursor that came back. If the schema has moved since, rows may
// have been renumbered: the table is read again from its begin.
func (r *stateRead) decodeCursor(b []byte) (at stateCursor, err error) {
	var values []sqlite.Value
	for len(b) > 0 {
		v, rest, err := changeset.DecodeValue(b)
		if err != nil {
			return at, fmt.Errorf("cursor: %w", err)
		}
		values, b = append(values, v), rest
	}
	switch {
	case len(values) == 0:
		return at, nil
	case len(values) < 3 || values[1].Kind() != changeset.Text:
		return at, fmt.Errorf("cursor of %d values: %w", len(values), changeset.ErrCorrupt)
	}
	at.table = values[1].Text()
	if values[0].Integer() == r.schema {
		at.dead = values[2].Integer() != 0
		if len(values) > 3 {
			at.after = values[3:]
		}
	}
	return at, nil
}
