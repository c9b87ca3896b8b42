package store

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// SQLite gives rows of a table without an INTEGER PRIMARY KEY new rowids when it
// makes the file anew: VACUUM, .dump into a new file, .recover. Each of them moves
// schema_version or leaves a file that is not the one we closed, so whenever
// either shows, the clocks that go by rowid are compared with the rows, and given
// back to them by the hash of the key if they do not fit.

// rekeyAll gives clocks back to rows that were renumbered. It runs in the
// transaction that looks at a schema which moved without us, and returns the
// tables whose clocks moved.
func (w *writer) rekeyAll(s *schema) (rekeyed map[*table]bool, err error) {
	rekeyed = map[*table]bool{}
	for _, t := range s.sorted() {
		if t.layout != layoutRowid {
			continue
		}
		fit, err := w.clocksFit(t)
		if err == nil && !fit {
			err, rekeyed[t] = w.rekey(t), true
		}
		if err != nil {
			return nil, fmt.Errorf("give clocks of %s back to renumbered rows: %w", t.name, err)
		}
	}
	return rekeyed, nil
}

// clocksFit reports whether every clock stands at the rowid of its row. Rows that
// came in without us have none.
func (w *writer) clocksFit(t *table) (bool, error) {
	const all = "SELECT count(*) FROM "
	var clocks, matched int64
	err := w.conn.Each(all+quoteIdent(clockTable(t)), nil, func(st *sqlite.Stmt) error { clocks = st.Integer(0); return nil })
	if err != nil {
		return false, err
	}
	keys := len(t.key)
	sql := "SELECT " + strings.Join(keyTerms(t, "t."), ", ") + ", c.m FROM " + quoteIdent(t.name) + " t JOIN " + quoteIdent(clockTable(t)) + " c ON c.rid = t." + t.rowid
	err = w.conn.Each(sql, nil, func(st *sqlite.Stmt) error {
		if clockIsOf(st.View(keys), hashColumns(st, keys)) {
			matched++
		}
		return nil
	})
	return matched == clocks, err
}

// keyTerms are t's key columns in SQL.
func keyTerms(t *table, prefix string) (terms []string) {
	for _, i := range t.key {
		terms = append(terms, prefix+quoteIdent(t.columns[i].name))
	}
	return terms
}

// hashColumns hashes the key in the first columns of the current row.
func hashColumns(st *sqlite.Stmt, keys int) changeset.KeyHash {
	var buf [64]byte
	encoded := buf[:0]
	for i := range keys {
		encoded = changeset.AppendValue(encoded, st.Column(i).Canonical())
	}
	return changeset.HashKey(encoded)
}

// rekey writes the clocks of t anew, each at the rowid that its row has now. It
// holds all of them in memory meanwhile, about 100 bytes for each. A clock whose row
// somebody else removed, or that cannot be read, goes to a rowid that no row has, so
// that Check and the sums still tell of it.
func (w *writer) rekey(t *table) error {
	clock := quoteIdent(clockTable(t))
	byHash := map[uint64]string{}
	var unread []string
	err := w.conn.Each("SELECT m FROM "+clock, nil, func(st *sqlite.Stmt) error {
		if m := st.View(0); len(m) < 8 {
			unread = append(unread, string(m))
		} else {
			byHash[binary.BigEndian.Uint64(m)] = string(m)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := w.conn.Each("DELETE FROM "+clock, nil, nil); err != nil {
		return err
	}
	put := func(rowid int64, m string) error {
		return w.conn.Each("INSERT INTO "+clock+" VALUES(?, ?)", []sqlite.Value{changeset.IntegerValue(rowid), changeset.BlobValue([]byte(m))}, nil)
	}
	keys := len(t.key)
	sql := "SELECT " + strings.Join(keyTerms(t, ""), ", ") + ", " + t.rowid + " FROM " + quoteIdent(t.name)
	err = w.conn.Each(sql, nil, func(st *sqlite.Stmt) error {
		hash := hashColumns(st, keys).Low
		m, ok := byHash[hash]
		if !ok {
			return nil
		}
		delete(byHash, hash)
		return put(st.Integer(keys), m)
	})
	if err != nil {
		return err
	}
	free, err := w.lowestRowid(t)
	if err != nil {
		return err
	}
	for _, hash := range slices.Sorted(maps.Keys(byHash)) {
		unread = append(unread, byHash[hash])
	}
	for _, m := range unread {
		free--
		if err := put(free, m); err != nil {
			return err
		}
	}
	w.log.Warn("another process renumbered the rows of a table: row clocks moved along", "table", t.name)
	if lost := len(unread); lost > 0 {
		w.log.Error("row clocks belong to no row: another process removed rows, patina check names them", "table", t.name, "versions", lost)
	}
	return nil
}

// lowestRowid returns a number, 0 or less, below which t has neither rows nor clocks by
// rowid.
func (w *writer) lowestRowid(t *table) (lowest int64, err error) {
	for _, sql := range []string{"SELECT min(" + t.rowid + ") FROM " + quoteIdent(t.name), "SELECT min(rid) FROM " + quoteIdent(clockTable(t))} {
		err := w.conn.Each(sql, nil, func(st *sqlite.Stmt) error { lowest = min(lowest, st.Integer(0)); return nil })
		if err != nil {
			return 0, err
		}
	}
	if lowest < math.MinInt64/2 {
		return 0, fmt.Errorf("table %s has the rowid %d: there is no room below it", t.name, lowest)
	}
	return lowest, nil
}
