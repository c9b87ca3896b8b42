package store

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset"
)

// TestRetriesBackOff: once a second at first, then after twice as long, up to 512
// seconds; who is listed is not listed again.
func TestRetriesBackOff(t *testing.T) {
	var r retries
	start := time.Unix(1000, 0)
	id, second := changeset.ID{Version: 1}, changeset.ID{Version: 2}
	r.add(id, start)
	r.add(id, start.Add(time.Minute))
	var got []string
	now := start
	for range 12 {
		began := now
		for !r.isDue(now) {
			now = now.Add(time.Second)
		}
		popped, delay, ok := r.pop(now)
		if !ok || popped != id {
			t.Fatalf("popped %v, %v", popped, ok)
		}
		got = append(got, now.Sub(began).String())
		r.push(id, min(delay+1, retryDelays-1), now)
	}
	if want := "1s 2s 4s 8s 16s 32s 1m4s 2m8s 4m16s 8m32s 8m32s 8m32s"; strings.Join(got, " ") != want {
		t.Errorf("delays %v\nwant   %s", got, want)
	}
	r.add(second, now)
	if popped, _, ok := r.pop(now.Add(time.Second)); !ok || popped != second {
		t.Errorf("the new one waits behind the old: %v, %v", popped, ok)
	}
}

// movable is a wall clock that tests move.
type movable struct{ ahead atomic.Int64 }

func (m *movable) now() time.Time { return time.Now().Add(time.Duration(m.ahead.Load())) }

func (m *movable) move(d time.Duration) { m.ahead.Add(int64(d)) }

// TestDamagedRowParksItsChangesetAndIsTriedAgain: it blocks no other, is tried
// after a while, also after a restart, and applies once the row is whole.
func TestDamagedRowParksItsChangesetAndIsTriedAgain(t *testing.T) {
	t.Parallel()
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprint("restart ", restart), func(t *testing.T) {
			t.Parallel()
			var clock movable
			cfg := Config{Path: t.TempDir() + "/n.db", Schema: schemaOf(itemsSchema), Now: clock.now}
			n := start(t, cfg)
			n.tampered = true
			n.exec("INSERT INTO item(id, a) VALUES(1, 'old')")
			whole := n.internal("SELECT hex(m) FROM __patina_clk_item")
			outside(t, cfg.Path, "UPDATE __patina_clk_item SET m = x'01'")
			apply(t, n, sealAll(t, changeset.NewActorID(), testTime()+1<<30, row("item", 1, 1, "a", "new"), row("item", 1, 2, "a", "other"))...)
			if p := n.Parked(); len(p) != 1 || p[0].Version != 1 || !strings.Contains(p[0].Reason, "damaged") {
				t.Fatalf("parked %+v", p)
			}
			tried := func(times int) {
				t.Helper()
				for i := range times {
					clock.move(retryFirst<<min(i, retryDelays-1) + time.Second)
					eventually(t, "it is tried", func() (done bool) {
						n.onWriter(func(w *writer) { done = !w.retries.isDue(clock.now()) })
						return done
					})
				}
			}
			tried(3)
			if restart {
				n.stop()
				n = start(t, cfg)
			}
			if p := n.Parked(); len(p) != 1 {
				t.Fatalf("parked %+v", p)
			}
			n.tampered = true // also the clock of the other row
			outside(t, cfg.Path, "UPDATE __patina_clk_item SET m = x"+whole)
			clock.move(time.Minute)
			eventually(t, "it is applied", func() bool { return len(n.Parked()) == 0 })
			if got := n.query("SELECT a FROM item"); got != "'new'\n'other'" {
				t.Errorf("rows %s", got)
			}
			n.mu.Lock()
			last := n.committed[len(n.committed)-1]
			n.mu.Unlock()
			if last.Version != 1 || last.Parked || !n.Vector().Entry(last.Actor).Applied.Contains(1) {
				t.Errorf("told of %+v", last)
			}
			checkClocks(t, n)
		})
	}
}

// TestRetriesOfOneTickAreBounded however many are due.
func TestRetriesOfOneTickAreBounded(t *testing.T) {
	t.Parallel()
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	var list [][]changeset.TableChanges
	for i := range 5 * retryCount {
		list = append(list, row("item", 1, i, "b", nil)) // NOT NULL here
	}
	apply(t, n, sealAll(t, changeset.NewActorID(), testTime(), list...)...)
	n.onWriter(func(w *writer) {
		later := time.Now().Add(time.Hour)
		w.retryParked(later)
		if got := len(w.retries.queues[1]); got == 0 || got > retryCount || len(w.parked) != len(list) {
			t.Errorf("%d tried in one tick, want %d at most; %d parked", got, retryCount, len(w.parked))
		}
	})
}

// TestNamesAreNotTriedAgain until the schema moves; then a row that an index of
// another process keeps out is, and the index goes.
func TestNamesAreNotTriedAgain(t *testing.T) {
	t.Parallel()
	var clock movable
	n := start(t, Config{Schema: schemaOf(itemsSchema), Now: clock.now})
	n.exec("INSERT INTO item(id, a) VALUES(1, 'same')")
	apply(t, n, sealAll(t, changeset.NewActorID(), testTime(), row("item", 1, 2, "a", "same", "d", "x"))...)
	n.onWriter(func(w *writer) {
		if w.retries.isDue(clock.now().Add(time.Hour)) {
			t.Error("a changeset with an unknown column is to be tried again")
		}
	})
	outside(t, n.cfg.Path, "CREATE UNIQUE INDEX x ON item(a); ALTER TABLE item ADD COLUMN d TEXT")
	eventually(t, "it is judged", func() bool { p := n.Parked(); return len(p) == 1 && strings.Contains(p[0].Reason, "UNIQUE") })
	clock.move(time.Minute)
	eventually(t, "it is applied", func() bool { return len(n.Parked()) == 0 })
	if got := n.query("SELECT id, d FROM item"); got != "1|NULL\n2|'x'" || n.IndexesDropped() != 1 {
		t.Errorf("rows %s, %d dropped", got, n.IndexesDropped())
	}
}
