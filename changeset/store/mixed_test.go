package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/hlc"
	"github.com/patinadb/patina/changeset/sqlite"
)

const mixedSchema = itemsSchema + "CREATE TABLE counter(id INTEGER PRIMARY KEY, n INTEGER NOT NULL); CREATE TABLE raiser(id INTEGER PRIMARY KEY);"

// mixedStatement makes a statement on rows that all clients share. Some depend on
// those for whether they fail, and how.
func mixedStatement(r *rand.Rand) string {
	list := []string{
		"INSERT OR IGNORE INTO item(id, a) VALUES(%[1]d, 'a%[2]d')",
		"INSERT INTO item(a) VALUES('next') RETURNING id",
		"UPDATE item SET b = b + %[2]d WHERE id >= %[1]d RETURNING id, b",
		"DELETE FROM item WHERE id = %[1]d OR id > 40",
		"INSERT INTO service(region, name, port) VALUES('r', 'n%[1]d', %[2]d) ON CONFLICT DO UPDATE SET port = excluded.port + port RETURNING port",
		"UPDATE OR IGNORE service SET name = 'n%[2]d' WHERE name = 'n%[1]d'",
		"REPLACE INTO flag VALUES('f%[1]d', (SELECT count(*) FROM item))",
		"UPDATE flag SET value = value || 'x' WHERE name = 'ahead'", // a version of its own
		"INSERT INTO item(id, c) VALUES(%[1]d, zeroblob(30000))",
		"DELETE FROM edge WHERE a = 'e%[1]d' RETURNING b",
		"INSERT OR FAIL INTO edge VALUES('e%[1]d', 'x'), ('e%[2]d', 'x')",
		"INSERT OR ROLLBACK INTO edge VALUES('e%[1]d', 'y')",
		"INSERT INTO raiser SELECT count(*) FROM edge WHERE a = 'e%[1]d' HAVING count(*) > 1", // see the trigger
	}
	return fmt.Sprintf(list[r.IntN(len(list))], r.IntN(12), r.IntN(12))
}

// mixedAlways fail whatever the rows are.
var mixedAlways = []string{
	"DELETE FROM nowhere", "COMMIT", "INSERT INTO item(id) VALUES(900), (901), (900)",
	"INSERT INTO flag VALUES(hex(zeroblob(40000)), 1)", "UPDATE flag SET value = 1 WHERE name = 'last'",
	"INSERT OR ROLLBACK INTO item(id) VALUES(900), (900)",
}

// mixedAnswer is a request that succeeded, with the place in the order of all that
// its first statement was told.
type mixedAnswer struct {
	place      int64
	version    changeset.Version
	statements []sqlite.Statement
	results    []sqlite.Result
}

// mixedRun is 64 clients at one store, whose disk is full now and then.
type mixedRun struct {
	t                *testing.T
	n                *node
	mu               sync.Mutex // guards answers
	answers          []mixedAnswer
	full, failed, at atomic.Int64 // answers of each kind
}

func (m *mixedRun) client(id, requests int) {
	r := rand.New(rand.NewPCG(uint64(id), 11))
	for range requests {
		sts := []sqlite.Statement{text("UPDATE counter SET n = n + 1 WHERE id = 1 RETURNING n")}
		for range 1 + r.IntN(4) {
			sts = append(sts, text(mixedStatement(r)))
		}
		bad := r.IntN(6) == 0
		switch {
		case bad && r.IntN(20) == 0:
			sts = append(sts, text(endless))
		case bad:
			sts = slices.Insert(sts, 1+r.IntN(len(sts)), text(mixedAlways[r.IntN(len(mixedAlways))]))
		}
		results, version, err := m.n.Transact(context.Background(), sts)
		m.at.Add(1)
		switch f := (outcome{results, version, err}).failure(); {
		case errors.Is(err, sqlite.ErrFull):
			m.full.Add(1)
		case err != nil:
			m.t.Errorf("%v: %v", sts, err)
		case f != "":
			m.failed.Add(1)
			if version.Version != 0 || errors.Is(results[len(results)-1].Err, sqlite.ErrFull) {
				m.t.Errorf("%v: %q in a slot, version %d", sts, f, version.Version)
			}
		case bad:
			m.t.Errorf("%v did not fail", sts)
		default:
			m.mu.Lock()
			m.answers = append(m.answers, mixedAnswer{results[0].Rows[0][0].Integer(), version.Version, sts, results})
			m.mu.Unlock()
		}
	}
}

