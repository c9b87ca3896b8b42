package store

import (
	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// loggedRow is what the log says of a row: its key, the longest life, and the highest
// stamp of that.
type loggedRow struct {
	key    []sqlite.Value
	length changeset.CausalLength
	stamp  changeset.Stamp
}

// searchLog looks through the log for rows of t by the low halves of their keys'
// hashes. Entries that cannot be read are passed over.
func (w *writer) searchLog(t *table, wanted func(hash uint64) bool) (map[uint64]loggedRow, error) {
	found := map[uint64]loggedRow{}
	err := w.conn.Each("SELECT k, data FROM __patina_log", nil, func(st *sqlite.Stmt) error {
		s, err := w.openStored(st)
		if err != nil {
			return nil
		}
		c, err := s.Decode()
		if err != nil {
			return nil
		}
		for i := range c.Tables {
			if tc := &c.Tables[i]; sameName(tc.Name, t.name) && tc.Generation == t.generation && sameNames(tc.Key, t) {
				noteRows(found, wanted, tc, c.Stamp())
			}
		}
		return nil
	})
	return found, err
}

func noteRows(found map[uint64]loggedRow, wanted func(uint64) bool, tc *changeset.TableChanges, stamp changeset.Stamp) {
	for i := range tc.Changes {
		ch := &tc.Changes[i]
		hash := hashKey(ch.Key).Low
		if !wanted(hash) {
			continue
		}
		row := found[hash]
		if ch.CausalLength > row.length || ch.CausalLength == row.length && changeset.Wins(stamp, row.stamp) {
			found[hash] = loggedRow{ch.Key, ch.CausalLength, stamp}
		}
	}
}

// deadClock is a clock of a row that is no more after a life of that length, so that
// what follows begins the next.
func deadClock(length changeset.CausalLength, stamp changeset.Stamp) changeset.Clock {
	return changeset.Clock{CausalLength: (length + 1) &^ 1, Groups: []changeset.Group{{Stamp: stamp}}}
}
