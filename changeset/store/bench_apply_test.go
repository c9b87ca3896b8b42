package store

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/hlc"
	"github.com/patinadb/patina/changeset/sqlite"
)

// applyBatch is the rows of one changeset in BenchmarkApply.
const applyBatch = 1000

// peer makes the changesets of an actor that is nowhere.
type peer struct {
	actor changeset.ActorID
	head  changeset.Sealed
	time  hlc.Timestamp
}

// seal makes the next version of the rows, as it comes from the wire.
func (p *peer) seal(b *testing.B, changes []changeset.Change) []byte {
	p.time++
	c := &changeset.Changeset{
		Header: changeset.Header{Actor: p.actor, Version: p.head.Version + 1, Time: p.time, Previous: p.head.Hash},
		Tables: []changeset.TableChanges{{Name: "t", Generation: 1, Key: []string{"id"}, Columns: []string{"a", "b", "c", "d", "e"}, Changes: changes}},
	}
	var err error
	if p.head, err = changeset.Seal(c); err != nil {
		b.Fatal(err)
	}
	return p.head.Data
}

// changeOf is the change that a statement of benchWrites makes.
func changeOf(kind string, st sqlite.Statement) changeset.Change {
	switch p := st.Params; kind {
	case "update":
		return changeset.Change{Key: p[1:2], CausalLength: 1, Columns: changeset.Columns(2), Values: p[:1]}
	case "delete":
		return changeset.Change{Key: p[:1], CausalLength: 2}
	default:
		return changeset.Change{Key: p[:1], CausalLength: 1, Columns: changeset.FirstColumns(5), Values: p[1:]}
	}
}

// BenchmarkApply is the price of a remote row: processor time of the store, hash
// and decoder included, against the statements that made it on a plain database,
// 1,000 rows a transaction on both sides.
func BenchmarkApply(b *testing.B) {
	for _, key := range []string{"INTEGER", "TEXT"} {
		for _, w := range benchWrites {
			b.Run(benchKeyName[key]+"/"+w.name, func(b *testing.B) { benchApply(b, key, w.name, w.write) })
		}
	}
}

func benchApply(b *testing.B, key, kind string, write func(string, int) sqlite.Statement) {
	s, stop := benchStoreOf(b, wideSchema(key))
	defer stop()
	plain := openPlain(b, wideSchema(key))
	p := &peer{actor: changeset.NewActorID(), time: hlc.At(time.Now().Add(-time.Hour), 0)}
	seal := func(kind string, group []sqlite.Statement) []byte {
		var changes []changeset.Change
		for _, st := range group {
			changes = append(changes, changeOf(kind, st))
		}
		return p.seal(b, changes)
	}
	apply := func(data []byte) {
		sealed, err := changeset.Open(data)
		if err == nil {
			err = s.Apply(context.Background(), []changeset.Sealed{sealed})
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	for _, group := range statementsOf(wideRow, key, 0, benchRows, applyBatch) {
		apply(seal("insert", group))
		plain.transact(b, group)
	}
	next := 0
	var ratios []float64
	for b.Loop() {
		if next+2*applyBatch > benchRows {
			b.Fatal("more rounds than rows: use a smaller -benchtime")
		}
		groups := statementsOf(write, key, next, 2*applyBatch, applyBatch)
		next += 2 * applyBatch
		var batches [][]byte
		for _, group := range groups {
			batches = append(batches, seal(kind, group))
		}
		ours := spent(b, func() {
			for _, data := range batches {
				apply(data)
			}
		})
		theirs := spent(b, func() {
			for _, group := range groups {
				plain.transact(b, group)
			}
		})
		ratios = append(ratios, float64(ours)/float64(theirs))
	}
	if len(s.Parked()) > 0 {
		b.Fatal("parked: ", s.Parked()[0])
	}
	b.ReportMetric(median(ratios), "x/plain")
}

// BenchmarkGroupCommit is what sharing a transaction gives 128 clients, each of
// whom waits for its one-row write to be durable: requests a second against a
// store that gives each request a transaction of its own.
func BenchmarkGroupCommit(b *testing.B) {
	b.Run("128", func(b *testing.B) { benchGroupCommit(b, 128) })
}

func benchGroupCommit(b *testing.B, clients int) {
	grouped, stop := benchStoreOf(b, wideSchema("INTEGER"))
	defer stop()
	alone, stop := benchStoreOf(b, wideSchema("INTEGER"))
	defer stop()
	if err := alone.do(b.Context(), func() { alone.writer.groupTime = 0 }); err != nil {
		b.Fatal(err)
	}
	var next atomic.Int64
	rate := func(s *Store, each int) float64 {
		begin := time.Now()
		var wait sync.WaitGroup
		for range clients {
			wait.Go(func() {
				for range each {
					mustTransact(b, s, []sqlite.Statement{wideRow("INTEGER", int(next.Add(1)))})
				}
			})
		}
		wait.Wait()
		return float64(clients*each) / time.Since(begin).Seconds()
	}
	const many, few = 200, 20
	var ratios, rates []float64
	for b.Loop() {
		rates = append(rates, rate(grouped, many))
		ratios = append(ratios, rates[len(rates)-1]/rate(alone, few))
	}
	b.ReportMetric(float64(len(rates)*clients*many)/float64(grouped.Vector().Entry(grouped.Actor()).Applied.Last()), "requests/group")
	b.ReportMetric(median(rates), "requests/s")
	b.ReportMetric(median(ratios), "x/ungrouped")
}

// BenchmarkSize is the room on disk: 50,000 rows inserted and half of them updated
// once, 100 rows a transaction, clocks, sums and log included, against plain.
func BenchmarkSize(b *testing.B) {
	for _, key := range []string{"INTEGER", "TEXT"} {
		b.Run(benchKeyName[key], func(b *testing.B) {
			for b.Loop() {
				benchSize(b, key)
			}
		})
	}
}

func benchSize(b *testing.B, key string) {
	s, stop := benchStoreOf(b, wideSchema(key))
	plain := openPlain(b, wideSchema(key))
	update := func(key string, i int) sqlite.Statement {
		return text("UPDATE t SET c = ? WHERE id = ?", i+7, benchKey(key, 2*i))
	}
	groups := append(statementsOf(wideRow, key, 0, benchRows, 100), statementsOf(update, key, 0, benchRows/2, 100)...)
	for _, group := range groups {
		mustTransact(b, s, group)
		plain.transact(b, group)
	}
	path := s.cfg.Path
	stop()
	if _, _, err := plain.Checkpoint(true); err != nil {
		b.Fatal(err)
	}
	ours, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	theirs, err := os.Stat(filepath.Join(plain.dir, "plain.db"))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(ours.Size())/float64(theirs.Size()), "x/plain")
}
