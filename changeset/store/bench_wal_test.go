package store

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/hlc"
	"github.com/patinadb/patina/changeset/sqlite"
)

// BenchmarkWALUnderLoad: the largest -wal in MiB while the writer is saturated, two
// clients read rows by key and two read whole tables; 60 s with -long, else 5 s.
// Its size is the file's, by stat: what it once had it keeps until it is cut.
func BenchmarkWALUnderLoad(b *testing.B) {
	length := 5 * time.Second
	if *long {
		length = time.Minute
	}
	s, stop := readBenchStore(b)
	defer stop()
	var largest int64
	var written int
	{ // one round of seconds, whatever -benchtime says
		begin, first := time.Now(), s.Vector().Entry(s.Actor()).Applied.Last()
		halt := writeUntil(b, s)
		scans := scanUntil(b, s, 2)
		done := make(chan struct{})
		go func() { defer close(done); readFor(b, s, 2, length) }()
		ticks := time.NewTicker(5 * time.Millisecond)
		for reading := true; reading; {
			select {
			case <-ticks.C:
			case <-done:
				reading = false
			}
			info, err := os.Stat(s.cfg.Path + "-wal")
			if err != nil {
				b.Fatal(err)
			}
			largest = max(largest, info.Size(), s.WAL().Bytes)
		}
		ticks.Stop()
		scans()
		halt()
		written = int(float64(s.Vector().Entry(s.Actor()).Applied.Last()-first) / time.Since(begin).Seconds())
	}
	b.ReportMetric(float64(largest)/(1<<20), "MiB")
	b.ReportMetric(float64(written), "versions/s")
}

// scanUntil keeps clients reading the whole table until the returned function is
// called.
func scanUntil(b *testing.B, s *Store, clients int) (halt func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	for range clients {
		wait.Go(func() {
			for ctx.Err() == nil {
				if err := s.Query(context.Background(), text("SELECT sum(b), max(d) FROM t"), &discard{}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	return func() { cancel(); wait.Wait() }
}

const (
	streamRows  = 1_000_000
	streamBatch = 1000 // rows of a changeset, as a bulk load has them
)

// BenchmarkApplyMemory: how many MiB of memory more are resident, at most, while
// a stream of 1,000,000 rows is applied than before it. A sender's memory is not
// in it but for one changeset.
func BenchmarkApplyMemory(b *testing.B) {
	if _, ok := resident(); !ok {
		b.Skip("this system does not tell a process's resident memory")
	}
	var growth int64
	{ // one round of seconds, whatever -benchtime says
		s, stop := benchStoreOf(b, readBenchSchema)
		debug.FreeOSMemory()
		before, _ := resident()
		var most atomic.Int64
		done, watched := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(watched)
			ticks := time.NewTicker(10 * time.Millisecond)
			defer ticks.Stop()
			for {
				now, _ := resident()
				most.Store(max(most.Load(), now))
				select {
				case <-ticks.C:
				case <-done:
					return
				}
			}
		}()
		applyStream(b, s)
		close(done)
		<-watched
		growth = max(growth, most.Load()-before)
		stop()
	}
	b.ReportMetric(float64(growth)/(1<<20), "MiB")
}

// applyStream gives s the rows as broadcast does, and waits where it refuses.
func applyStream(b *testing.B, s *Store) {
	actor, at := changeset.NewActorID(), testTime()
	var previous changeset.Hash
	for i := range streamRows / streamBatch {
		sealed := streamChangeset(b, actor, at, i, previous)
		previous = sealed.Hash
		if s.TryApply(sealed) {
			continue
		}
		if err := s.Apply(context.Background(), []changeset.Sealed{sealed}); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Apply(context.Background(), nil); err != nil {
		b.Fatal(err)
	}
	if n := s.Vector().Entry(actor).Applied.Last(); n != streamRows/streamBatch {
		b.Fatal(n, "versions were applied")
	}
}

func streamChangeset(b *testing.B, actor changeset.ActorID, at hlc.Timestamp, i int, previous changeset.Hash) changeset.Sealed {
	tc := changeset.TableChanges{Name: "t", Generation: 1, Key: []string{"id"}, Columns: []string{"a", "b", "c", "d", "e"}}
	for j := range streamBatch {
		id := i*streamBatch + j
		tc.Changes = append(tc.Changes, changeset.Change{
			Key: []sqlite.Value{value(id)}, CausalLength: 1, Columns: changeset.FirstColumns(5),
			Values: []sqlite.Value{value(fmt.Sprint("some text of row ", id)), value(id), value(float64(id) / 2), value(fmt.Sprintf("%040x", id)), value(bytes.Repeat([]byte{byte(id)}, 40))},
		})
	}
	s, err := changeset.Seal(&changeset.Changeset{
		Header: changeset.Header{Actor: actor, Version: changeset.Version(i + 1), Time: at + hlc.Timestamp(i), Previous: previous},
		Tables: []changeset.TableChanges{tc},
	})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// resident returns the bytes of this process that are in memory.
func resident() (int64, bool) {
	text, err := os.ReadFile("/proc/self/statm")
	var total, pages int64
	if err == nil {
		_, err = fmt.Sscan(string(text), &total, &pages)
	}
	return pages * int64(os.Getpagesize()), err == nil
}
