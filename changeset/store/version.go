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
	rows, err := w.capture.net()
	if err != nil || len(rows) == 0 {
		return err
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
	if c.Tables, err = b.tables(rows); err != nil {
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

// tables writes the clock of every row and returns the changes. The rows come
// sorted by table.
func (b *versionBuilder) tables(rows []netRow) (out []changeset.TableChanges, err error) {
	for len(rows) > 0 {
		t := rows[0].table
		n := 1
		for n < len(rows) && rows[n].table == t {
			n++
		}
		tc := changeset.TableChanges{Name: t.name, Generation: t.generation, Changes: make([]changeset.Change, n)}
		for _, i := range t.key {
			tc.Key = append(tc.Key, t.columns[i].name)
		}
		for _, i := range t.data {
			tc.Columns = append(tc.Columns, t.columns[i].name)
		}
		s := b.writer.statements(t)
		for i := range n {
			if tc.Changes[i], err = b.change(s, &rows[i]); err != nil {
				return nil, fmt.Errorf("clock of a row of %s: %w", t.name, err)
			}
		}
		out = append(out, tc)
		rows = rows[n:]
	}
	return out, nil
}

// change moves one row's clock and returns what goes into the changeset.
func (b *versionBuilder) change(s *tableStatements, row *netRow) (changeset.Change, error) {
	w, k := b.writer, &b.clock
	ch := changeset.Change{Key: row.key, Columns: row.columns, Values: row.values, CausalLength: 1}
	if row.effect == sqlite.OpInsert {
		k.CausalLength, k.Groups = 1, append(k.Groups[:0], changeset.Group{Columns: row.columns, Stamp: b.stamp})
		made, err := w.newClock(s, row.key, k)
		if made || err != nil {
			return ch, err
		}
	}
	found, err := w.readClock(s, row.key, k)
	if err != nil {
		return ch, err
	}
	if !found {
		k.CausalLength, k.Groups = 0, k.Groups[:0]
	} else {
		b.overwrite(k)
	}
	if row.effect == sqlite.OpUpdate && !k.CausalLength.Alive() {
		// The row came in without us, by an outside writer: it becomes known whole.
		if ch.Values, err = w.readRow(s, row.key); err != nil {
			return ch, err
		}
		row.effect, ch.Columns = sqlite.OpInsert, changeset.FirstColumns(len(ch.Values))
	}
	if b.move(k, row.effect, ch.Columns); k.CausalLength > changeset.MaxCausalLength {
		return ch, fmt.Errorf("%w: causal length %d is the last", errUnstampable, changeset.MaxCausalLength)
	}
	ch.CausalLength = k.CausalLength
	return ch, w.putClock(s, row.key, k)
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
func (w *writer) readRow(s *tableStatements, key []sqlite.Value) (values []sqlite.Value, err error) {
	st, err := w.bound(s.selectRow, key, nil)
	if err != nil {
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
