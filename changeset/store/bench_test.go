package store

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset/sqlite"
)

// BenchmarkOneRowCommit compares one client's durable one-row transactions with
// the same statement committed and fsynced through the same binding on a plain
// database, round by round: x/raw is the median of rate against rate.
func BenchmarkOneRowCommit(b *testing.B) {
	s, stop := benchStore(b)
	defer stop()
	raw, err := sqlite.Open(sqlite.Config{Path: filepath.Join(b.TempDir(), "raw.db"), Create: true})
	if err != nil {
		b.Fatal(err)
	}
	defer raw.Close()
	if err := raw.Exec(benchSchema); err != nil {
		b.Fatal(err)
	}
	const sql = "INSERT INTO t(id, a, b) VALUES(?, ?, ?)"
	const round = 200
	next := 0
	var ratios []float64
	for b.Loop() {
		begin := time.Now()
		for i := range round {
			results, _, err := s.Transact(context.Background(), []sqlite.Statement{text(sql, next+i, "some text", i)})
			if err != nil || results[0].Err != nil {
				b.Fatal(err, results)
			}
		}
		ours := time.Since(begin)
		begin = time.Now()
		for i := range round {
			if err := raw.Each(sql, text(sql, next+i, "some text", i).Params, nil); err != nil {
				b.Fatal(err)
			}
			if frames := raw.WALFrames(); frames > walReset/walFrameSize {
				if _, _, err := raw.Checkpoint(false); err != nil {
					b.Fatal(err)
				}
			}
		}
		ratios = append(ratios, time.Since(begin).Seconds()/ours.Seconds())
		next += round
	}
	b.ReportMetric(median(ratios), "x/raw")
}

const benchSchema = "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b INTEGER);"

func benchStore(b *testing.B) (s *Store, stop func()) { return benchStoreOf(b, benchSchema) }

func benchStoreOf(b *testing.B, sql string) (s *Store, stop func()) {
	s, err := Open(b.Context(), Config{Path: filepath.Join(b.TempDir(), "node.db"), Schema: schemaOf(sql)})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return s, func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	}
}

func median(x []float64) float64 {
	sorted := append([]float64(nil), x...)
	for i := range sorted {
		for j := i; j > 0 && sorted[j] < sorted[j-1]; j-- {
			sorted[j], sorted[j-1] = sorted[j-1], sorted[j]
		}
	}
	return sorted[len(sorted)/2]
}
