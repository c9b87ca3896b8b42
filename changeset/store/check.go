package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// Difference is a way in which a database disagrees with itself.
type Difference string

// The differences that Check looks for. Those that repairable names are what
// Repair can make whole.
const (
	DamagedFile      Difference = "SQLite finds the file damaged"
	RowWithoutClock  Difference = "rows without a clock"
	ClockWithoutRow  Difference = "clocks of living rows without a row"
	DeadClockWithRow Difference = "clocks of deleted rows whose key has a row"
	ClockOfOtherKey  Difference = "clocks at the row of another key"
	NoClockTable     Difference = "no table of clocks"
	LostTable        Difference = "no longer the table that replicates"
	WrongSum         Difference = "the clock sum that is kept is not that of the clocks"
	DamagedClock     Difference = "clocks that cannot be read"
	UnusableKey      Difference = "rows whose key cannot replicate"
	DamagedLog       Difference = "log entries that cannot be read"
	DamagedParked    Difference = "parked changesets that cannot be read"
	BrokenChain      Difference = "log entries that do not follow the one before"
	WrongVector      Difference = "what is recorded as applied is not what the log holds"
)

// repairable are the differences of local clocks, which Repair makes whole. For
// the rest the truth is elsewhere: at the peers, or in a backup.
var repairable = map[Difference]bool{
	RowWithoutClock: true, ClockWithoutRow: true, DeadClockWithRow: true, ClockOfOtherKey: true, NoClockTable: true, WrongSum: true, DamagedClock: true,
}

// maxExamples bounds the examples of one Finding; all are counted.
const maxExamples = 10

// Finding is one kind of difference in one table, or in the log.
type Finding struct {
	Table    string // "" if it is not one of a table
	What     Difference
	Count    int64
	Examples []string // keys as SQL literals, or versions; the first few
}

// Repairable reports whether Repair tries to make it whole.
func (f Finding) Repairable() bool { return repairable[f.What] }

// Report is what Check found.
type Report struct {
	Actor                     changeset.ActorID
	Tables                    int // replicated
	Rows, Clocks, Log, Parked int64
	Findings                  []Finding
}

// Clean reports that nothing differs.
func (r *Report) Clean() bool { return len(r.Findings) == 0 }

// add counts a difference.
func (r *Report) add(table string, what Difference, example string) {
	i := 0
	for i < len(r.Findings) && (r.Findings[i].Table != table || r.Findings[i].What != what) {
		i++
	}
	if i == len(r.Findings) {
		r.Findings = append(r.Findings, Finding{Table: table, What: what})
	}
	f := &r.Findings[i]
	if f.Count++; len(f.Examples) < maxExamples && example != "" {
		f.Examples = append(f.Examples, example)
	}
}

// Check compares the database of a stopped node with itself: SQLite's
// quick_check, then every table's rows with their clocks and the clocks with the
// kept sum, then the log with what is recorded as applied. It changes no byte of
// the file and fails with ErrInUse while a node runs on it. Damage that SQLite
// finds ends it, since what is read then proves nothing.
func Check(ctx context.Context, cfg Config) (*Report, error) {
	how := sqlite.Config{ReadOnly: true, KeepJournal: true, KeepWAL: hasWAL(cfg.Path)}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s, err := openOffline(cfg, how)
	if err != nil {
		return nil, err
	}
	stop := s.writer.conn.InterruptOn(ctx)
	r, err := s.writer.check()
	stop()
	if err != nil {
		err = fmt.Errorf("check %s: %w", cfg.Path, err)
	}
	return r, errors.Join(err, s.closeOffline())
}

// hasWAL reports whether there is something in the -wal beside the database. An
// empty one may go with the last connection, and should.
func hasWAL(path string) bool {
	info, err := os.Stat(path + "-wal")
	return err == nil && info.Size() > 0
}

func (w *writer) check() (*Report, error) {
	// What peers sent need not pass a CHECK here.
	if err := w.conn.SetIgnoreChecks(true); err != nil {
		return nil, err
	}
	if err := w.conn.Exec("BEGIN"); err != nil { // one snapshot for all
		return nil, err
	}
	r := &Report{}
	err := w.eachDamage(func(line string) error { r.add("", DamagedFile, line); return nil })
	if errors.Is(err, sqlite.ErrCorrupt) {
		r.add("", DamagedFile, err.Error())
		err = nil
	}
	if err != nil || !r.Clean() {
		return r, err
	}
	if err := w.readOurs(); err != nil {
		return nil, err
	}
	r.Actor = w.meta.actor
	err = w.loadState()
	if err == nil {
		err = w.loadParked()
	}
	if err != nil { // compared is what could be read
		r.add("", WrongVector, err.Error())
		w.vector, w.sums = nil, nil
	}
	if err := w.checkTables(r); err != nil {
		return nil, err
	}
	return r, w.checkLog(r)
}

