package store

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/hlc"
	"github.com/patinadb/patina/changeset/sqlite"
)

// TestEndedRequestIsNotTaken: the writer may be faster than the goroutine that
// waits for the context of a queued request.
func TestEndedRequestIsNotTaken(t *testing.T) {
	t.Parallel()
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	ctx, cancel := context.WithCancel(t.Context())
	release := n.holdWriter()
	var queued []*request
	for i := range 2 { // the first of a group, and one that joins it
		r := &request{ctx: ctx, statements: []sqlite.Statement{text("INSERT INTO item(id) VALUES(?)", i)}, done: make(chan struct{})}
		n.queues.requests <- r
		queued = append(queued, r)
	}
	cancel()
	release()
	for _, r := range queued {
		if <-r.done; !errors.Is(r.err, context.Canceled) {
			t.Errorf("error %v, want canceled", r.err)
		}
	}
	if got := n.query("SELECT count(*) FROM item"); got != "0" {
		t.Errorf("%s rows, want none", got)
	}
}

// TestWhatCannotBeStampedFailsAlone: a row that has come to an end of what the
// protocol can count fails the request that writes it, in its slot.
func TestWhatCannotBeStampedFailsAlone(t *testing.T) {
	t.Parallel()
	key := strings.Repeat("k", changeset.MaxKeySize+1)
	for _, test := range []struct {
		desc string
		at   hlc.Timestamp
		row  []changeset.TableChanges
		bad  sqlite.Statement
		want string
	}{
		{"causal length", testTime(), row("item", changeset.MaxCausalLength, 1), text("INSERT INTO item(id) VALUES(1)"), "causal length"},
		{"time", hlc.Max, row("item", 1, 1, "a", "x"), text("UPDATE item SET a = 'y' WHERE id = 1"), "no stamp is left"},
		{"key", testTime(), row("item", 1, 1, "a", "x"), text("INSERT INTO flag VALUES(?, 'x')", key), "65536"},
	} {
		t.Run(test.desc, func(t *testing.T) {
			n := start(t, Config{Schema: schemaOf(itemsSchema)})
			apply(t, n, sealAll(t, changeset.NewActorID(), test.at, test.row)...)
			out := n.together(
				[]sqlite.Statement{text("INSERT INTO item(id) VALUES(2)")},
				[]sqlite.Statement{text("INSERT INTO item(id) VALUES(3)"), test.bad},
				[]sqlite.Statement{text("INSERT INTO item(id) VALUES(4)")},
				[]sqlite.Statement{test.bad},
			)
			for _, i := range []int{0, 2} {
				if out[i].failure() != "" || out[i].id.Version == 0 {
					t.Errorf("request %d: %q, version %d", i, out[i].failure(), out[i].id.Version)
				}
			}
			for _, i := range []int{1, 3} {
				if out[i].err != nil || !strings.Contains(out[i].failure(), test.want) || out[i].id.Version != 0 {
					t.Errorf("request %d: %v, %q, want %q in its slot", i, out[i].err, out[i].failure(), test.want)
				}
			}
			if got := n.query("SELECT group_concat(id) FROM item WHERE id > 1"); got != "'2,4'" {
				t.Errorf("rows %s", got)
			}
		})
	}
}

func TestDamagedClockFailsItsRequestAlone(t *testing.T) {
	t.Parallel()
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	n.tampered = true
	n.exec("INSERT INTO item(id) VALUES(1)")
	var err error
	if failed := n.do(t.Context(), func() {
		n.writer.conn.SetMode(sqlite.ModeInternal)
		err = n.writer.conn.Exec("UPDATE __patina_clk_item SET m = x'01'")
	}); failed != nil || err != nil {
		t.Fatal(failed, err)
	}
	out := n.together(
		[]sqlite.Statement{text("INSERT INTO item(id) VALUES(2)")},
		[]sqlite.Statement{text("UPDATE item SET a = 'x' WHERE id = 1")},
	)
	if out[0].failure() != "" || out[1].err != nil || !strings.Contains(out[1].failure(), "damaged") {
		t.Errorf("outcomes %+v", out)
	}
}

// TestManyStampsFromTheFuture: one request that overwrites many of them runs
// twice, not once for each.
func TestManyStampsFromTheFuture(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64 // the wall clock, once for each version that is made
	n := start(t, Config{Schema: schemaOf(itemsSchema), Now: func() time.Time { asked.Add(1); return time.Now() }})
	var list [][]changeset.TableChanges
	for i := range 100 {
		list = append(list, row("item", 1, i, "a", "future"))
	}
	apply(t, n, sealAll(t, changeset.NewActorID(), hlc.At(time.Now().Add(time.Hour), 0), list...)...)
	asked.Store(0)
	id := n.exec("UPDATE item SET a = 'mine'")
	if got := asked.Load(); got > 4 {
		t.Errorf("the request ran %d times", got)
	}
	m := start(t, Config{Schema: schemaOf(itemsSchema)})
	m.pull(n)
	requireEqual(t, n, m)
	if got := m.query("SELECT DISTINCT a FROM item"); got != "'mine'" || id.Version != 1 {
		t.Errorf("%s, version %d", got, id.Version)
	}
}
