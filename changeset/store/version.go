package store

import (
	"fmt"
	"slices"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/hlc"
	"github.com/patinadb/patina/changeset/sqlite"
)

// finish turns what the group's requests did into one version of ours: row
// clocks, changeset, log entry. No net effect makes no version.
func (g *group) finish() error {
	w := g.writer
	tables, err := w.capture.fold()
	if err != nil {
		return err
	}
	w.resetDeltas()
	if !anyRow(tables) {
		return moveAll(w, tables)
	}
	own := w.actors.self
	if _, err := w.ordinal(own); err != nil {
		return err
	}
	e := w.vector.Entry(own)
	b := &versionBuilder{writer: w, after: map[changeset.ActorID]changeset.Version{}}
	b.stamp = changeset.Stamp{Time: max(w.clock.Now(), g.floor+1), Actor: own, Version: e.Applied.Last() + 1}
	if b.stamp.Time > hlc.Max || b.stamp.Version > changeset.MaxVersion {
		return fmt.Errorf("%w: no stamp is left above %v", errUnstampable, g.floor)
	}
	c := &changeset.Changeset{Header: changeset.Header{Actor: own, Version: b.stamp.Version, Time: b.stamp.Time, Previous: e.Head}}
	if c.Tables, err = b.tables(tables); err != nil {
		return err
	}
	if b.behind.Time != 0 {
		return &behindError{b.behind}
	}
	c.After = b.afterList()
	if g.sealed, err = changeset.Seal(c); err != nil {
		return err
	}
	if err := w.writeLog(g.sealed); err != nil {
		return err
	}
	w.markApplied(g.sealed)
	g.id = g.sealed.ID()
	if g.floor == 0 {
		return nil
	}
	w.meta.forced, w.meta.mark = g.id.Version, w.clock.Last()
	return w.writeMeta()
}

// versionBuilder writes the clocks of one local version and collects its
// changes.
type versionBuilder struct {
	writer *writer
	stamp  changeset.Stamp
	after  map[changeset.ActorID]changeset.Version
	behind changeset.Stamp // the highest at or above ours, zero if there is none
	clock  changeset.Clock
}

// anyRow reports whether some row changed in a way that peers hear of.
func anyRow(tables []netTable) bool {
	return slices.ContainsFunc(tables, func(t netTable) bool { return len(t.changes) > 0 })
}

// moveAll takes clocks along with rows that got another rowid and nothing else.
func moveAll(w *writer, tables []netTable) error {
	b := &versionBuilder{writer: w}
	_, err := b.tables(tables)
	return err
}

// tables writes the clock of every row and returns the changes.
func (b *versionBuilder) tables(tables []netTable) (out []changeset.TableChanges, err error) {
	for i := range tables {
		n := &tables[i]
		s, err := b.writer.statements(n.table)
		if err != nil {
			return nil, err
		}
		if err := b.table(s, n); err != nil {
			return nil, fmt.Errorf("clock of a row of %s: %w", n.table.name, err)
		}
		out = append(out, changeset.TableChanges{Name: n.table.name, Generation: n.table.generation, Key: s.keyNames, Columns: s.dataNames, Changes: n.changes})
	}
	return out, nil
}

// table writes the clocks of one table. Rowids are used again: where clocks go by
// them, those of rows that left a rowid go before any is written.
func (b *versionBuilder) table(s *tableStatements, n *netTable) error {
	var taken []changeset.Clock // of rows that moved, in the order of rows, then of n.moved
	if n.table.layout == layoutRowid {
		var err error
		if taken, err = b.leave(s, n); err != nil {
			return err
		}
	}
	for i := 0; i < len(n.rows); i++ {
		row, ch := &n.rows[i], &n.changes[i]
		r := rowRef{ch.Key, row.hash, row.is}
		switch end := endOfRun(n, i); {
		case end > i:
			if err := b.moveRun(s, n, i, end); err != nil {
				return err
			}
			i = end - 1
			continue
		case n.table.layout == layoutRowid && row.effect == sqlite.OpDelete:
			continue // leave did it
		case n.table.layout == layoutRowid && row.effect == sqlite.OpUpdate && row.was != row.is:
			b.clock, taken = taken[0], taken[1:]
			if err := b.change(s, &r, row.effect, ch, nowhere); err != nil {
				return err
			}
			continue
		}
		if err := b.row(s, &r, row.effect, ch); err != nil {
			return err
		}
	}
	for i := range n.moved {
		m := &n.moved[i]
		if taken[i].CausalLength == 0 {
			continue // a row that an outside writer made: it has no clock
		}
		if err := b.writer.putClock(s, &rowRef{m.key, m.hash, m.is}, &taken[i], nowhere); err != nil {
			return err
		}
	}
	return nil
}

