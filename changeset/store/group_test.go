package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// holdWriter keeps the writer busy until release is called, so that requests
// queue up and share a group.
func (n *node) holdWriter() (release func()) {
	n.t.Helper()
	held, let := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- n.do(context.Background(), func() { close(held); <-let })
	}()
	<-held
	return func() {
		close(let)
		if err := <-done; err != nil {
			n.t.Fatal(err)
		}
	}
}

type outcome struct {
	results []sqlite.Result
	id      changeset.ID
	err     error
}

// together sends all requests while the writer is held and returns their
// outcomes once it is let go.
func (n *node) together(requests ...[]sqlite.Statement) []outcome {
	n.t.Helper()
	release := n.holdWriter()
	out := make([]outcome, len(requests))
	var wg sync.WaitGroup
	for i, r := range requests {
		wg.Go(func() { out[i].results, out[i].id, out[i].err = n.Transact(context.Background(), r) })
		eventually(n.t, "the request is queued", func() bool { return len(n.queues.requests) > i })
	}
	release()
	wg.Wait()
	return out
}

func (o outcome) failure() string {
	switch {
	case o.err != nil:
		return o.err.Error()
	case len(o.results) > 0 && o.results[len(o.results)-1].Err != nil:
		return o.results[len(o.results)-1].Err.Error()
	}
	return ""
}

func TestGroupSharesOneVersion(t *testing.T) {
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	n.onWriter(func(w *writer) { w.groupTime = time.Minute })
	var requests [][]sqlite.Statement
	for i := range 20 {
		requests = append(requests, []sqlite.Statement{text("INSERT INTO item(id, a) VALUES(?, ?)", i, "x")})
	}
	for i, o := range n.together(requests...) {
		if o.failure() != "" || o.id.Version != 1 {
			t.Errorf("request %d: version %d, error %q, want version 1", i, o.id.Version, o.failure())
		}
		if o.results[0].RowsAffected != 1 || o.results[0].LastInsertID != int64(i) {
			t.Errorf("request %d: %+v", i, o.results[0])
		}
	}
	if got := n.internal("SELECT count(*) FROM __patina_log"); got != "1" {
		t.Errorf("%s log entries, want 1", got)
	}
}

// TestCulpritCostsOthersNothing: whatever rolls the whole SQLite transaction
// back by itself fails for the one client that sent it, also among 50.
func TestCulpritCostsOthersNothing(t *testing.T) {
	spin := "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) INSERT INTO item(id) SELECT i FROM n WHERE i < 0"
	for _, test := range []struct{ desc, sql, want string }{
		{"or rollback", "INSERT OR ROLLBACK INTO item(id) VALUES(1000), (1)", "UNIQUE constraint failed: item.id"},
		{"failing statement", "INSERT INTO item(id) VALUES(1000), (1)", "UNIQUE constraint failed: item.id"},
		{"raise rollback", "INSERT INTO raiser VALUES(1)", "no way"},
		{"deadline", spin, "statement time limit exceeded"},
		{"not allowed", "ATTACH 'x.db' AS x", "ATTACH is not allowed"},
		{"no such table", "INSERT INTO nowhere VALUES(1)", "no such table: nowhere"},
	} {
		t.Run(test.desc, func(t *testing.T) {
			n := start(t, Config{Schema: schemaOf(itemsSchema + "CREATE TABLE raiser(id INTEGER PRIMARY KEY);"), StatementTimeout: 300 * time.Millisecond})
			// Triggers are no part of schemas yet; one that an outside program made works.
			var err error
			if failed := n.do(t.Context(), func() {
				n.writer.conn.SetMode(sqlite.ModeInternal)
				err = n.writer.conn.Exec("CREATE TRIGGER boom BEFORE INSERT ON raiser BEGIN SELECT RAISE(ROLLBACK, 'no way'); END")
			}); failed != nil || err != nil {
				t.Fatal(failed, err)
			}
			n.exec("INSERT INTO item(id) VALUES(1)")
			var requests [][]sqlite.Statement
			for i := range 50 {
				sql := fmt.Sprintf("INSERT INTO item(id, a) VALUES(%d, 'x')", i+2)
				if i == 25 {
					sql = test.sql
				}
				requests = append(requests, []sqlite.Statement{{SQL: sql}})
			}
			for i, o := range n.together(requests...) {
				switch {
				case i == 25 && !strings.Contains(o.failure(), test.want):
					t.Errorf("culprit got %q, want %q", o.failure(), test.want)
				case i != 25 && (o.failure() != "" || o.id.Version == 0):
					t.Errorf("request %d: %q, version %d", i, o.failure(), o.id.Version)
				}
			}
			if got := n.query("SELECT count(*) FROM item"); got != "50" {
				t.Errorf("%s rows, want 50", got)
			}
			m := start(t, Config{Schema: schemaOf(itemsSchema + "CREATE TABLE raiser(id INTEGER PRIMARY KEY);")})
			m.pull(n)
			requireEqual(t, n, m)
		})
	}
}

