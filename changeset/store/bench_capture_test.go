package store

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset/sqlite"
)

// benchRows is how many rows the tables of the benchmarks hold at first.
const benchRows = 50_000

// benchRound is about how many rows one side writes in one round.
const benchRound = 2000

// wideSchema is the table of the benchmarks: six columns.
func wideSchema(key string) string {
	return "CREATE TABLE t(id " + key + " PRIMARY KEY, a TEXT NOT NULL DEFAULT '', b TEXT, c INTEGER, d REAL, e TEXT);"
}

// benchKeyName names the kinds of key in the names of the benchmarks.
var benchKeyName = map[string]string{"INTEGER": "int", "TEXT": "text"}

// benchKey returns the i-th key: its number, or a text of 20 bytes that is in no order.
func benchKey(key string, i int) any {
	if key == "TEXT" {
		return fmt.Sprintf("node-%08x/%06d", uint32(i)*2654435761, i)
	}
	return i
}

// wideRow is the statement that inserts the i-th row.
func wideRow(key string, i int) sqlite.Statement {
	return text("INSERT INTO t(id, a, b, c, d, e) VALUES(?, ?, ?, ?, ?, ?)", benchKey(key, i), fmt.Sprintf("service-%06d", i),
		fmt.Sprintf("10.%d.%d.%d", i>>16&255, i>>8&255, i&255), i*1000003, float64(i)/3, fmt.Sprintf(`{"region":"iad","id":%d}`, i*7919))
}

// benchWrites are the statements that capture and apply are measured on. Each
// gets a number that never repeats and says which rows there are.
var benchWrites = []struct {
	name  string
	write func(key string, i int) sqlite.Statement
}{
	{"insert", func(key string, i int) sqlite.Statement { return wideRow(key, benchRows+i) }},
	{"update", func(key string, i int) sqlite.Statement {
		return text("UPDATE t SET c = ? WHERE id = ?", i+7, benchKey(key, i*7919%benchRows))
	}},
	{"delete", func(key string, i int) sqlite.Statement {
		return text("DELETE FROM t WHERE id = ?", benchKey(key, i))
	}},
}

// spent is the processor time of the process, user and system, that f takes. The
// collector starts from a clean heap, so that neither side pays for the other.
func spent(b *testing.B, f func()) time.Duration {
	runtime.GC()
	now := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	begin := now()
	f()
	return now() - begin
}

// plainDB is a database without us, driven through the same binding.
type plainDB struct {
	*sqlite.Conn
	dir string
}

func openPlain(b *testing.B, schema string) plainDB {
	dir := b.TempDir()
	c, err := sqlite.Open(sqlite.Config{Path: filepath.Join(dir, "plain.db"), Create: true, CacheBytes: writerCache})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	if err := c.Exec(schema); err != nil {
		b.Fatal(err)
	}
	return plainDB{c, dir}
}

// transact runs the statements as one durable transaction, and moves the WAL
// into the file where the store would.
func (p plainDB) transact(b *testing.B, statements []sqlite.Statement) {
	if err := p.Each("BEGIN IMMEDIATE", nil, nil); err != nil {
		b.Fatal(err)
	}
	for i := range statements {
		if err := p.Each(statements[i].SQL, statements[i].Params, nil); err != nil {
			b.Fatal(err)
		}
	}
	if err := p.Each("COMMIT", nil, nil); err != nil {
		b.Fatal(err)
	}
	if p.WALFrames() > walReset/walFrameSize {
		if _, _, err := p.Checkpoint(false); err != nil {
			b.Fatal(err)
		}
	}
}

// statementsOf makes the transactions of one round.
func statementsOf(write func(string, int) sqlite.Statement, key string, from, rows, each int) (out [][]sqlite.Statement) {
	for i := 0; i < rows; i += each {
		group := make([]sqlite.Statement, each)
		for j := range group {
			group[j] = write(key, from+i+j)
		}
		out = append(out, group)
	}
	return out
}

// BenchmarkCapture is the price of a local write: processor time of the store
// against the same statements on a plain database, durable on both sides.
func BenchmarkCapture(b *testing.B) {
	for _, key := range []string{"INTEGER", "TEXT"} {
		for _, w := range benchWrites {
			for _, each := range []int{1, 10, 1000} {
				b.Run(fmt.Sprintf("%s/%s/%d", benchKeyName[key], w.name, each), func(b *testing.B) { benchCapture(b, key, w.write, each) })
			}
		}
	}
}

func benchCapture(b *testing.B, key string, write func(string, int) sqlite.Statement, each int) {
	s, stop := benchStoreOf(b, wideSchema(key))
	defer stop()
	plain := openPlain(b, wideSchema(key))
	for _, group := range statementsOf(wideRow, key, 0, benchRows, 1000) {
		mustTransact(b, s, group)
		plain.transact(b, group)
	}
	rows := benchRound
	if each == 1 {
		rows = benchRound / 4
	}
	next := 0
	var ratios []float64
	for b.Loop() {
		if next+rows > benchRows {
			b.Fatal("more rounds than rows: use a smaller -benchtime")
		}
		groups := statementsOf(write, key, next, rows, each)
		next += rows
		ours := spent(b, func() {
			for _, group := range groups {
				mustTransact(b, s, group)
			}
		})
		theirs := spent(b, func() {
			for _, group := range groups {
				plain.transact(b, group)
			}
		})
		ratios = append(ratios, float64(ours)/float64(theirs))
	}
	b.ReportMetric(median(ratios), "x/plain")
}

func mustTransact(b *testing.B, s *Store, group []sqlite.Statement) {
	results, _, err := s.Transact(context.Background(), group)
	if err != nil || results[len(results)-1].Err != nil {
		b.Fatal(err, results)
	}
}
