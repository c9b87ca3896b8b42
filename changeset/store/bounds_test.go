package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// onWriter runs f on the writer's goroutine.
func (n *node) onWriter(f func(w *writer)) {
	n.t.Helper()
	if err := n.do(n.t.Context(), func() { f(n.writer) }); err != nil {
		n.t.Fatal(err)
	}
}

// TestLastRowidIsNoFullDisk: SQLite says "disk is full" of both. The disk fails a
// group, an AUTOINCREMENT that has come to its end one request.
func TestLastRowidIsNoFullDisk(t *testing.T) {
	for _, last := range []string{
		"INSERT INTO au(id) VALUES(9223372036854775807)",
		"INSERT INTO au(id) VALUES(9223372036854775807); DELETE FROM au",
	} {
		n := start(t, Config{Schema: schemaOf(itemsSchema + "CREATE TABLE au(id INTEGER PRIMARY KEY AUTOINCREMENT, rowid TEXT);")})
		n.exec(last)
		out := n.together(
			[]sqlite.Statement{text("INSERT INTO item(id) VALUES(1)")},
			[]sqlite.Statement{text("INSERT INTO item(id) VALUES(9)"), text("INSERT INTO au(rowid) VALUES('x')")},
			[]sqlite.Statement{text("INSERT INTO item(id) VALUES(2)")},
		)
		if out[0].failure() != "" || out[2].failure() != "" {
			t.Errorf("others: %q, %q", out[0].failure(), out[2].failure())
		}
		if out[1].err != nil || !strings.Contains(out[1].failure(), "AUTOINCREMENT of table au") {
			t.Errorf("error %v, %q, want one in its slot", out[1].err, out[1].failure())
		}
		if got := n.query("SELECT group_concat(id) FROM item"); got != "'1,2'" {
			t.Errorf("rows %s", got)
		}
	}
}

// TestCaptureBoundEndsTheStatement: what cannot become a changeset any more does
// not run on to its time limit, and costs others nothing.
func TestCaptureBoundEndsTheStatement(t *testing.T) {
	const forever = "INSERT INTO item(id) WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
	for _, test := range []struct {
		desc         string
		bytes, steps int
	}{{"steps", maxCaptured, 5000}, {"bytes", 50000, maxSteps}} {
		t.Run(test.desc, func(t *testing.T) {
			n := start(t, Config{Schema: schemaOf(itemsSchema), StatementTimeout: time.Hour})
			n.onWriter(func(w *writer) { w.capture.maxBytes, w.capture.maxSteps = test.bytes, test.steps })
			out := n.together(
				[]sqlite.Statement{text("INSERT INTO item(id) VALUES(1)")},
				[]sqlite.Statement{text(forever)},
				[]sqlite.Statement{text("INSERT INTO item(id) VALUES(2)")},
			)
			if out[0].failure() != "" || out[2].failure() != "" {
				t.Errorf("others: %q, %q", out[0].failure(), out[2].failure())
			}
			if out[1].err != nil || out[1].failure() != errTooManyChanges.Error() {
				t.Errorf("error %v, %q", out[1].err, out[1].failure())
			}
			if got := n.query("SELECT group_concat(id) FROM item"); got != "'1,2'" {
				t.Errorf("rows %s", got)
			}
			for i := range 3 { // the bound is that of one request, not of a group or a connection
				fill := "INSERT INTO item(id) WITH RECURSIVE n(i) AS (SELECT %d UNION ALL SELECT i + 1 FROM n LIMIT 3000) SELECT i FROM n"
				n.exec(fmt.Sprintf(fill, 10000*(i+1)))
			}
		})
	}
}

// TestTooManyValuesAreRefusedBeforeTheirClocks: the net effect is known to be too
// large before anything is written for it.
func TestTooManyValuesAreRefusedBeforeTheirClocks(t *testing.T) {
	t.Parallel()
	b := newCaptureBuffer()
	item := &table{name: "item", layout: layoutInteger, key: []int{0}}
	key := b.mark()
	b.data = changeset.AppendValue(b.data, changeset.IntegerValue(1))
	for range 1 + changeset.MaxValues/64 {
		b.events = append(b.events, rowEvent{table: item, op: sqlite.OpInsert, key: span{uint32(key.data), uint32(len(b.data))}})
	}
	if tables, err := b.fold(); err != nil || len(tables) != 1 || len(tables[0].rows) != 1 {
		t.Errorf("%d tables, %v: many steps of one row are one row", len(tables), err)
	}
	b.reset()
	wide := &table{name: "wide", layout: layoutInteger, key: []int{0}, data: make([]int, 1000)}
	columns := changeset.FirstColumns(1000)
	for i := range 1 + changeset.MaxValues/1000 {
		from := uint32(len(b.data))
		b.data = changeset.AppendValue(b.data, changeset.IntegerValue(int64(i)))
		e := rowEvent{table: wide, op: sqlite.OpInsert, key: span{from, uint32(len(b.data))}, columns: columns, rowid: int64(i)}
		e.new.from = uint32(len(b.data))
		for range 1000 {
			b.data = changeset.AppendValue(b.data, changeset.NullValue())
		}
		e.new.to = uint32(len(b.data))
		b.events = append(b.events, e)
	}
	if _, err := b.fold(); !errors.Is(err, errTooManyChanges) || !refusal(err) {
		t.Errorf("error %v, want errTooManyChanges", err)
	}
}