// TestDiskFullFailsTheGroupAndHeals: nobody of the group is answered with
// success, nothing is half done, and writing goes on once there is room.
func TestDiskFullFailsTheGroupAndHeals(t *testing.T) {
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	n.exec("INSERT INTO item(id, a) VALUES(1, 'first')")
	before := n.content()
	limit := func(pages string) {
		t.Helper()
		var err error
		if failed := n.do(t.Context(), func() {
			n.writer.conn.SetMode(sqlite.ModeInternal)
			err = n.writer.conn.Exec("PRAGMA max_page_count = " + pages)
		}); failed != nil || err != nil {
			t.Fatal(failed, err)
		}
	}
	limit("1") // SQLite takes the present size instead
	big := text("INSERT INTO item(id, a) SELECT 10 + i, hex(randomblob(9000)) FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50) SELECT i FROM n)")
	for i, o := range n.together([]sqlite.Statement{text("INSERT INTO item(id) VALUES(2)")}, []sqlite.Statement{text("INSERT INTO item(id) VALUES(3)")}, []sqlite.Statement{big}) {
		if !errors.Is(o.err, sqlite.ErrFull) {
			t.Errorf("request %d: %v, want ErrFull", i, o.err)
		}
	}
	if after := n.content(); after != before {
		t.Errorf("content changed to\n%s", after)
	}
	limit("1000000")
	if id := n.exec("INSERT INTO item(id) VALUES(2)"); id.Version != 2 {
		t.Errorf("version %d after the disk had room, want 2", id.Version)
	}
}

func TestOversizedRequestFailsInItsSlot(t *testing.T) {
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	blob := strings.Repeat("x", 9<<20)
	big := []sqlite.Statement{}
	for i := range 4 {
		big = append(big, text("INSERT INTO item(id, a) VALUES(?, ?)", 100+i, blob))
	}
	out := n.together([]sqlite.Statement{text("INSERT INTO item(id) VALUES(1)")}, big, []sqlite.Statement{text("INSERT INTO item(id) VALUES(2)")})
	if out[0].failure() != "" || out[2].failure() != "" {
		t.Errorf("others failed: %q, %q", out[0].failure(), out[2].failure())
	}
	if want := "33554432"; !strings.Contains(out[1].failure(), want) || out[1].err != nil {
		t.Errorf("error %q, want one in the slot that names %s", out[1].failure(), want)
	}
	if got := n.query("SELECT id FROM item"); got != "1\n2" {
		t.Errorf("rows %q", got)
	}
}

func TestDroppedRequestDoesNotRun(t *testing.T) {
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	release := n.holdWriter()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, _, err := n.Transact(ctx, []sqlite.Statement{text("INSERT INTO item(id) VALUES(1)")})
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want canceled", err)
	}
	release()
	if got := n.query("SELECT count(*) FROM item"); got != "0" {
		t.Errorf("%s rows, want none", got)
	}
}

func TestResultsAreAsRqlite(t *testing.T) {
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	results, _, err := n.Transact(t.Context(), []sqlite.Statement{
		text("INSERT INTO item(id, a) VALUES(5, 'x')"),
		text("UPDATE item SET a = 'y'"),
		text("UPDATE item SET a = 'y' WHERE id = 99"),
		text("SELECT 1"),
		text("INSERT INTO item(a) VALUES('z') RETURNING id, a"),
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range results {
		got = append(got, fmt.Sprintf("%d %d %v %v", r.LastInsertID, r.RowsAffected, r.Columns, r.Rows))
	}
	want := "5 1 [] []; 5 1 [] []; 5 0 [] []; 0 0 [] []; 6 1 [id a] [[6 'z']]"
	if s := strings.Join(got, "; "); s != want {
		t.Errorf("results %s\nwant    %s", s, want)
	}
}
