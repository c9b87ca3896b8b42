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

// misplaced gives stray clocks back to rows that were renumbered, makes insertions of
// rows that are elsewhere for another reason, and deletions of what is gone. It holds
// the strays in memory.
func (r *repair) misplaced(ctx context.Context, t *table) error {
	strays, err := r.strays(t)
	if err != nil || len(strays) == 0 {
		return err
	}
	moves, err := r.moves(t, strays)
	if err != nil {
		return err
	}
	replaced, err := r.notRenumbered(t, strays, moves)
	if err != nil {
		return err
	}
	if err := r.replace(t, replaced); err != nil {
		return err
	}
	for hash := range replaced {
		delete(strays, hash)
		delete(moves, hash)
	}
	lost := map[uint64]bool{}
	for hash := range strays {
		if _, moved := moves[hash]; !moved {
			lost[hash] = true
		}
	}
	known, err := r.w.searchLog(t, lost)
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
	return r.w.transaction(func() error { return r.move(t, strays, moves, twice) })
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

// moves finds the rows that strays belong to: the rowid by the hash of the key.
func (r *repair) moves(t *table, strays map[uint64]strayClock) (map[uint64]int64, error) {
	moves := map[uint64]int64{}
	keys := len(t.key)
	var clock changeset.Clock
	err := r.w.conn.Each(rowClockSQL(t, nil, ""), nil, func(st *sqlite.Stmt) error {
		switch r.w.clockOfRow(t, st, &clock) {
		case clockMissing, clockOfOther:
			hash := hashColumns(st, keys).Low
			if _, ok := strays[hash]; ok {
				moves[hash] = st.Integer(keys + 2)
			}
		}
		return nil
	})
	return moves, err
}

// move writes clocks at the rowids of their rows. A clock that was there and belongs
// to no row that anybody knows goes.
func (r *repair) move(t *table, strays map[uint64]strayClock, moves map[uint64]int64, twice []int64) error {
	clock := quoteIdent(clockTable(t))
	drop := func(rowid int64) error {
		return r.w.conn.Each("DELETE FROM "+clock+" WHERE rid = ?", []sqlite.Value{changeset.IntegerValue(rowid)}, nil)
	}
	for _, rowid := range twice {
		if err := drop(rowid); err != nil {
			return err
		}
	}
	for hash := range moves {
		if err := drop(strays[hash].rowid); err != nil {
			return err
		}
	}
	// What still stands at the row of another key, the log did not know.
	before := r.w.conn.TotalChanges()
	for hash, stray := range strays {
		if _, moved := moves[hash]; moved {
			continue
		}
		err := r.w.conn.Each("DELETE FROM "+clock+" WHERE rid = ?1 AND m = ?2 AND EXISTS(SELECT 1 FROM "+quoteIdent(t.name)+" t WHERE t."+t.rowid+" = ?1)",
			[]sqlite.Value{changeset.IntegerValue(stray.rowid), changeset.BlobValue([]byte(stray.m))}, nil)
		if err != nil {
			return err
		}
	}
	r.done.Dropped += int64(len(twice)) + r.w.conn.TotalChanges() - before
	for hash, rowid := range moves {
		err := r.w.conn.Each("INSERT OR REPLACE INTO "+clock+" VALUES(?, ?)", []sqlite.Value{changeset.IntegerValue(rowid), changeset.BlobValue([]byte(strays[hash].m))}, nil)
		if err != nil {
			return err
		}
		r.done.Moved++
	}
	return nil
}

// rowIsThere looks for a row by its key.
func (r *repair) rowIsThere(t *table, key []sqlite.Value) (there bool, err error) {
	s, err := r.w.statements(t)
	if err != nil {
		return false, err
	}
	st, err := r.w.use(&s.findRow)
	if err != nil {
		return false, err
	}
	if err := bindAll(st, 1, key); err != nil {
		return false, err
	}
	defer st.Reset()
	return st.Step()
}
