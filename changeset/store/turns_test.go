package store

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
	"github.com/patinadb/patina/sync/versions"
)

// TestTurnsShareTheTime: what two kinds that both wait get, turn by turn, by the
// rules alone.
func TestTurnsShareTheTime(t *testing.T) {
	const ms = time.Millisecond
	both := [2]bool{true, true}
	for _, c := range []struct {
		desc              string
		requests, applies time.Duration // of one turn
		least             float64       // share of the requests
		most              float64
	}{
		{"alike", 5 * ms, 5 * ms, .45, .55},
		{"short requests", ms / 10, 5 * ms, .45, .55},
		{"long requests", 40 * ms, 2 * ms, .45, .55},
		{"requests of 3 s", 3 * time.Second, 5 * ms, .7, .76}, // turnLead is all that is owed
	} {
		var u turns
		var sum [2]time.Duration
		for sum[0]+sum[1] < time.Minute {
			kind := u.next(both)
			d := [2]time.Duration{c.requests, c.applies}[kind]
			u.took(kind, d)
			sum[kind] += d
		}
		if share := float64(sum[requestTurn]) / float64(sum[0]+sum[1]); share < c.least || share > c.most {
			t.Errorf("%s: requests have %.2f of the time, want %.2f to %.2f", c.desc, share, c.least, c.most)
		}
	}
}

// TestTurnsOfWhoDoesNotWait: who does not ask saves nothing up, and who asks only
// now and then still has turns of the others cut to what it uses itself.
func TestTurnsOfWhoDoesNotWait(t *testing.T) {
	const ms = time.Millisecond
	var u turns
	for range 1000 {
		if kind := u.next([2]bool{false, true}); u.allowance(applyTurn, 5*ms) != 5*ms {
			t.Fatalf("turn of %d cut although nobody else is there", kind)
		}
		u.took(applyTurn, 5*ms)
	}
	owed := time.Duration(0)
	for owed <= time.Second && u.next([2]bool{true, true}) == requestTurn {
		u.took(requestTurn, ms)
		owed += ms
	}
	if owed > 20*ms {
		t.Errorf("requests had %v at once after 5 s in which nobody asked", owed)
	}
	u.took(applyTurn, 5*ms)
	u.took(requestTurn, ms/2)
	if got := u.allowance(applyTurn, 5*ms); got != 3*ms/2 {
		t.Errorf("a batch may take %v beside groups of half a millisecond, want 1.5ms", got)
	}
	u.took(applyTurn, 2*ms)
	if got := u.allowance(requestTurn, 5*ms); got != 5*ms {
		t.Errorf("a group may take %v beside batches of 2 ms, want 5ms", got)
	}
}

// flood keeps a store busy from both sides until stop is called.
type flood struct {
	n          *node
	stop       context.CancelFunc
	workers    sync.WaitGroup
	requests   atomic.Int64 // answered
	changesets atomic.Int64 // sent
}

func newFlood(t *testing.T, n *node) (*flood, context.Context) {
	ctx, cancel := context.WithCancel(t.Context())
	f := &flood{n: n, stop: cancel}
	t.Cleanup(func() { cancel(); f.workers.Wait() })
	return f, ctx
}

// write floods with requests of clients that each wait for their answers.
func (f *flood) write(ctx context.Context, clients int) {
	for range clients {
		f.workers.Go(func() {
			for ctx.Err() == nil {
				if _, _, err := f.n.Transact(ctx, []sqlite.Statement{text("INSERT INTO item(a) VALUES('local')")}); err == nil {
					f.requests.Add(1)
				} else if !errors.Is(err, context.Canceled) {
					f.n.t.Error(err)
					return
				}
			}
		})
	}
}

// send floods with remote changesets of ten rows: from one peer that pushes what
// TryApply takes, and from others that wait for each batch.
func (f *flood) send(ctx context.Context, peers int) {
	for peer := range peers + 1 {
		actor := changeset.NewActorID()
		f.workers.Go(func() {
			var previous changeset.Hash
			for v := changeset.Version(1); ctx.Err() == nil; {
				var batch []changeset.Sealed
				for range 100 {
					tc := row("flag", 1, "k", "value", "remote")[0]
					tc.Key = []string{"name"}
					one := tc.Changes[0]
					tc.Changes = nil
					for i := range 10 {
						one.Key = []sqlite.Value{changeset.TextValue(actor.String() + string(rune('a'+i)) + time.Now().String())}
						tc.Changes = append(tc.Changes, one)
					}
					s, err := changeset.Seal(&changeset.Changeset{Header: changeset.Header{Actor: actor, Version: v, Time: testTime(), Previous: previous}, Tables: []changeset.TableChanges{tc}})
					if err != nil {
						f.n.t.Error(err)
						return
					}
					previous, v = s.Hash, v+1
					batch = append(batch, s)
				}
				if peer == 0 {
					for _, s := range batch {
						f.n.TryApply(s)
					}
				} else if err := f.n.Apply(ctx, batch); err != nil && !errors.Is(err, context.Canceled) {
					f.n.t.Error(err)
					return
				}
				f.changesets.Add(int64(len(batch)))
			}
		})
	}
}

