package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patinadb/patina/api/client"
)

const apiSchema = "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT);"

// post sends a body and returns status and answer.
func (a *agent) post(path, body string) (int, string) {
	a.t.Helper()
	r, err := http.Post("http://"+a.facts["api"]+path, "application/json", strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

var apiRefusals = []struct {
	desc, path, body string
	status           int
	want             []string
}{
	{"not JSON", "/v1/transactions", `[`, 400, nil},
	{"not an array", "/v1/transactions", `{"a": 1}`, 400, nil},
	{"empty array", "/v1/transactions", `[]`, 400, nil},
	{"wrong element", "/v1/transactions", `["SELECT 1", 7]`, 400, []string{"1"}},
	{"too many statements", "/v1/transactions", "[" + strings.Repeat(`"DELETE FROM t",`, 20) + `"DELETE FROM t"]`, 413, []string{"20", "21"}},
	{"body too large", "/v1/transactions", `["DELETE FROM t -- ` + strings.Repeat("x", 70000) + `"]`, 413, []string{"65536", "700"}},
	{"attach", "/v1/transactions", `["INSERT INTO t VALUES(9, 'x')", "ATTACH 'o.db' AS o"]`, 200, []string{"ATTACH"}},
	{"pragma write", "/v1/transactions", `["PRAGMA journal_mode=DELETE"]`, 200, []string{"error"}},
	{"begin", "/v1/transactions", `["BEGIN"]`, 200, []string{"error"}},
	{"commit", "/v1/transactions", `["INSERT INTO t VALUES(9, 'x')", "COMMIT"]`, 200, []string{"error"}},
	{"savepoint", "/v1/transactions", `["SAVEPOINT x"]`, 200, []string{"error"}},
	{"release of ours", "/v1/transactions", `["RELEASE request"]`, 200, []string{"error"}},
	{"vacuum", "/v1/transactions", `["VACUUM"]`, 200, []string{"error"}},
	{"vacuum into", "/v1/transactions", `["VACUUM INTO 'x.db'"]`, 200, []string{"error"}},
	{"internal table read", "/v1/transactions", `["INSERT INTO t SELECT 9, hex(data) FROM __patina_log"]`, 200, []string{"error"}},
	{"internal table write", "/v1/transactions", `["DELETE FROM __patina_log"]`, 200, []string{"error"}},
	{"writable schema", "/v1/transactions", `["PRAGMA writable_schema=1"]`, 200, []string{"error"}},
	{"schema table", "/v1/transactions", `["UPDATE sqlite_schema SET sql = ''"]`, 200, []string{"error"}},
	{"file function", "/v1/transactions", `["INSERT INTO t VALUES(9, load_extension('x'))"]`, 200, []string{"error"}},
	{"create table", "/v1/transactions", `["CREATE TABLE u(id INTEGER PRIMARY KEY)"]`, 200, []string{"/v1/migrations"}},
	{"drop table", "/v1/transactions", `["DROP TABLE t"]`, 200, []string{"/v1/migrations"}},
	{"temp table", "/v1/transactions", `["CREATE TEMP TABLE u(id)"]`, 200, []string{"error"}},
	{"insert or rollback", "/v1/transactions", `["INSERT INTO t VALUES(9, 'x')", "INSERT OR ROLLBACK INTO t VALUES(1, 'x')"]`, 200, []string{"UNIQUE constraint failed: t.id"}},
	{"changes over the largest changeset", "/v1/transactions",
		`["INSERT INTO t SELECT 100 + value, hex(zeroblob(9000000)) FROM json_each('[1,2]')"]`, 200, []string{"33554432"}},
	{"query that writes", "/v1/queries", `"DELETE FROM t"`, 400, []string{"error"}},
	{"query of an internal table", "/v1/queries", `"SELECT * FROM __patina_actor"`, 400, []string{"error"}},
	{"query that does not compile", "/v1/queries", `"SELEC 1"`, 400, []string{"syntax error"}},
	{"migration: drop", "/v1/migrations", `["CREATE TABLE fine(id INTEGER PRIMARY KEY)", "DROP TABLE t"]`, 400, []string{"t"}},
	{"migration: alter", "/v1/migrations", `["ALTER TABLE t ADD COLUMN z"]`, 400, []string{"t"}},
	{"migration: changed type", "/v1/migrations", `["CREATE TABLE fine(id INTEGER PRIMARY KEY)", "CREATE TABLE t(id INTEGER PRIMARY KEY, a BLOB)"]`, 400, []string{"table t", "column a"}},
	{"migration: no primary key", "/v1/migrations", `["CREATE TABLE u(a TEXT)"]`, 400, []string{"table u", "primary key"}},
	{"migration: unique", "/v1/migrations", `["CREATE TABLE u(id INTEGER PRIMARY KEY, a TEXT UNIQUE)"]`, 400, []string{"table u", "column a", "plain index"}},
	{"migration: key collation", "/v1/migrations", `["CREATE TABLE u(id TEXT COLLATE NOCASE NOT NULL PRIMARY KEY)"]`, 400, []string{"table u", "column id"}},
	{"migration: untyped key", "/v1/migrations", `["CREATE TABLE u(id NOT NULL PRIMARY KEY)"]`, 400, []string{"table u", "column id"}},
}

// TestBadRequestsChangeNothing sends each bad request to a live node.
func TestBadRequestsChangeNothing(t *testing.T) {
	program(t)
	a := newAgent(t)
	a.configure("api: {addr: 127.0.0.1:0, max_statements: 20, max_body_bytes: 65536}")
	a.write("schema/s.sql", apiSchema)
	a.start()
	a.exec("INSERT INTO t VALUES(1, 'first')")
	before, schema := a.status(), a.query("SELECT name FROM sqlite_schema WHERE name IN ('fine', 'u', 't')")
	for _, test := range apiRefusals {
		t.Run(test.desc, func(t *testing.T) {
			status, answer := a.post(test.path, test.body)
			if status != test.status || !strings.Contains(answer, `"error"`) {
				t.Errorf("%d %s, want %d and an error", status, answer, test.status)
			}
			for _, want := range test.want {
				if !strings.Contains(answer, want) {
					t.Errorf("the answer does not say %q: %s", want, answer)
				}
			}
			if got := a.query("SELECT * FROM t"); got != "1|'first'" {
				t.Errorf("rows %s", got)
			}
			if s := a.status(); s.VectorDigest != before.VectorDigest || s.SchemaDigest != before.SchemaDigest {
				t.Error("vector or schema changed")
			}
			if got := a.query("SELECT name FROM sqlite_schema WHERE name IN ('fine', 'u', 't')"); got != schema {
				t.Errorf("tables %s", got)
			}
		})
	}
}

// TestOneBadClientAmongFifty: only the client that sent it gets the error; all
// others are acknowledged and replicated.
func TestOneBadClientAmongFifty(t *testing.T) {
	program(t)
	agents := cluster(t, 2, apiSchema)
	a := agents[0]
	a.exec("INSERT INTO t VALUES(0, 'first')")
	var clients sync.WaitGroup
	failures := make([]error, 50)
	for i := range failures {
		sql := fmt.Sprintf("INSERT INTO t VALUES(%d, 'x')", i+1)
		if i == 25 {
			sql = "INSERT OR ROLLBACK INTO t VALUES(1000, 'x'), (0, 'x')"
		}
		clients.Go(func() {
			answer, err := a.api.Transact(t.Context(), []client.Statement{{SQL: sql}})
			if err == nil {
				err = answer.Err()
			}
			failures[i] = err
		})
	}
	clients.Wait()
	for i, err := range failures {
		if (err != nil) != (i == 25) {
			t.Errorf("client %d: %v", i, err)
		}
	}
	waitEqual(t, 10*time.Second, agents...)
	if got := agents[1].query("SELECT count(*), max(id) FROM t"); got != "50|50" {
		t.Errorf("the other node has %s", got)
	}
}

// TestChangesetForAnUnknownTableParks until the schema arrives.
func TestChangesetForAnUnknownTableParks(t *testing.T) {
	program(t)
	agents := cluster(t, 2, apiSchema)
	a, b := agents[0], agents[1]
	const table = "CREATE TABLE late(id INTEGER PRIMARY KEY, v TEXT)"
	if answer, err := a.api.Migrate(t.Context(), []client.Statement{{SQL: table}}); err != nil || answer.Err() != nil {
		t.Fatal(err, answer.Err())
	}
	a.exec("INSERT INTO late VALUES(1, 'x')")
	wait(t, 10*time.Second, "parked", func() error {
		if p := b.status().Parked; len(p) != 1 || !strings.Contains(p[0].Reason, "late") {
			return fmt.Errorf("parked %v", p)
		}
		return nil
	})
	if answer, err := b.api.Migrate(t.Context(), []client.Statement{{SQL: table}}); err != nil || answer.Err() != nil {
		t.Fatal(err, answer.Err())
	}
	waitEqual(t, 10*time.Second, agents...)
	if got := b.query("SELECT * FROM late"); got != "1|'x'" || len(b.status().Parked) != 0 {
		t.Errorf("rows %s, parked %v", got, b.status().Parked)
	}
}

// TestDiskFull gives the node a small file system of its own and fills it.
func TestDiskFull(t *testing.T) {
	program(t)
	if os.Getuid() != 0 {
		t.Skip("needs root to mount a small file system")
	}
	a := newAgent(t)
	disk := filepath.Join(a.dir, "disk")
	if err := os.Mkdir(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", disk).CombinedOutput(); err != nil {
		t.Skipf("no file system can be mounted here: %s", out)
	}
	t.Cleanup(func() { exec.Command("umount", "-l", disk).Run() })
	a.configure("db: {path: " + filepath.Join(disk, "patina.db") + ", schema_paths: [" + filepath.Join(a.dir, "schema") + "]}")
	a.write("schema/s.sql", apiSchema)
	a.start()
	a.exec("INSERT INTO t VALUES(0, 'first')")
	filler := filepath.Join(disk, "filler")
	if err := os.WriteFile(filler, make([]byte, 9<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	full, rows := 0, 1
	for i := 1; i < 200 && full < 3; i++ {
		status, answer := a.post("/v1/transactions", fmt.Sprintf(`["INSERT INTO t VALUES(%d, hex(randomblob(50000)))"]`, i))
		switch {
		case status == 507 && strings.Contains(answer, "full"):
			full++
		case status == 200 && strings.Contains(answer, `"rows_affected":1`):
			rows++
		default:
			t.Fatalf("%d %.300s", status, answer)
		}
	}
	if got := a.query("SELECT count(*) FROM t"); got != fmt.Sprint(rows) || full < 3 {
		t.Errorf("%s rows, %d acknowledged, %d refusals", got, rows, full)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	a.exec("INSERT INTO t VALUES(1000, 'room again')")
	a.stop()
	a.start()
	if got := a.query("SELECT count(*) FROM t"); got != fmt.Sprint(rows+1) {
		t.Errorf("%s rows after a restart, want %d", got, rows+1)
	}
}

// TestOutsideReadersWhileSaturated: writing at full speed through HTTP while
// stock sqlite3 processes open, read and close the file all the time.
func TestOutsideReadersWhileSaturated(t *testing.T) {
	program(t)
	sqlite3, err := exec.LookPath("sqlite3")
	if err != nil {
		t.Skip("the stock sqlite3 program is not installed")
	}
	length := 3 * time.Second
	if *long {
		length = 10 * time.Second
	}
	a := newAgent(t)
	a.write("schema/s.sql", apiSchema)
	a.start()
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	var group sync.WaitGroup
	var mu sync.Mutex // guards rows
	rows := 0
	for w := range 4 {
		group.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				sql := fmt.Sprintf("WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 99) INSERT INTO t SELECT %d + i, hex(randomblob(100)) FROM n", w*100_000_000+i*100)
				answer, err := a.api.Transact(t.Context(), []client.Statement{{SQL: sql}})
				if err == nil {
					err = answer.Err()
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				rows += 100
				mu.Unlock()
			}
		})
	}
	for range 2 {
		group.Go(func() {
			for ctx.Err() == nil {
				if out, err := exec.Command(sqlite3, "-cmd", ".timeout 2000", a.file(), "SELECT count(*), max(a) FROM t").CombinedOutput(); err != nil {
					t.Errorf("sqlite3: %s", out)
					return
				}
			}
		})
	}
	var largest int64
	ticks := time.NewTicker(5 * time.Millisecond)
	defer ticks.Stop()
	for ctx.Err() == nil {
		if info, err := os.Stat(a.file() + "-wal"); err == nil {
			largest = max(largest, info.Size())
		}
		<-ticks.C
	}
	group.Wait()
	if got := a.fileRows("SELECT count(*) FROM t"); got != fmt.Sprint(rows) {
		t.Errorf("%s rows in the file, %d acknowledged", got, rows)
	}
	if largest > 32<<20 {
		t.Errorf("-wal grew to %d MiB, bound 32", largest>>20)
	}
	t.Logf("%d rows, largest -wal %d KiB", rows, largest>>10)
}
