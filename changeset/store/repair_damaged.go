package store

import (
	"context"
	"slices"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// damagedClock is a clock that cannot be read.
type damagedClock struct {
	at     []sqlite.Value // what its table goes by: the rowid, or the key
	row    bool           // its row is there; not asked of clocks by rowid
	byKey  bool           // at is the key
	places string         // the condition on its table
	table  string         // of clocks, quoted
}

// damaged takes away the clocks of t that cannot be read. Of those by key whose row
// is not there, what the log says is written in their place: that they are deleted,
// or living, which makes them deletions of ours next. The rest is missing from then
// on, and so are their rows' clocks. It holds them in memory.
func (r *repair) damaged(t *table) error {
	found, err := r.damagedIn(t, clockTable(t), t.layout != layoutRowid)
	if err == nil && t.layout == layoutRowid {
		var tombs []damagedClock
		tombs, err = r.damagedIn(t, tombTable(t), true)
		found = append(found, tombs...)
	}
	if err != nil || len(found) == 0 {
		return err
	}
	wanted := map[uint64]bool{}
	for i := range found {
		if c := &found[i]; c.byKey && !c.row {
			wanted[hashKey(c.at).Low] = true
		}
	}
	known, err := r.w.searchLog(t, func(hash uint64) bool { return wanted[hash] })
	if err != nil {
		return err
	}
	s, err := r.w.statements(t)
	if err != nil {
		return err
	}
	return r.w.transaction(func() error {
		for i := range found {
			if err := r.replaceDamaged(s, &found[i], known); err != nil {
				return err
			}
		}
		r.done.Damaged += int64(len(found))
		return nil
	})
}

// damagedIn finds the clocks of one table that cannot be read, as Check does.
func (r *repair) damagedIn(t *table, name string, byKey bool) (found []damagedClock, err error) {
	keys, places, join := 1, "rid = ?1", clockJoin(t)
	switch {
	case byKey && t.layout == layoutInteger:
		places = "id = ?1"
	case byKey:
		keys, join = len(t.key), keyJoin(t, "c")
		places, _ = keyedTerms(keys)
	}
	var k changeset.Clock
	sql := "SELECT c.*, EXISTS(SELECT 1 FROM " + quoteIdent(t.name) + " t WHERE " + join + ") FROM " + quoteIdent(name) + " c"
	err = r.w.conn.Each(sql, nil, func(st *sqlite.Stmt) error {
		m := st.View(keys)
		switch {
		case byKey && t.layout == layoutRowid: // tombstones
			if r.w.readStored(t, m, &k) == nil && !k.CausalLength.Alive() {
				return nil
			}
		case byKey:
			if r.w.readStored(t, m, &k) == nil {
				return nil
			}
		case len(m) >= 8 && r.w.readStored(t, m[8:], &k) == nil && k.CausalLength.Alive():
			return nil
		}
		found = append(found, damagedClock{columnValues(st, keys), st.Integer(keys+1) != 0, byKey, places, quoteIdent(name)})
		return nil
	})
	return found, err
}

// replaceDamaged writes what the log knows in the place of a damaged clock.
func (r *repair) replaceDamaged(s *tableStatements, c *damagedClock, known map[uint64]loggedRow) error {
	err := r.w.conn.Each("DELETE FROM "+c.table+" WHERE "+c.places, c.at, nil)
	if err != nil || !c.byKey || c.row {
		return err
	}
	ref := rowRef{key: c.at, hash: hashKey(c.at)}
	row, ok := known[ref.hash.Low]
	if !ok {
		return nil
	}
	clock := deadClock(row.length, row.stamp)
	if row.length.Alive() {
		if s.table.layout == layoutRowid {
			return nil // not what a tombstone says
		}
		clock = changeset.Clock{CausalLength: row.length, Groups: []changeset.Group{{Columns: s.table.all, Stamp: row.stamp}}}
	}
	return r.w.putClock(s, &ref, &clock, nowhere)
}

// forgottenAtOnce is how many keys of the log forgotten holds in memory, about.
const forgottenAtOnce = 1 << 20

// forgotten writes the clocks that are gone without a trace, as the log has them: of
// deleted rows as they were, of others so that the rows become deletions of ours.
func (r *repair) forgotten(ctx context.Context, t *table) error {
	changes := 0
	known, err := r.w.searchLog(t, func(uint64) bool { changes++; return changes <= r.keys })
	if err != nil {
		return err
	}
	parts := uint64(changes/r.keys + 1)
	for part := range parts {
		if parts > 1 { // too many for one pass over the log
			known, err = r.w.searchLog(t, func(hash uint64) bool { return hash%parts == part })
			if err != nil {
				return err
			}
		}
		var gone []rowRef
		err = r.w.transaction(func() (err error) { gone, err = r.remember(t, known); return err })
		if err != nil {
			return err
		}
		for chunk := range slices.Chunk(gone, r.limits.rows) {
			if err := r.remove(ctx, t, chunk); err != nil {
				return err
			}
		}
	}
	return nil
}

// remember writes those clocks that the log knows of rows that have neither a clock nor
// are there, and returns the rows that are still to be deleted.
func (r *repair) remember(t *table, known map[uint64]loggedRow) (gone []rowRef, err error) {
	s, err := r.w.statements(t)
	if err != nil {
		return nil, err
	}
	free := int64(0)
	if t.layout == layoutRowid {
		if free, err = r.w.lowestRowid(t); err != nil {
			return nil, err
		}
	}
	var clock changeset.Clock
	for _, row := range known {
		ref := rowRef{key: row.key, hash: hashKey(row.key)}
		there, err := r.rowIsThere(t, row.key)
		if err != nil || there {
			if err != nil {
				return nil, err
			}
			continue
		}
		at := nowhere
		if t.layout == layoutRowid {
			at, err = r.w.readTomb(s, &ref, &clock)
		} else {
			at, err = r.w.readClock(s, &ref, &clock)
		}
		if err != nil {
			return nil, err
		}
		if at != nowhere {
			continue
		}
		if clock = deadClock(row.length, row.stamp); row.length.Alive() {
			clock = changeset.Clock{CausalLength: row.length, Groups: []changeset.Group{{Columns: t.all, Stamp: row.stamp}}}
			free--
			ref.rowid = free
			gone = append(gone, ref)
		}
		if err := r.w.putClock(s, &ref, &clock, nowhere); err != nil {
			return nil, err
		}
		r.done.Damaged++
	}
	return gone, nil
}
