package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// stopLoad calls everything that a running store offers, until it says that it
// has stopped.
type stopLoad struct {
	n     *node
	calls sync.WaitGroup

	mu   sync.Mutex // guards rows
	rows map[string]bool
}

// until repeats call while it does not say that the store stopped.
func (l *stopLoad) until(name string, call func(i int) error) {
	l.calls.Go(func() {
		for i := 0; ; i++ {
			switch err := call(i); {
			case errors.Is(err, ErrStopped):
				return
			case err != nil:
				l.n.t.Errorf("%s: %v", name, err)
				return
			}
		}
	})
}

func (l *stopLoad) write(client, i int) error {
	id := client*1_000_000 + i
	results, _, err := l.n.Transact(context.Background(), []sqlite.Statement{text("INSERT INTO item(id) VALUES(?)", id)})
	if err != nil {
		return err
	}
	if results[0].Err == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.rows[fmt.Sprint(id)] = true
	}
	return results[0].Err
}

func (l *stopLoad) start(sealed []changeset.Sealed) {
	for client := range 8 {
		l.until("write", func(i int) error { return l.write(client+1, i) })
	}
	l.until("apply", func(i int) error { return l.n.Apply(context.Background(), sealed[i%len(sealed):][:1]) })
	l.until("try", func(i int) error {
		l.n.TryApply(sealed[i%len(sealed)])
		return l.n.Apply(context.Background(), nil) // says when it is over
	})
	l.until("migrate", func(i int) error {
		results, _, err := l.n.Migrate(context.Background(), []sqlite.Statement{text(fmt.Sprintf("CREATE TABLE m%d(id INTEGER PRIMARY KEY)", i%20))})
		if err != nil {
			return err
		}
		return results[0].Err
	})
	l.until("query", func(int) error {
		return l.n.Query(context.Background(), text("SELECT count(*) FROM item"), &rows{})
	})
	l.until("changeset", func(i int) error {
		_, err := l.n.Changeset(context.Background(), sealed[i%len(sealed)].ID())
		if errors.Is(err, ErrNotInLog) {
			return nil
		}
		return err
	})
	l.until("renew", func(i int) error {
		if i > 3 {
			return l.n.RenewActor(context.Background(), changeset.ActorID{})
		}
		return l.n.RenewActor(context.Background(), l.n.Actor())
	})
	l.until("snapshots", func(int) error {
		l.n.Vector().Digest()
		l.n.SchemaDigest()
		l.n.Secret()
		l.n.Queues()
		l.n.Parked()
		select {
		case <-l.n.stopped:
			return ErrStopped
		default:
			return nil
		}
	})
}

// TestStopUnderLoad: whoever calls while the store stops gets an answer, and what
// was acknowledged is there at the next start.
func TestStopUnderLoad(t *testing.T) {
	rounds := 10
	if testing.Short() {
		rounds = 2
	}
	path := filepath.Join(t.TempDir(), "n.db")
	var list [][]changeset.TableChanges
	for i := range 50 {
		list = append(list, row("item", 1, -i-1, "a", "x"))
	}
	acknowledged := map[string]bool{}
	for range rounds {
		n := start(t, Config{Path: path, Schema: schemaOf(itemsSchema)})
		l := &stopLoad{n: n, rows: acknowledged}
		base := rand.IntN(1 << 30)
		for i := range list {
			list[i][0].Changes[0].Key[0] = value(-base*100 - i - 1)
		}
		l.start(sealAll(t, changeset.NewActorID(), testTime(), list...))
		run := 1 + rand.IntN(50)
		eventually(t, "some are acknowledged", func() bool {
			l.mu.Lock()
			defer l.mu.Unlock()
			return len(l.rows) >= run
		})
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		l.calls.Wait()
		n = start(t, Config{Path: path, Schema: schemaOf(itemsSchema)})
		there := map[string]bool{}
		for _, id := range strings.Fields(n.query("SELECT id FROM item")) {
			there[id] = true
		}
		for id := range acknowledged {
			if !there[id] {
				t.Errorf("row %s was acknowledged and is gone", id)
			}
		}
		checkClocks(t, n)
		n.exec("DELETE FROM item")
		n.stop()
		clear(acknowledged)
	}
}

