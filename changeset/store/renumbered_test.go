package store

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
)

// renumber makes flag anew in the order of its rowids, as a dump does.
const renumber = "CREATE TABLE x AS SELECT * FROM flag; DELETE FROM flag; INSERT INTO flag SELECT * FROM x ORDER BY rowid; DROP TABLE x"

// TestRepairOfRowsThatCameAgain: a row at another rowid than its clock was renumbered,
// or came again with values that peers have to hear of.
func TestRepairOfRowsThatCameAgain(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		desc, sql       string
		moved, inserted int64
	}{
		{"the last", "DELETE FROM flag WHERE name = 'f19'; INSERT INTO flag VALUES('new', 'row'), ('f19', 'again')", 0, 2},
		{"one between", "DELETE FROM flag WHERE name = 'f7'; INSERT INTO flag VALUES('f7', 'again')", 0, 1},
		{"one between, and all renumbered", "DELETE FROM flag WHERE name = 'f7'; INSERT INTO flag VALUES('f7', 'again'); " + renumber, 12, 1},
		{"the last but one, and all renumbered", "DELETE FROM flag WHERE name = 'f18'; INSERT INTO flag VALUES('f18', 'again'); " + renumber, 0, 2},
		{"two keys exchanged", "UPDATE flag SET name = CASE name WHEN 'f3' THEN 'x' ELSE 'f3' END WHERE name IN ('f3', 'f9'); UPDATE flag SET name = 'f9' WHERE name = 'x'", 0, 2},
		{"two neighbours exchanged, and all renumbered", "UPDATE flag SET name = 'x' WHERE name = 'f3'; UPDATE flag SET name = 'f3' WHERE name = 'f4'; UPDATE flag SET name = 'f4' WHERE name = 'x'; DELETE FROM flag WHERE name = 'f0'; " + renumber, 17, 2},
		{"all moved away", "UPDATE flag SET rowid = rowid + 100, value = 'moved'", 0, 20},
		{"renumbered alone", "DELETE FROM flag WHERE name = 'f0'; " + renumber, 19, 0},
	} {
		t.Run(test.desc, func(t *testing.T) {
			t.Parallel()
			cfg := Config{Path: filepath.Join(t.TempDir(), "n.db"), Schema: schemaOf(itemsSchema)}
			n := start(t, cfg)
			for i := range 20 {
				n.exec(fmt.Sprintf("INSERT INTO flag VALUES('f%d', %d)", i, i))
			}
			peer := start(t, Config{Schema: cfg.Schema})
			peer.pull(n)
			n.stop()
			outside(t, cfg.Path, test.sql)
			done := repaired(t, cfg.Path)
			if done.Moved != test.moved || done.Inserted != test.inserted || done.Dropped != 0 {
				t.Errorf("%+v", done)
			}
			if r := checked(t, cfg.Path); !r.Clean() {
				t.Errorf("after the repair:\n%s", found(r))
			}
			n = start(t, cfg)
			peer.pull(n)
			requireEqual(t, n, peer)
		})
	}
}

// TestInOrder against all subsequences of small permutations.
func TestInOrder(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		rows := r.Perm(r.IntN(9))
		placings := make([]placing, len(rows))
		for i, row := range rows {
			placings[i] = placing{int64(i * 3), int64(row * 5)}
		}
		longest, common := 0, 0 // sets of positions, as bits
		for set := range 1 << len(rows) {
			last, size, ascends := -1, 0, true
			for i, row := range rows {
				if set>>i&1 != 0 {
					ascends = ascends && row > last
					last, size = row, size+1
				}
			}
			switch {
			case !ascends || size < longest:
			case size > longest:
				longest, common = size, set
			default:
				common &= set
			}
		}
		want := []placing{}
		for i := range rows {
			if common>>i&1 != 0 {
				want = append(want, placings[i])
			}
		}
		r.Shuffle(len(placings), func(i, j int) { placings[i], placings[j] = placings[j], placings[i] })
		if got := inOrder(placings); !slices.Equal(got, want) {
			t.Fatalf("%v: sure %v, want %v", rows, got, want)
		}
	}
}