// leave takes the clocks of rows that are gone from their rowid: it writes the
// tombstones of the deleted and returns the clocks of those that moved.
func (b *versionBuilder) leave(s *tableStatements, n *netTable) (taken []changeset.Clock, err error) {
	take := func(r *rowRef) error {
		k := changeset.Clock{}
		at, err := b.writer.readClock(s, r, &k)
		if err != nil {
			return err
		}
		taken = append(taken, k)
		if at == amongLiving {
			err = b.writer.dropClock(s, r)
		}
		return err
	}
	for i := range n.rows {
		row, ch := &n.rows[i], &n.changes[i]
		r := rowRef{ch.Key, row.hash, row.was}
		switch {
		case row.effect == sqlite.OpDelete:
			err = b.row(s, &r, row.effect, ch)
		case row.effect == sqlite.OpUpdate && row.was != row.is:
			err = take(&r)
		}
		if err != nil {
			return nil, err
		}
	}
	for i := range n.moved {
		m := &n.moved[i]
		if err := take(&rowRef{m.key, m.hash, m.was}); err != nil {
			return nil, err
		}
	}
	return taken, nil
}

// row moves the clock of one row and completes its change.
func (b *versionBuilder) row(s *tableStatements, r *rowRef, effect sqlite.Op, ch *changeset.Change) (err error) {
	w, k := b.writer, &b.clock
	at := nowhere
	if effect == sqlite.OpInsert {
		k.CausalLength, k.Groups = 1, append(k.Groups[:0], changeset.Group{Columns: ch.Columns, Stamp: b.stamp})
		ch.CausalLength = 1
		if s.table.layout == layoutRowid {
			if at, err = w.readTomb(s, r, k); err == nil && at == nowhere {
				w.addDelta(s, r, k)
				return w.putClock(s, r, k, nowhere)
			}
		} else {
			made, err := w.newClock(s, r, k)
			if made {
				w.addDelta(s, r, k)
			}
			if made || err != nil {
				return err
			}
			at, err = w.readClock(s, r, k)
		}
	} else {
		at, err = w.readClock(s, r, k)
	}
	if err != nil {
		return err
	}
	if at == nowhere {
		k.CausalLength, k.Groups = 0, k.Groups[:0]
	}
	return b.change(s, r, effect, ch, at)
}

// change moves b.clock, which was found at a place, by what happened to its row,
// and writes it.
func (b *versionBuilder) change(s *tableStatements, r *rowRef, effect sqlite.Op, ch *changeset.Change, at place) (err error) {
	w, k := b.writer, &b.clock
	if effect == sqlite.OpUpdate && !k.CausalLength.Alive() {
		// The row came in without us, by an outside writer: it becomes known whole.
		if ch.Values, err = w.readRow(s, r); err != nil {
			return err
		}
		effect, ch.Columns = sqlite.OpInsert, changeset.FirstColumns(len(ch.Values))
	}
	if err := b.advance(s, r, effect, ch); err != nil {
		return err
	}
	return w.putClock(s, r, k, at)
}

// advance moves b.clock by what happened to its row, in memory.
func (b *versionBuilder) advance(s *tableStatements, r *rowRef, effect sqlite.Op, ch *changeset.Change) error {
	w, k := b.writer, &b.clock
	w.subDelta(s, r, k)
	b.overwrite(k)
	if b.move(k, effect, ch.Columns); k.CausalLength > changeset.MaxCausalLength {
		return fmt.Errorf("%w: causal length %d is the last", errUnstampable, changeset.MaxCausalLength)
	}
	ch.CausalLength = k.CausalLength
	w.addDelta(s, r, k)
	return nil
}

// move applies a local effect to a clock. Our stamp is above all that it
// overwrites, or finish gives up (overwrite saw to it), so nothing is compared.
func (b *versionBuilder) move(k *changeset.Clock, effect sqlite.Op, columns changeset.ColumnSet) {
	switch effect {
	case sqlite.OpUpdate:
		k.Cover(columns, b.stamp)
		return
	case sqlite.OpInsert:
		k.CausalLength = (k.CausalLength + 1) | 1 // the next odd
	case sqlite.OpDelete:
		k.CausalLength = (k.CausalLength + 2) &^ 1 // the next even
	}
	k.Groups = append(k.Groups[:0], changeset.Group{Columns: columns, Stamp: b.stamp})
}

// overwrite notes the stamps of a clock that the version goes over: they enter
// `after`, and the version must be stamped above them all. If one is not below,
// finish gives up in the end, when the highest of them is known: a request that
// overwrites many runs once more and not once for each.
func (b *versionBuilder) overwrite(k *changeset.Clock) {
	for _, g := range k.Groups {
		s := g.Stamp
		if s.Time >= b.stamp.Time && s.Time > b.behind.Time {
			b.behind = s
		}
		b.after[s.Actor] = max(b.after[s.Actor], s.Version)
	}
}

func (b *versionBuilder) afterList() []changeset.ID {
	out := make([]changeset.ID, 0, len(b.after))
	for a, v := range b.after {
		out = append(out, changeset.ID{Actor: a, Version: v})
	}
	slices.SortFunc(out, func(x, y changeset.ID) int { return x.Actor.Compare(y.Actor) })
	return out
}

// readRow reads the data columns of a row, none if it is not there.
func (w *writer) readRow(s *tableStatements, r *rowRef) (values []sqlite.Value, err error) {
	st, err := w.use(&s.selectRow)
	if err != nil {
		return nil, err
	}
	if err := s.bindClock(st, r); err != nil {
		return nil, err
	}
	defer st.Reset()
	if row, err := st.Step(); err != nil || !row {
		return nil, err
	}
	for d := range s.table.data {
		values = append(values, st.Column(d))
	}
	return values, nil
}
