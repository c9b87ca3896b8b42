package store

import (
	"errors"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// moveFunction is the SQL function of ours that moves a row's clock: one UPDATE
// reads and writes the clocks of a run of rows, where two statements a row cost
// three times as much.
const moveFunction = "patina_move_clock"

// clockRun is a run of rows with one rowid after the other whose clocks moveFunction
// moves.
type clockRun struct {
	*versionBuilder
	s       *tableStatements
	from    int64 // rowid of the first
	rows    []netRow
	changes []changeset.Change
	err     error // of the function: what comes through SQLite is no longer its own
}

// endOfRun returns the end of the run of rows from i on whose clocks moveFunction can
// move: i itself if not even that of row i. They are of rows that had one and keep
// its place.
func endOfRun(n *netTable, i int) (end int) {
	for end = i; end < len(n.rows); end++ {
		row := &n.rows[end]
		switch {
		case n.table.layout == layoutKey || row.effect == sqlite.OpInsert:
			return end
		case n.table.layout == layoutRowid && (row.effect == sqlite.OpDelete || row.was != row.is):
			return end // and goes to the tombstones, or to another rowid
		case end > i && n.clockID(end) != n.clockID(end-1)+1:
			return end
		}
	}
	return end
}

// clockID returns what the clock of row i goes by, a rowid.
func (n *netTable) clockID(i int) int64 {
	if n.table.layout == layoutInteger {
		return n.changes[i].Key[0].Integer()
	}
	return n.rows[i].was
}

// moveRun moves the clocks of the rows from first to before end, and completes
// their changes.
func (b *versionBuilder) moveRun(s *tableStatements, n *netTable, first, end int) error {
	w := b.writer
	run := &clockRun{versionBuilder: b, s: s, from: n.clockID(first), rows: n.rows[first:end], changes: n.changes[first:end]}
	st, err := w.use(&s.moveClocks)
	if err != nil {
		return err
	}
	if err := st.BindInteger(1, run.from); err != nil {
		return err
	}
	if err := st.BindInteger(2, run.from+int64(len(run.rows))-1); err != nil {
		return err
	}
	w.moving = run
	err = st.Run()
	w.moving = nil
	if run.err != nil {
		return run.err
	}
	if err != nil {
		return err
	}
	for i := range run.rows {
		row, ch := &run.rows[i], &run.changes[i]
		if ch.CausalLength != 0 {
			continue
		}
		// It has no clock there, or another row's: see change.
		if err := b.row(s, &rowRef{ch.Key, row.hash, row.was}, row.effect, ch); err != nil {
			return err
		}
	}
	return nil
}

// moveClock is moveFunction: of a rowid and the clock that is stored by it.
func (w *writer) moveClock(args []sqlite.Value) (sqlite.Value, error) {
	run := w.moving
	if run == nil {
		return sqlite.Value{}, errors.New("no clocks are being moved")
	}
	i := args[0].Integer() - run.from
	row, ch, k := &run.rows[i], &run.changes[i], &run.clock
	r := rowRef{ch.Key, row.hash, row.was}
	found, err := w.openClock(run.s, args[1].Bytes(), &r, k)
	if err == nil && (!found || row.effect == sqlite.OpUpdate && !k.CausalLength.Alive()) {
		return args[1], nil
	}
	if err == nil {
		err = run.advance(run.s, &r, row.effect, ch)
	}
	if err != nil {
		run.err = err
		return sqlite.Value{}, err
	}
	return changeset.BlobValue(w.sealClock(run.s, &r, k)), nil
}
