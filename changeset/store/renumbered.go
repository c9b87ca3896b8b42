package store

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/patinadb/patina/changeset/sqlite"
)

// A row that is not at the rowid of its clock was renumbered, with its values as they
// were, or somebody deleted it and inserted it again, or exchanged keys: then its values
// may be others. A dump, and VACUUM by some versions of SQLite, renumber in the order of
// the rowids, and move schema_version. So if that did not move, nothing was renumbered; if it did, what kept
// its place in the order was.

// placing is where a clock stands, and where its row is now.
type placing struct{ clock, row int64 }

// notRenumbered returns the clocks, by the hash of the key, whose row may have other
// values than they speak of: of those that moves lists and, where rows were renumbered,
// also those that stand at their row by chance. It holds two numbers for each row of
// the table meanwhile.
func (r *repair) notRenumbered(t *table, strays map[uint64]strayClock, moves map[uint64]int64) (map[uint64]strayClock, error) {
	out := map[uint64]strayClock{}
	for hash := range moves {
		out[hash] = strays[hash]
	}
	if !r.schemaMoved {
		return out, nil
	}
	placings := make([]placing, 0, len(moves))
	hashes := map[int64]uint64{} // of moves, by where the clock stands
	for hash, rowid := range moves {
		placings = append(placings, placing{strays[hash].rowid, rowid})
		hashes[strays[hash].rowid] = hash
	}
	err := r.eachFit(t, func(rowid int64, _ []byte) { placings = append(placings, placing{rowid, rowid}) })
	if err != nil {
		return nil, err
	}
	chance := map[int64]bool{}
	sure := inOrder(placings)
	for _, p := range placings { // in the order of sure
		hash, moved := hashes[p.clock]
		switch kept := len(sure) > 0 && sure[0] == p; {
		case kept:
			sure = sure[1:]
			if moved {
				delete(out, hash)
			}
		case !moved:
			chance[p.clock] = true
		}
	}
	err = r.eachFit(t, func(rowid int64, m []byte) {
		if chance[rowid] {
			out[binary.BigEndian.Uint64(m)] = strayClock{rowid, string(m)}
		}
	})
	return out, err
}

// eachFit calls f with each clock that stands at its row, and the rowid.
func (r *repair) eachFit(t *table, f func(rowid int64, m []byte)) error {
	keys := len(t.key)
	sql := "SELECT " + joinTerms(keyTerms(t, "t.")) + ", c.m, c.rid FROM " + quoteIdent(t.name) + " t JOIN " + quoteIdent(clockTable(t)) + " c ON " + clockJoin(t)
	return r.w.conn.Each(sql, nil, func(st *sqlite.Stmt) error {
		if m := st.View(keys); clockIsOf(m, hashColumns(st, keys)) {
			f(st.Integer(keys+1), m)
		}
		return nil
	})
}

// inOrder returns the placings that surely kept their order: those that are in every
// longest subsequence, by clock, along which the rows ascend (Fredman, On computing the
// length of longest increasing subsequences, 1975). Of two neighbours that were
// exchanged neither is sure. It sorts placings by clock.
func inOrder(placings []placing) (sure []placing) {
	slices.SortFunc(placings, func(a, b placing) int { return cmp.Compare(a.clock, b.clock) })
	until := ascending(placings, func(p placing) int64 { return p.row })
	slices.Reverse(placings)
	from := ascending(placings, func(p placing) int64 { return -p.row })
	slices.Reverse(placings)
	slices.Reverse(from)
	longest := 0
	for _, n := range until {
		longest = max(longest, n)
	}
	at := make([]int, longest+1) // how many can be the nth of a longest one
	for i := range placings {
		if until[i]+from[i] == longest+1 {
			at[until[i]]++
		}
	}
	for i := range placings {
		if until[i]+from[i] == longest+1 && at[until[i]] == 1 {
			sure = append(sure, placings[i])
		}
	}
	return sure
}

// ascending returns, for each placing, the length of the longest ascending
// subsequence that ends there.
func ascending(placings []placing, value func(placing) int64) []int {
	lengths := make([]int, len(placings))
	var ends []int64 // the lowest end of those of each length
	for i, p := range placings {
		n, _ := slices.BinarySearch(ends, value(p))
		if n == len(ends) {
			ends = append(ends, 0)
		}
		ends[n], lengths[i] = value(p), n+1
	}
	return lengths
}