// TestFloodsLeaveTheOtherSideAQuarter of the writer's time, under as many requests
// as a node admits and with changesets from three peers, and under fewer clients
// than fill a group. (A handful of clients asks for less than a quarter.)
func TestFloodsLeaveTheOtherSideAQuarter(t *testing.T) {
	lasts := time.Second
	if testing.Short() {
		lasts = 400 * time.Millisecond
	}
	for _, c := range []struct {
		desc           string
		clients, peers int
	}{
		{"many clients", 600, 2},
		{"clients that wait for each answer", 128, 2},
	} {
		t.Run(c.desc, func(t *testing.T) {
			n := start(t, Config{Schema: schemaOf(itemsSchema)})
			f, ctx := newFlood(t, n)
			f.write(ctx, c.clients)
			f.send(ctx, c.peers)
			eventually(t, "both sides are served", func() bool { u := n.WriterTime(); return u.Requests > 0 && u.Applies > 0 })
			before := n.WriterTime()
			eventually(t, "time passes", func() bool { u := n.WriterTime(); return u.Requests+u.Applies-before.Requests-before.Applies > lasts })
			after := n.WriterTime()
			f.stop()
			f.workers.Wait()
			requests, applies := after.Requests-before.Requests, after.Applies-before.Applies
			share := float64(requests) / float64(requests+applies)
			t.Logf("requests had %.2f of the writer's time; %d requests, %d changesets", share, f.requests.Load(), f.changesets.Load())
			if share < .25 || share > .75 {
				t.Errorf("requests had %.2f of the writer's time, want 0.25 to 0.75", share)
			}
		})
	}
}

// TestFillLeavesRequestsAQuarter of the writer's time, from parts that are always ready.
func TestFillLeavesRequestsAQuarter(t *testing.T) {
	source, n := start(t, Config{Schema: schemaOf(itemsSchema)}), start(t, Config{Schema: schemaOf(itemsSchema)})
	source.exec("INSERT INTO flag WITH RECURSIVE s(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM s WHERE x < 60000) SELECT 'name ' || x, 'a value of some length for ' || x FROM s")
	var parts []StatePart
	held := versions.NewVector()
	for cursor := []byte(nil); len(parts) == 0 || cursor != nil; cursor = parts[len(parts)-1].Next {
		p, err := source.ReadState(t.Context(), cursor, held)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, p)
	}
	f, ctx := newFlood(t, n)
	f.write(ctx, 64)
	eventually(t, "clients are answered", func() bool { return f.requests.Load() > 100 })
	if err := n.BeginFill(t.Context(), source.Actor(), source.Vector(), source.StateTables()); err != nil {
		t.Fatal(err)
	}
	before := n.WriterTime()
	for _, p := range parts {
		if err := n.FillPart(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	after := n.WriterTime()
	f.stop()
	f.workers.Wait()
	requests, applies := after.Requests-before.Requests, after.Applies-before.Applies
	share := float64(requests) / float64(requests+applies)
	t.Logf("%d parts; requests had %.2f of the writer's time", len(parts), share)
	if applies == 0 || share < .25 {
		t.Errorf("requests had %.2f of the writer's time, want 0.25", share)
	}
}

// TestRequestsRunBetweenTheBatchesOfOneJob: however much a peer hands over at
// once, a request waits for one batch of it.
func TestRequestsRunBetweenTheBatchesOfOneJob(t *testing.T) {
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	var list [][]changeset.TableChanges
	for i := range 3 * batchRows {
		list = append(list, row("item", 1, i, "a", "x"))
	}
	sealed := sealAll(t, changeset.NewActorID(), testTime(), list...)
	release := n.holdWriter()
	applied := make(chan error, 1)
	go func() { applied <- n.Apply(context.Background(), sealed) }()
	eventually(t, "the job is queued", func() bool { return len(n.queues.applies) == 1 })
	written := make(chan outcome, 1)
	go func() { written <- n.transact([]sqlite.Statement{text("INSERT INTO flag VALUES('local', 1)")}) }()
	eventually(t, "the request is queued", func() bool { return len(n.queues.requests) == 1 })
	n.writer.turns.lead = time.Microsecond // the remote changesets go first
	release()
	if o := <-written; o.failure() != "" {
		t.Error(o.failure())
	}
	if err := <-applied; err != nil {
		t.Error(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	at := slices.IndexFunc(n.committed, func(c Committed) bool { return c.Local })
	if len(n.committed) != len(sealed)+1 || at < batchLeast || at > batchRows {
		t.Errorf("the request came after %d of %d changesets, want one batch", at, len(n.committed))
	}
}
