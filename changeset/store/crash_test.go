package store

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// crashEnv names the database that this process, started by TestKilledWriter,
// writes until it is killed.
const crashEnv = "PATINA_STORE_CRASH"

// crashSchema: a transaction writes one row with each kind of key and changes one
// that all transactions share.
const crashSchema = `CREATE TABLE a(id INTEGER PRIMARY KEY, v TEXT);
CREATE TABLE b(name TEXT NOT NULL PRIMARY KEY, v TEXT);
CREATE TABLE c(x TEXT NOT NULL, y INTEGER NOT NULL, v TEXT, PRIMARY KEY(x, y)) WITHOUT ROWID;
CREATE TABLE total(id INTEGER PRIMARY KEY, n INTEGER NOT NULL DEFAULT 0);`

const crashClients = 8

// crashTransaction is the one with number id: rows of that number in a, b and c,
// and the total counts it.
func crashTransaction(id int) []sqlite.Statement {
	name, filler := fmt.Sprint("n", id), strings.Repeat("x", id%60*97)
	return []sqlite.Statement{
		text("INSERT INTO a VALUES(?, ?)", id, filler),
		text("INSERT INTO b VALUES(?, ?)", name, filler),
		text("INSERT INTO c VALUES(?, ?, ?)", name, id, filler),
		text("INSERT INTO total(id, n) VALUES(1, 1) ON CONFLICT DO UPDATE SET n = n + 1"),
	}
}

// crashWriter is the child: it prints the actor, then a line with the number of
// each transaction that was acknowledged.
func crashWriter(path string) error {
	s, err := Open(context.Background(), Config{Path: path, Schema: schemaOf(crashSchema)})
	if err != nil {
		return err
	}
	fmt.Println("actor", s.Actor())
	var next int
	if err := s.Query(context.Background(), text("SELECT coalesce(max(id), 0) FROM a"), integerSink{&next}); err != nil {
		return err
	}
	var mu sync.Mutex // guards next
	var clients sync.WaitGroup
	for range crashClients {
		clients.Go(func() {
			for {
				mu.Lock()
				next++
				id := next
				mu.Unlock()
				results, v, err := s.Transact(context.Background(), crashTransaction(id))
				if err != nil || results[len(results)-1].Err != nil || v.Version == 0 {
					fmt.Println("failed", id, err, results)
					return
				}
				fmt.Println("done", id) // one write, so that lines never mix
			}
		})
	}
	return s.Run(context.Background())
}

type integerSink struct{ n *int }

func (integerSink) Columns([]string) error { return nil }

func (s integerSink) Row(values []sqlite.Value) error { *s.n = int(values[0].Integer()); return nil }

// startCrashWriter starts a child that runs crashWriter on path, and returns it with
// what it prints.
func startCrashWriter(t *testing.T, path string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), crashEnv+"="+path)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	return child, bufio.NewScanner(out)
}

// crashRun starts a child on path, kills it at a random moment of its writing and
// returns its actor and what it acknowledged.
func crashRun(t *testing.T, path string, r *rand.Rand) (actor string, done []int) {
	t.Helper()
	child, lines := startCrashWriter(t, path)
	defer child.Wait() // it was killed
	defer child.Process.Kill()
	after := 1 + r.IntN(800)
	for lines.Scan() {
		var id int
		switch line := lines.Text(); {
		case strings.HasPrefix(line, "actor "):
			actor = line
		case strings.HasPrefix(line, "done "):
			if _, err := fmt.Sscanf(line, "done %d", &id); err == nil {
				done = append(done, id)
			}
		default:
			t.Error(line)
		}
		if len(done) == after { // the rest of the pipe was acknowledged too
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	return actor, done
}

// TestKilledWriter: kill -9 loses nothing that was acknowledged and leaves
// nothing half done, and the copy goes on as the same actor.
func TestKilledWriter(t *testing.T) {
	kills := 10
	switch {
	case *long:
		kills = 200
	case testing.Short():
		kills = 3
	}
	r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	path, actor, acknowledged := "", "", 0
	for i := range kills {
		if i%10 == 0 { // a new file, since each check reads all that is there
			path, actor = filepath.Join(t.TempDir(), "n.db"), ""
		}
		who, done := crashRun(t, path, r)
		if actor == "" {
			actor = who
		}
		if who != actor || len(done) == 0 {
			t.Fatalf("%s, %d transactions acknowledged, before %s", who, len(done), actor)
		}
		acknowledged += len(done)
		n := start(t, Config{Path: path, Schema: schemaOf(crashSchema)})
		if got := fmt.Sprint("actor ", n.Actor()); got != actor {
			t.Fatalf("%s after %s", got, actor)
		}
		checkCrashed(t, n, done)
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d transactions acknowledged in %d runs", acknowledged, kills)
}

func checkCrashed(t *testing.T, n *node, done []int) {
	t.Helper()
	there := map[string]bool{}
	for _, id := range strings.Fields(n.query("SELECT id FROM a")) {
		there[id] = true
	}
	for _, id := range done {
		if !there[fmt.Sprint(id)] {
			t.Errorf("transaction %d was acknowledged and is gone", id)
		}
	}
	for _, half := range []string{
		"SELECT id FROM a WHERE 'n' || id NOT IN (SELECT name FROM b) OR length(v) <> id % 60 * 97",
		"SELECT name FROM b WHERE substr(name, 2) NOT IN (SELECT y FROM c)",
		"SELECT y FROM c WHERE y NOT IN (SELECT id FROM a)",
		"SELECT n FROM total WHERE n <> (SELECT count(*) FROM a)",
	} {
		if got := n.query(half); got != "" {
			t.Errorf("half done: %s: %s", half, strings.ReplaceAll(got, "\n", " "))
		}
	}
	checkLog(t, n)
	checkClocks(t, n)
	if got := n.query("PRAGMA integrity_check"); got != "'ok'" {
		t.Errorf("integrity: %s", got)
	}
	replica := start(t, Config{Schema: schemaOf(crashSchema)})
	replica.pull(n)
	requireEqual(t, n, replica)
	if err := replica.stop(); err != nil {
		t.Error(err)
	}
}

// checkLog sees that our versions have no holes, that each follows the hash of
// the one before, and that the vector's head is the log's.
func checkLog(t *testing.T, n *node) {
	t.Helper()
	e := n.Vector().Entry(n.Actor())
	if ranges := e.Applied.Ranges(); len(ranges) != 1 || ranges[0].First != 1 {
		t.Fatalf("our versions are %v", ranges)
	}
	if got := n.internal("SELECT count(*) FROM __patina_log"); got != fmt.Sprint(e.Applied.Len()) {
		t.Errorf("%s log entries of %d versions", got, e.Applied.Len())
	}
	var previous changeset.Hash
	for v := changeset.Version(1); v <= e.Applied.Last(); v++ {
		s, err := n.Changeset(t.Context(), changeset.ID{Actor: n.Actor(), Version: v})
		if err != nil {
			t.Fatal(err)
		}
		if s.Previous != previous {
			t.Fatalf("version %d does not follow the one before", v)
		}
		previous = s.Hash
	}
	if previous != e.Head {
		t.Errorf("head %v, in the log %v", e.Head, previous)
	}
}
