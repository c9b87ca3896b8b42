package store

import (
	"context"
	"encoding/binary"
	"slices"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// A clock by rowid knows only a hash of its row's key. One that does not stand at its
// row belongs to a row elsewhere, or to one that is gone; then only the log may still
// tell the key.

// strayClock is a clock by rowid that does not stand at its row.
type strayClock struct {
	rowid int64
	m     string
}

// misplaced makes insertions of rows that are elsewhere than their clocks, and deletions
// of clocks whose row is gone. That a row was only renumbered, with its values as they
// were, nothing proves: neither that all moved in their order nor that the schema did.
// It holds the strays in memory.
func (r *repair) misplaced(ctx context.Context, t *table) error {
	strays, err := r.strays(t)
	if err != nil || len(strays) == 0 {
		return err
	}
	again, err := r.elsewhere(t, strays)
	if err != nil {
		return err
	}
	if err := r.replace(t, again); err != nil {
		return err
	}
	lost := map[uint64]bool{}
	for hash := range strays {
		if _, ok := again[hash]; ok {
			delete(strays, hash)
		} else {
			lost[hash] = true
		}
	}
	known, err := r.w.searchLog(t, func(hash uint64) bool { return lost[hash] })
	if err != nil {
		return err
	}
	var gone []rowRef
	var twice []int64
	for hash, row := range known {
		there, err := r.rowIsThere(t, row.key)
		if err != nil {
			return err
		}
		if there { // its row has another clock, which fits
			twice = append(twice, strays[hash].rowid)
			continue
		}
		gone = append(gone, rowRef{key: row.key, rowid: strays[hash].rowid})
	}
	for part := range slices.Chunk(gone, r.limits.rows) {
		if err := r.remove(ctx, t, part); err != nil {
			return err
		}
	}
	return r.w.transaction(func() error { return r.drop(t, strays, twice) })
}

// replace puts tombstones in the place of the clocks of rows that were inserted again:
// the rows count as new from then on.
func (r *repair) replace(t *table, replaced map[uint64]strayClock) error {
	if len(replaced) == 0 {
		return nil
	}
	s, err := r.w.statements(t)
	if err != nil {
		return err
	}
	var rows []rowRef
	keys := len(t.key)
	err = r.w.conn.Each("SELECT "+joinTerms(keyTerms(t, "t."))+" FROM "+quoteIdent(t.name)+" t", nil, func(st *sqlite.Stmt) error {
		hash := hashColumns(st, keys)
		if clock, ok := replaced[hash.Low]; ok {
			rows = append(rows, rowRef{columnValues(st, keys), hash, clock.rowid})
		}
		return nil
	})
	if err != nil {
		return err
	}
	return r.w.transaction(func() error {
		for i := range rows {
			var k changeset.Clock
			if err := r.w.actors.decodeClock([]byte(replaced[rows[i].hash.Low].m[8:]), &k); err != nil {
				return err
			}
			dead := deadClock(k.CausalLength, k.Groups[0].Stamp)
			if err := r.w.putClock(s, &rows[i], &dead, amongLiving); err != nil {
				return err
			}
		}
		return nil
	})
}

// strays finds the clocks that do not stand at their row, by the hash of the key.
// Those too short to have one stay where they are.
func (r *repair) strays(t *table) (map[uint64]strayClock, error) {
	strays := map[uint64]strayClock{}
	sql := "SELECT c.rid, c.m, t." + t.rowid + " IS NOT NULL, " + joinTerms(keyTerms(t, "t.")) + " FROM " + quoteIdent(clockTable(t)) + " c LEFT JOIN " + quoteIdent(t.name) + " t ON " + clockJoin(t)
	err := r.w.conn.Each(sql, nil, func(st *sqlite.Stmt) error {
		m := st.View(1)
		if len(m) < 8 {
			return nil
		}
		hash := binary.BigEndian.Uint64(m)
		if st.Integer(2) != 0 {
			var key []sqlite.Value
			for i := range t.key {
				key = append(key, st.Column(3+i))
			}
			if clockIsOf(m, hashKey(key)) {
				return nil
			}
		}
		strays[hash] = strayClock{st.Integer(0), string(m)}
		return nil
	})
	return strays, err
}

// elsewhere finds those of strays whose row is there, without a clock that fits.
func (r *repair) elsewhere(t *table, strays map[uint64]strayClock) (map[uint64]strayClock, error) {
	again := map[uint64]strayClock{}
	keys := len(t.key)
	var clock changeset.Clock
	err := r.w.conn.Each(rowClockSQL(t, nil, ""), nil, func(st *sqlite.Stmt) error {
		switch r.w.clockOfRow(t, st, &clock) {
		case clockMissing, clockOfOther:
			hash := hashColumns(st, keys).Low
			if stray, ok := strays[hash]; ok {
				again[hash] = stray
			}
		}
		return nil
	})
	return again, err
}

// drop removes clocks that are there twice, and those under another row that belong to
// none that anybody knows.
func (r *repair) drop(t *table, strays map[uint64]strayClock, twice []int64) error {
	before := r.w.conn.TotalChanges()
	clock := quoteIdent(clockTable(t))
	for _, rowid := range twice {
		err := r.w.conn.Each("DELETE FROM "+clock+" WHERE rid = ?", []sqlite.Value{changeset.IntegerValue(rowid)}, nil)
		if err != nil {
			return err
		}
	}
	for _, stray := range strays {
		err := r.w.conn.Each("DELETE FROM "+clock+" WHERE rid = ?1 AND m = ?2 AND EXISTS(SELECT 1 FROM "+quoteIdent(t.name)+" t WHERE t."+t.rowid+" = ?1)",
			[]sqlite.Value{changeset.IntegerValue(stray.rowid), changeset.BlobValue([]byte(stray.m))}, nil)
		if err != nil {
			return err
		}
	}
	r.done.Dropped += r.w.conn.TotalChanges() - before
	return nil
}

// rowIsThere looks for a row by its key.
func (r *repair) rowIsThere(t *table, key []sqlite.Value) (there bool, err error) {
	s, err := r.w.statements(t)
	if err != nil {
		return false, err
	}
	find := &s.selectRow
	if t.layout == layoutRowid {
		find = &s.findRow
	}
	st, err := r.w.use(find)
	if err != nil {
		return false, err
	}
	if err := bindAll(st, 1, key); err != nil {
		return false, err
	}
	defer st.Reset()
	return st.Step()
}