// TestCloseWithoutRun answers every call.
func TestCloseWithoutRun(t *testing.T) {
	s, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "n.db"), Schema: schemaOf(itemsSchema)})
	if err != nil {
		t.Fatal(err)
	}
	early := make(chan error, 1)
	go func() {
		_, _, err := s.Transact(context.Background(), []sqlite.Statement{text("SELECT 1")})
		early <- err
	}()
	eventually(t, "a request is queued", func() bool { return len(s.queues.requests) == 1 })
	if err := s.Query(t.Context(), text("SELECT 1"), &rows{}); err != nil {
		t.Errorf("query before Run: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, _, transact := s.Transact(context.Background(), []sqlite.Statement{text("SELECT 1")})
	_, _, migrate := s.Migrate(context.Background(), []sqlite.Statement{text("SELECT 1")})
	for name, err := range map[string]error{
		"queued": <-early, "transact": transact, "migrate": migrate,
		"apply": s.Apply(context.Background(), nil), "reload": s.Reload(context.Background(), nil),
		"query": s.Query(context.Background(), text("SELECT 1"), &rows{}),
		"renew": s.RenewActor(context.Background(), s.Actor()),
	} {
		if !errors.Is(err, ErrStopped) {
			t.Errorf("%s: %v, want ErrStopped", name, err)
		}
	}
}

// TestReloadUnderLoad: columns, tables and indexes come while clients write and
// read; nobody sees more of it than the new columns.
func TestReloadUnderLoad(t *testing.T) {
	columns := 12
	if testing.Short() {
		columns = 3
	}
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	l := &stopLoad{n: n, rows: map[string]bool{}}
	guard := func(call func(i int) error) func(int) error {
		return func(i int) error {
			if ctx.Err() != nil {
				return ErrStopped
			}
			return call(i)
		}
	}
	for client := range 4 {
		l.until("write", guard(func(i int) error { return l.write(client+1, i) }))
	}
	l.until("update", guard(func(i int) error {
		results, _, err := n.Transact(context.Background(), []sqlite.Statement{
			text("UPDATE item SET a = ? WHERE id % 7 = ?", fmt.Sprint(i), i%7), text("DELETE FROM item WHERE id % 1000 = 999"),
			text("INSERT INTO item(id, a) VALUES(?, 'r') RETURNING *", -i)})
		if err == nil {
			err = results[len(results)-1].Err
		}
		return err
	}))
	l.until("read", guard(func(int) error { return n.Query(context.Background(), text("SELECT * FROM item LIMIT 100"), &rows{}) }))
	schema, last := itemsSchema, "c REAL"
	for i := range columns {
		column := fmt.Sprintf(", n%d TEXT DEFAULT 'd%d'", i, i)
		schema = strings.Replace(schema, last, last+column, 1)
		last = column
		schema += fmt.Sprintf("CREATE INDEX by_n%d ON item(n%d); CREATE TABLE t%d(id INTEGER PRIMARY KEY);", i, i, i)
		if err := n.Reload(t.Context(), schemaOf(schema)); err != nil {
			t.Fatal(err)
		}
		n.exec(fmt.Sprintf("INSERT INTO item(id, n%d) VALUES(%d, 'new')", i, -1_000_000-i), fmt.Sprintf("INSERT INTO t%d VALUES(1)", i))
		before := n.Vector().Entry(n.Actor()).Applied.Last()
		eventually(t, "writing goes on", func() bool { return n.Vector().Entry(n.Actor()).Applied.Last() > before+5 })
	}
	cancel()
	l.calls.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	there := map[string]bool{}
	for _, id := range strings.Fields(n.query("SELECT id FROM item")) {
		there[id] = true
	}
	for id := range l.rows {
		if !there[id] && !strings.HasSuffix(id, "999") {
			t.Errorf("row %s was acknowledged and is gone", id)
		}
	}
	checkClocks(t, n)
	replica := start(t, Config{Schema: schemaOf(schema)})
	replica.pull(n)
	requireEqual(t, n, replica)
	if len(replica.Parked()) > 0 || n.SchemaDigest() != replica.SchemaDigest() {
		t.Errorf("parked %+v", replica.Parked())
	}
}