// TestReturningIsBounded: by what the rows take in memory, for a whole request.
func TestReturningIsBounded(t *testing.T) {
	var small returnedBytes
	small.add(make([]sqlite.Value, 16))
	if small.request < 16*32 || small.group != small.request {
		t.Errorf("16 values of no bytes count %+v", small)
	}
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	const size = 300_000
	many := func(rows, from int) sqlite.Statement {
		return text(fmt.Sprintf("INSERT INTO item(id) WITH RECURSIVE n(i) AS (SELECT %d UNION ALL SELECT i + 1 FROM n LIMIT %d) SELECT i FROM n RETURNING zeroblob(%d)", from, rows, size))
	}
	const fits = maxReturned / size * 3 / 4
	out := n.together(
		[]sqlite.Statement{text("INSERT INTO item(id) VALUES(1)")},
		[]sqlite.Statement{many(fits, 10), many(fits, 10+fits)},
		[]sqlite.Statement{text("INSERT INTO item(id) VALUES(2)")},
	)
	if out[0].failure() != "" || out[2].failure() != "" || !strings.Contains(out[1].failure(), "RETURNING yields more than") {
		t.Errorf("%q, %q, %q", out[0].failure(), out[1].failure(), out[2].failure())
	}
	out = n.together([]sqlite.Statement{many(fits, 10)}, []sqlite.Statement{text("INSERT INTO item(id) VALUES(3)")})
	if out[0].failure() != "" || len(out[0].results[0].Rows) != fits {
		t.Errorf("%q", out[0].failure())
	}
	if out[1].failure() != "" || out[1].id.Version == out[0].id.Version {
		t.Errorf("%q, version %d: a group whose rows fill memory takes no more", out[1].failure(), out[1].id.Version)
	}
}

// TestReadsEndWithTheStore: who waits for a connection, who reads and who comes
// later get ErrStopped.
func TestReadsEndWithTheStore(t *testing.T) {
	n := start(t, Config{Schema: schemaOf(itemsSchema), Readers: 1})
	id := n.exec("INSERT INTO item(id) VALUES(1)")
	const forever = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n WHERE i < 0"
	ends := make(chan error, 2)
	for range cap(ends) {
		go func() { ends <- n.Query(context.Background(), text(forever), &rows{}) }()
	}
	eventually(t, "one of them reads", func() bool { return len(n.readers.idle) == 0 })
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	for range cap(ends) {
		if err := <-ends; !errors.Is(err, ErrStopped) {
			t.Errorf("%v, want ErrStopped", err)
		}
	}
	if err := n.Query(context.Background(), text("SELECT 1"), &rows{}); !errors.Is(err, ErrStopped) {
		t.Errorf("query: %v, want ErrStopped", err)
	}
	if _, err := n.Changeset(context.Background(), id); !errors.Is(err, ErrStopped) {
		t.Errorf("changeset: %v, want ErrStopped", err)
	}
}

// TestQueryAgeAndNextUser: a read that is too old ends, and its interrupt does
// not reach who gets the connection next; neither does a sink's error.
func TestQueryAgeAndNextUser(t *testing.T) {
	n := start(t, Config{Schema: schemaOf(itemsSchema), Readers: 1, QueryMaxAge: 150 * time.Millisecond})
	n.exec("INSERT INTO item(id) VALUES(1), (2), (3)")
	const forever = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n WHERE i < 0"
	for range 2 {
		err := n.Query(t.Context(), text(forever), &rows{})
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "longer than 150ms") {
			t.Errorf("%v", err)
		}
		if err := n.Query(t.Context(), text("SELECT id FROM item"), &rejecting{}); !errors.Is(err, errRejected) {
			t.Errorf("%v", err)
		}
		if got := n.query("SELECT count(*) FROM item"); got != "3" {
			t.Errorf("%s rows", got)
		}
	}
}

var errRejected = errors.New("rejected")

// rejecting is a sink that fails at the second row.
type rejecting struct{ rows }

func (r *rejecting) Row(values []sqlite.Value) error {
	if len(r.lines) == 1 {
		return errRejected
	}
	return r.rows.Row(values)
}

// TestSecretChangesWithTheActor while others ask for it.
func TestSecretChangesWithTheActor(t *testing.T) {
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	secret, epoch := n.Secret(), n.Epoch()
	done := make(chan error, 1)
	go func() {
		for range 10 {
			n.together([]sqlite.Statement{text("INSERT OR ROLLBACK INTO item(id) VALUES(1), (1)")})
		}
		done <- n.RenewActor(context.Background(), n.Actor())
	}()
	for n.Secret() == secret && len(done) == 0 {
		n.Epoch()
	}
	if err := <-done; err != nil || n.Secret() == secret || n.Epoch() != epoch {
		t.Errorf("%v; the secret changed: %v", err, n.Secret() != secret)
	}
}

// TestOutsideSchemaShowsInTheDigest also if the first transaction that sees it
// changes nothing itself.
func TestOutsideSchemaShowsInTheDigest(t *testing.T) {
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	digest := n.SchemaDigest()
	release := n.holdWriter()
	outside(t, n.cfg.Path, "ALTER TABLE item ADD COLUMN d TEXT")
	done := make(chan outcome, 1)
	go func() { done <- n.transact([]sqlite.Statement{text("SELECT 1")}) }()
	eventually(t, "the request is queued", func() bool { return len(n.queues.requests) == 1 })
	release()
	if o := <-done; o.failure() != "" {
		t.Error(o.failure())
	}
	eventually(t, "the digest changes", func() bool { return n.SchemaDigest() != digest })
}
