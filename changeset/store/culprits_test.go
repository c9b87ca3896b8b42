package store

import (
	"context"
	"fmt"
	"math/bits"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/hlc"
	"github.com/patinadb/patina/changeset/sqlite"
)

// culprits are requests that take a shared transaction down, or need their own.
var culprits = []struct{ desc, sql, want string }{
	{"or rollback", "INSERT OR ROLLBACK INTO item(id) VALUES(100000), (1)", "UNIQUE constraint failed"},
	{"too many bytes for a key", "INSERT INTO flag VALUES(hex(zeroblob(40000)), 1)", "65536"},
	{"ahead of the clock", "UPDATE flag SET value = value || 'x' WHERE name = 'ahead'", ""},
}

// TestCulpritsCostABoundedFactor: however many requests of a group take its
// transaction down, the others run a bounded number of times and share commits.
func TestCulpritsCostABoundedFactor(t *testing.T) {
	const requests = 256
	for _, c := range culprits {
		for _, every := range []int{2, 4, 16, requests} {
			t.Run(fmt.Sprintf("%s, every %d", c.desc, every), func(t *testing.T) {
				t.Parallel()
				n := start(t, Config{Schema: schemaOf(itemsSchema)})
				n.exec("INSERT INTO item(id) VALUES(1)")
				ahead := row("flag", 1, "ahead", "value", "x")
				ahead[0].Key = []string{"name"}
				apply(t, n, sealAll(t, changeset.NewActorID(), hlc.At(time.Now().Add(time.Hour), 0), ahead)...)
				var all []*request
				bad := 0
				for i := range requests {
					st := text("INSERT INTO item(id) VALUES(?)", 10+i)
					if i%every == every/2 {
						bad++
						st = text(c.sql)
					}
					all = append(all, &request{ctx: t.Context(), statements: []sqlite.Statement{st}, done: make(chan struct{})})
				}
				before, started := n.Vector().Entry(n.Actor()).Applied.Last(), time.Now()
				n.onWriter(func(w *writer) { // the groups end with their culprits alone, not by time
					next := 0
					more := func() *request {
						if next == len(all) {
							return nil
						}
						next++
						return all[next-1]
					}
					for r := more(); r != nil; r = more() {
						w.commit([]*request{r}, more)
					}
				})
				for i, r := range all {
					<-r.done
					want := ""
					if i%every == every/2 {
						want = c.want
					}
					if f := (outcome{r.results, r.id, r.err}).failure(); want == "" && f != "" || !strings.Contains(f, want) || want == "" && r.id.Version == 0 {
						t.Errorf("request %d: %q, version %d, want %q", i, f, r.id.Version, want)
					}
				}
				reruns, commits := int(n.Reruns()), int(n.Vector().Entry(n.Actor()).Applied.Last()-before)
				t.Logf("%d of %d: %d reruns, %d commits, %v", bad, requests, reruns, commits, time.Since(started))
				// What needs a transaction of its own is found by halves: a request runs
				// once for each, and commits with those up to the next one at least.
				mostRuns, mostCommits := bits.Len(requests), min(requests, (bad+1)*bits.Len(requests))
				if c.desc == "or rollback" {
					mostRuns, mostCommits = groupRuns, 1+(bad+groupRuns-1)/groupRuns
				}
				if reruns > mostRuns*requests || commits > mostCommits {
					t.Errorf("%d reruns and %d commits, want %d and %d at most", reruns, commits, mostRuns*requests, mostCommits)
				}
				if got := n.query("SELECT count(*) FROM item"); got != fmt.Sprint(1+requests-bad) {
					t.Errorf("%s rows", got)
				}
				checkClocks(t, n)
			})
		}
	}
}

// BenchmarkCulprits reports what 32 clients get done beside 32 others that are
// good ones too, and beside 32 whose requests roll the transaction back.
func BenchmarkCulprits(b *testing.B) {
	for _, c := range []struct{ desc, sql string }{
		{"good", "INSERT OR ROLLBACK INTO t(a) VALUES('x')"},
		{"or rollback", "INSERT OR ROLLBACK INTO t(id) VALUES(1)"},
	} {
		b.Run(c.desc, func(b *testing.B) {
			s, stop := benchStore(b)
			defer stop()
			ctx, cancel := context.WithCancel(b.Context())
			var others, clients sync.WaitGroup
			write := func(ctx context.Context, sql string) {
				if _, _, err := s.Transact(ctx, []sqlite.Statement{text(sql)}); err != nil && ctx.Err() == nil {
					b.Error(err)
				}
			}
			write(ctx, "INSERT INTO t(id) VALUES(1)")
			for range 32 {
				others.Go(func() {
					for ctx.Err() == nil {
						write(ctx, c.sql)
					}
				})
			}
			b.ResetTimer()
			var left atomic.Int64
			left.Store(int64(b.N))
			for range 32 {
				clients.Go(func() {
					for left.Add(-1) >= 0 {
						write(ctx, "INSERT INTO t(a) VALUES('good')")
					}
				})
			}
			clients.Wait()
			b.StopTimer()
			cancel()
			others.Wait()
		})
	}
}