// fillDisk makes the disk full and gives it room again, until ctx ends.
func (m *mixedRun) fillDisk(ctx context.Context) {
	for ctx.Err() == nil {
		for _, phase := range []struct{ pages, requests int64 }{{1, 20}, {1000000, 60}} { // 1: the present size
			m.n.onWriter(func(w *writer) {
				w.conn.SetMode(sqlite.ModeInternal)
				if err := w.conn.Exec(fmt.Sprintf("PRAGMA max_page_count = %d", phase.pages)); err != nil {
					m.t.Error(err)
				}
			})
			from, tick := m.at.Load(), time.NewTicker(time.Millisecond)
			for ctx.Err() == nil && m.at.Load() < from+phase.requests {
				<-tick.C
			}
			tick.Stop()
		}
	}
}

// replay runs the requests that succeeded one by one, in their order, on another
// store, and compares the answers.
func (m *mixedRun) replay(alone *node) {
	m.t.Helper()
	slices.SortFunc(m.answers, func(a, b mixedAnswer) int { return int(a.place - b.place) })
	for i, a := range m.answers {
		if a.place != int64(i+1) || i > 0 && a.version < m.answers[i-1].version {
			m.t.Fatalf("answer %d is number %d of version %d", i+1, a.place, a.version)
		}
		results, _, err := alone.Transact(m.t.Context(), a.statements)
		if err != nil {
			m.t.Fatal(err)
		}
		if got, want := printResults(a.results), printResults(results); got != want {
			m.t.Fatalf("number %d, %v: answered\n%s\nalone it is\n%s", a.place, a.statements, got, want)
		}
	}
}

func printResults(results []sqlite.Result) string {
	var b strings.Builder
	for _, r := range results {
		fmt.Fprintln(&b, r.LastInsertID, r.RowsAffected, r.Columns, r.Rows, r.Err)
	}
	return b.String()
}

// TestMixedRequestsAreAnsweredAsIfAlone: 64 clients send what succeeds, what fails
// by itself or for the rows that others left, what takes the whole transaction
// down, what runs for too long, is too large, or needs a stamp ahead of the clock,
// while the disk fills up now and then. Those that succeeded, run alone in the
// order of commit, give the same answers and the same rows, and no row is there
// without its clock and log.
func TestMixedRequestsAreAnsweredAsIfAlone(t *testing.T) {
	requests := 40
	switch {
	case *long:
		requests = 200
	case testing.Short():
		requests = 6
	}
	cfg := Config{Schema: schemaOf(mixedSchema), StatementTimeout: 100 * time.Millisecond}
	begin := func() *node {
		n := start(t, cfg)
		outside(t, n.cfg.Path, "CREATE TRIGGER boom BEFORE INSERT ON raiser BEGIN SELECT RAISE(ROLLBACK, 'no way'); END")
		n.exec("INSERT INTO counter VALUES(1, 0)")
		for name, at := range map[string]hlc.Timestamp{"last": hlc.Max, "ahead": hlc.At(time.Now().Add(time.Hour), 0)} {
			c := row("flag", 1, name, "value", "x")
			c[0].Key = []string{"name"}
			apply(t, n, sealAll(t, changeset.NewActorID(), at, c)...)
		}
		return n
	}
	m := &mixedRun{t: t, n: begin()}
	ctx, cancel := context.WithCancel(t.Context())
	var clients, disk sync.WaitGroup
	disk.Go(func() { m.fillDisk(ctx) })
	for i := range 64 {
		clients.Go(func() { m.client(i, requests) })
	}
	clients.Wait()
	cancel()
	disk.Wait()
	t.Logf("%d succeeded, %d failed, %d met a full disk, %d ran again", len(m.answers), m.failed.Load(), m.full.Load(), m.n.Reruns())
	if len(m.answers) < 64 || m.failed.Load() < 64 || m.full.Load() == 0 || m.n.Reruns() == 0 {
		t.Error("the mix has lost a part")
	}
	alone := begin()
	m.replay(alone)
	if got, want := m.n.content(), alone.content(); got != want {
		t.Errorf("content is\n%s\nalone it is\n%s", got, want)
	}
	checkClocks(t, m.n)
	if r := m.n.Vector().Entry(m.n.Actor()).Applied.Ranges(); len(r) != 1 || r[0].First != 1 {
		t.Errorf("versions %v", r)
	}
	replica := start(t, Config{Schema: schemaOf(mixedSchema)})
	replica.pull(m.n)
	requireEqual(t, m.n, replica)
}
