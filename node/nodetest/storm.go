package nodetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/patinadb/patina/changeset/sqlite"
	"github.com/patinadb/patina/changeset/store"
)

// Schema is what Storm writes to: a table for each kind of key, and a journal of
// rows that are never written twice.
const Schema = `
CREATE TABLE item(id INTEGER PRIMARY KEY, a TEXT, b INTEGER NOT NULL DEFAULT 7, c REAL);
CREATE TABLE service(region TEXT NOT NULL, name TEXT NOT NULL, port INTEGER, note TEXT, PRIMARY KEY(region, name)) WITHOUT ROWID;
CREATE TABLE flag(name TEXT NOT NULL PRIMARY KEY, value TEXT);
CREATE TABLE journal(id TEXT NOT NULL PRIMARY KEY, n INTEGER);`

// Storm is writers that contend for a handful of keys.
type Storm struct {
	Seed   uint64
	Keys   int           // rows that everybody writes, per table
	Writes int           // transactions of each member
	Pause  time.Duration // between two of them: at random, up to twice this
}

// Writers are the running writers of a Storm.
type Writers struct {
	cluster *Cluster
	group   sync.WaitGroup

	mu    sync.Mutex
	acked map[string]bool // ids of acknowledged rows of the journal
}

// Begin starts a writer for each member, running or not: one that does not run
// writes nothing meanwhile.
func (c *Cluster) Begin(s Storm) *Writers {
	w := &Writers{cluster: c, acked: map[string]bool{}}
	for i, m := range c.members {
		rng := rand.New(rand.NewPCG(s.Seed, uint64(i)+1))
		w.group.Go(func() { w.write(s, m, rng) })
	}
	return w
}

// Wait returns when all have written.
func (w *Writers) Wait() { w.group.Wait() }

// CheckJournal fails the test unless every running member holds every
// acknowledged row of the journal.
func (w *Writers) CheckJournal() {
	t := w.cluster.t
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.cluster.Running() {
		held := map[string]bool{}
		for _, line := range m.Content().Rows["journal"][1:] {
			held[line[:len(line)-len("|0")]] = true
		}
		for id := range w.acked {
			if !held["'"+id+"'"] {
				t.Errorf("%s lost the acknowledged row %s", m.Name, id)
			}
		}
	}
}

// Acknowledged returns how many rows of the journal were.
func (w *Writers) Acknowledged() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acked)
}

func (w *Writers) write(s Storm, m *Member, rng *rand.Rand) {
	for i := range s.Writes {
		time.Sleep(time.Duration(rng.Int64N(int64(2*s.Pause) + 1)))
		id := fmt.Sprintf("%s-%d", m.Name, i)
		statements := make([]sqlite.Statement, 0, 4)
		for range 1 + rng.IntN(3) {
			statements = append(statements, sqlite.Statement{SQL: conflict(rng, s.Keys, id)})
		}
		statements = append(statements, sqlite.Statement{SQL: fmt.Sprintf("INSERT INTO journal VALUES('%s', 0)", id)})
		_, err := m.Transact(context.Background(), statements...)
		switch {
		case err == nil:
			w.mu.Lock()
			w.acked[id] = true
			w.mu.Unlock()
		case !errors.Is(err, ErrNotRunning) && !errors.Is(err, store.ErrStopped):
			w.cluster.t.Errorf("%s: %v: %v", m.Name, statements, err)
		}
	}
}

// conflict returns a statement on a row that others write too. text marks who
// wrote.
func conflict(rng *rand.Rand, keys int, text string) string {
	k, n := rng.IntN(keys)+1, rng.IntN(1000)
	forms := []string{
		// item: integer key
		fmt.Sprintf("INSERT INTO item(id, a, c) VALUES(%d, '%s', %d.5) ON CONFLICT DO UPDATE SET a = excluded.a", k, text, n),
		fmt.Sprintf("INSERT OR REPLACE INTO item(id, b) VALUES(%d, %d)", k, n),
		fmt.Sprintf("UPDATE item SET a = '%s' WHERE id = %d", text, k),
		fmt.Sprintf("UPDATE item SET b = %d, c = NULL WHERE id = %d", n, k),
		fmt.Sprintf("UPDATE item SET c = %d.25 WHERE id <> %d", n, k),
		fmt.Sprintf("DELETE FROM item WHERE id = %d", k),
		// service: two parts, no rowid
		fmt.Sprintf("INSERT OR IGNORE INTO service VALUES('r%d', 'web', %d, '%s')", k%2, n, text),
		fmt.Sprintf("UPDATE service SET note = '%s' WHERE region = 'r%d'", text, k%2),
		fmt.Sprintf("UPDATE service SET port = %d WHERE region = 'r%d' AND name = 'web'", n, k%2),
		fmt.Sprintf("DELETE FROM service WHERE region = 'r%d'", k%2),
		// flag: text key with a rowid
		fmt.Sprintf("INSERT OR REPLACE INTO flag VALUES('f%d', '%s')", k, text),
		fmt.Sprintf("UPDATE flag SET name = 'f%d' WHERE name = 'f%d' AND NOT EXISTS (SELECT 1 FROM flag WHERE name = 'f%[1]d')", n%keys+1, k),
		fmt.Sprintf("DELETE FROM flag WHERE name = 'f%d'", k),
	}
	return forms[rng.IntN(len(forms))]
}
