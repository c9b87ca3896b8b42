package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/patinadb/patina/api/client"
	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

const benchSchema = "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT);"

// BenchmarkPropagation: three idle node processes on loopback; from the answer
// to a write at the first to the row in the third one's file, as another process
// reads it. p50-ms and p99-ms of all writes.
func BenchmarkPropagation(b *testing.B) {
	agents := cluster(b, 3, benchSchema)
	propagate := propagation(b, agents[0], agents[2])
	var took []float64
	for i := 0; b.Loop(); i++ {
		took = append(took, propagate(i))
	}
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2], "p50-ms")
	b.ReportMetric(took[len(took)*99/100], "p99-ms")
}

// propagation returns a function that writes the row id at one node and returns
// the milliseconds from the answer until another process reads it in the file of
// another node. Calls are at least 5 ms apart.
func propagation(b testing.TB, from, to *agent) func(id int) float64 {
	b.Helper()
	reader, err := sqlite.Open(sqlite.Config{Path: to.file(), ReadOnly: true})
	if err != nil {
		b.Fatal(err)
	}
	idle := time.NewTicker(5 * time.Millisecond)
	b.Cleanup(func() { reader.Close(); idle.Stop() })
	present := func(id int) (found bool) {
		err := reader.Each("SELECT 1 FROM t WHERE id = ?", []changeset.Value{changeset.IntegerValue(int64(id))}, func(*sqlite.Stmt) error {
			found = true
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
		return found
	}
	return func(id int) float64 {
		<-idle.C
		from.exec(fmt.Sprintf("INSERT INTO t VALUES(%d, 'x')", id))
		begin := time.Now()
		for !present(id) {
			if time.Since(begin) > 10*time.Second {
				b.Fatalf("row %d never arrived", id)
			}
		}
		return time.Since(begin).Seconds() * 1000
	}
}

// BenchmarkHTTPWrite: one client's one-row writes through HTTP, against the same
// statement committed and fsynced through the same binding on a plain database,
// round by round. x/raw is the median of rate against rate.
func BenchmarkHTTPWrite(b *testing.B) {
	a := cluster(b, 1, benchSchema)[0]
	raw, err := sqlite.Open(sqlite.Config{Path: filepath.Join(a.dir, "raw.db"), Create: true})
	if err != nil {
		b.Fatal(err)
	}
	defer raw.Close()
	if err := raw.Exec(benchSchema); err != nil {
		b.Fatal(err)
	}
	const round = 100
	const sql = "INSERT INTO t VALUES(?, 'x')"
	var ratios []float64
	for next := 0; b.Loop(); next += round {
		begin := time.Now()
		for i := range round {
			answer, err := a.api.Transact(b.Context(), []client.Statement{{SQL: sql, Params: []changeset.Value{changeset.IntegerValue(int64(next + i))}}})
			if err == nil {
				err = answer.Err()
			}
			if err != nil {
				b.Fatal(err)
			}
		}
		ours := time.Since(begin)
		begin = time.Now()
		for i := range round {
			if err := raw.Each(sql, []changeset.Value{changeset.IntegerValue(int64(next + i))}, nil); err != nil {
				b.Fatal(err)
			}
		}
		ratios = append(ratios, time.Since(begin).Seconds()/ours.Seconds())
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "x/raw")
}