func (w *writer) checkTables(r *Report) error {
	known, _, err := w.knownSums(w.schema)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(w.schema.lost)) {
		r.add(name, LostTable, w.schema.lost[name])
	}
	for _, t := range w.schema.sorted() {
		missing, foreign, err := w.clockTableFault(t)
		switch {
		case err != nil:
			return err
		case foreign:
			r.add(t.name, LostTable, anotherKey+lostAdvice)
			continue
		case missing:
			r.Tables++
			r.add(t.name, NoClockTable, "")
			continue
		}
		r.Tables++
		c := &tableCheck{w: w, t: t, report: r, summer: newSummer(t)}
		if err := c.run(); err != nil {
			return fmt.Errorf("table %s: %w", t.name, err)
		}
		columns, kept := known[t]
		if kept = kept && t.sum < len(w.sums); kept && bytes.Equal(columns, columnNames(t)) && w.sums[t.sum] != c.sum {
			r.add(t.name, WrongSum, fmt.Sprintf("kept %x, of the clocks %x", changeset.AppendSum(nil, w.sums[t.sum]), changeset.AppendSum(nil, c.sum)))
		}
	}
	return nil
}

// tableCheck compares the rows of one table with their clocks.
type tableCheck struct {
	w      *writer
	t      *table
	report *Report
	summer *changeset.Summer
	sum    changeset.Sum // of the clocks that can be read and have a row, or need none
	clock  changeset.Clock
}

func (c *tableCheck) run() error {
	if err := c.rows(); err != nil {
		return err
	}
	if c.t.layout != layoutRowid {
		return c.clocksByKey()
	}
	if err := c.clocksWithoutRow(); err != nil {
		return err
	}
	return c.tombs()
}

// rows looks for the clock of every row.
func (c *tableCheck) rows() error {
	keys := len(c.t.key)
	return c.w.conn.Each(rowClockSQL(c.t, nil, ""), nil, func(st *sqlite.Stmt) error {
		c.report.Rows++
		key := columnValues(st, keys)
		if fault := keyFault(c.t, key); fault != "" {
			c.report.add(c.t.name, UnusableKey, printKey(key)+": "+fault)
			return nil
		}
		switch state := c.w.clockOfRow(c.t, st, &c.clock); state {
		case clockMissing:
			c.report.add(c.t.name, RowWithoutClock, printKey(key))
		case clockOfOther:
			c.report.add(c.t.name, ClockOfOtherKey, printKey(key))
		case clockDead:
			c.report.add(c.t.name, DeadClockWithRow, printKey(key))
		case clockDamaged:
			c.damaged(key)
		case clockFits:
			c.count(key)
		}
		return nil
	})
}

// damaged notes a clock that cannot be read; where living and dead share a table,
// clocksByKey does.
func (c *tableCheck) damaged(key []sqlite.Value) {
	if c.t.layout == layoutRowid {
		c.report.add(c.t.name, DamagedClock, printKey(key))
	}
}

// count adds c.clock to the sum; where living and dead share a table, clocksByKey
// does.
func (c *tableCheck) count(key []sqlite.Value) {
	if c.t.layout == layoutRowid {
		c.report.Clocks++
		c.sum.Add(c.summer.Clock(hashKey(key), &c.clock))
	}
}

// clocksByKey reads all clocks of a table that keeps the living and the dead
// together, and looks for the rows of the living.
func (c *tableCheck) clocksByKey() error {
	keys := len(c.t.key)
	sql := "SELECT c.*, EXISTS(SELECT 1 FROM " + quoteIdent(c.t.name) + " t WHERE " + clockJoin(c.t) + ") FROM " + quoteIdent(clockTable(c.t)) + " c"
	return c.w.conn.Each(sql, nil, func(st *sqlite.Stmt) error {
		c.report.Clocks++
		key := columnValues(st, keys)
		if err := c.w.readStored(c.t, st.View(keys), &c.clock); err != nil {
			c.report.add(c.t.name, DamagedClock, printKey(key))
			return nil
		}
		c.sum.Add(c.summer.Clock(hashKey(key), &c.clock))
		if c.clock.CausalLength.Alive() && st.Integer(keys+1) == 0 {
			c.report.add(c.t.name, ClockWithoutRow, printKey(key))
		}
		return nil
	})
}

// clocksWithoutRow looks at the clocks by rowid that no row has. Of their keys
// only a hash is known.
func (c *tableCheck) clocksWithoutRow() error {
	sql := "SELECT c.rid, c.m FROM " + quoteIdent(clockTable(c.t)) + " c WHERE NOT EXISTS(SELECT 1 FROM " + quoteIdent(c.t.name) + " t WHERE " + clockJoin(c.t) + ")"
	return c.w.conn.Each(sql, nil, func(st *sqlite.Stmt) error {
		c.report.Clocks++
		c.report.add(c.t.name, ClockWithoutRow, fmt.Sprintf("rowid %d", st.Integer(0)))
		return nil
	})
}

// tombs reads the clocks of deleted rows that have a table of their own.
func (c *tableCheck) tombs() error {
	keys := len(c.t.key)
	return c.w.conn.Each("SELECT * FROM "+quoteIdent(tombTable(c.t)), nil, func(st *sqlite.Stmt) error {
		c.report.Clocks++
		key := columnValues(st, keys)
		if err := c.w.readStored(c.t, st.View(keys), &c.clock); err != nil || c.clock.CausalLength.Alive() {
			c.report.add(c.t.name, DamagedClock, printKey(key))
			return nil
		}
		c.sum.Add(c.summer.Clock(hashKey(key), &c.clock))
		return nil
	})
}

// printKey prints a key as SQL literals, within reason.
func printKey(key []sqlite.Value) string {
	const most = 120
	parts := make([]string, len(key))
	for i, v := range key {
		parts[i] = v.String()
	}
	s := strings.Join(parts, ", ")
	if len(s) > most {
		s = s[:most] + "…"
	}
	return s
}
