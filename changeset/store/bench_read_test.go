package store

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset/sqlite"
)

const (
	readBenchSchema  = "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b INTEGER, c REAL, d TEXT, e BLOB);"
	readBenchRows    = 50_000
	readBenchWriters = 32
	readBenchRound   = 200 * time.Millisecond
	readBenchRounds  = 30
)

// walFrameSize is that of SQLite's default page, in bytes.
const walFrameSize = 4096 + walHeader

// BenchmarkReadWhileWriting: point reads of the pool in a time while the writer
// is saturated, against reads in the same time alone, turn about: x/alone is the
// median of the rounds.
func BenchmarkReadWhileWriting(b *testing.B) {
	s, stop := readBenchStore(b)
	defer stop()
	var ratios, alone []float64
	{ // one round of seconds, whatever -benchtime says
		for range readBenchRounds {
			quiet := readFor(b, s, s.cfg.Readers, readBenchRound)
			halt := writeUntil(b, s)
			busy := readFor(b, s, s.cfg.Readers, readBenchRound)
			halt()
			ratios = append(ratios, busy/quiet)
			alone = append(alone, quiet)
		}
	}
	b.ReportMetric(median(ratios), "x/alone")
	b.ReportMetric(median(alone), "reads/s")
}

func readBenchStore(b *testing.B) (*Store, func()) {
	s, stop := benchStoreOf(b, readBenchSchema)
	fill := text("INSERT INTO t WITH RECURSIVE n(i) AS (SELECT ? UNION ALL SELECT i + 1 FROM n LIMIT 5000) "+
		"SELECT i, 'some text of row ' || i, i, i * 0.5, hex(randomblob(20)), randomblob(40) FROM n", 0)
	for i := 0; i < readBenchRows; i += 5000 {
		fill.Params[0] = value(i)
		if results, _, err := s.Transact(b.Context(), []sqlite.Statement{fill}); err != nil || results[0].Err != nil {
			b.Fatal(err, results)
		}
	}
	return s, stop
}

// discard is a sink that counts rows.
type discard struct{ rows int }

func (*discard) Columns([]string) error     { return nil }
func (d *discard) Row([]sqlite.Value) error { d.rows++; return nil }

// readFor reads rows by key with some clients, for a time, and returns the reads a
// second.
func readFor(b *testing.B, s *Store, clients int, d time.Duration) float64 {
	var done atomic.Int64
	var wait sync.WaitGroup
	begin := time.Now()
	for range clients {
		wait.Go(func() {
			var sink discard
			for time.Since(begin) < d {
				if err := s.Query(context.Background(), text("SELECT * FROM t WHERE id = ?", rand.IntN(readBenchRows)), &sink); err != nil {
					b.Error(err)
					return
				}
			}
			done.Add(int64(sink.rows))
		})
	}
	wait.Wait()
	return float64(done.Load()) / time.Since(begin).Seconds()
}

// writeUntil keeps the writer saturated until the returned function is called.
func writeUntil(b *testing.B, s *Store) (halt func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	for range readBenchWriters {
		wait.Go(func() {
			for ctx.Err() == nil {
				results, _, err := s.Transact(context.Background(), []sqlite.Statement{
					text("UPDATE t SET b = b + 1, d = hex(randomblob(20)) WHERE id = ?", rand.IntN(readBenchRows))})
				if err != nil || results[0].Err != nil {
					b.Error(err, results)
					return
				}
			}
		})
	}
	return func() { cancel(); wait.Wait() }
}
