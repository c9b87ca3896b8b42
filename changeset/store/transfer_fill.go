package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/sync/versions"
)

// State transfer, the side that takes (DESIGN section 6). Rows are merged by their
// clocks as they come, and count as no version. When the last has come, the versions
// that the source had before the first count as applied, in one step. The store is
// being filled until it also holds what the source had at each later part: till then
// a row can show half of a transaction. How far it came is in the file, in the
// transaction that made it so.

// Fill is the state of a database that is being filled. It does not change.
type Fill struct {
	Source changeset.ActorID // who gives the rows
	First  *versions.Vector  // of the source, before the first part
	Goal   *versions.Vector  // what has to be held in the end
	Cursor []byte            // where the source goes on; nil at the begin
	Rows   int64             // that came
	// Complete: all rows came, and First counts as applied.
	Complete bool
}

// Settled reports whether Settle was ever called on this file. It may be called from any
// goroutine.
func (s *Store) Settled() bool { return s.settled.Load() }

// Settle writes down that the database was complete once, as far as its node knows.
func (s *Store) Settle(ctx context.Context) error {
	var failure error
	err := s.do(ctx, func() {
		w := s.writer
		failure = w.transaction(func() error { return w.writeValue("settled", changeset.IntegerValue(1)) })
		if failure == nil {
			s.settled.Store(true)
		}
	})
	return errors.Join(err, failure)
}

// errNotFilling: nobody began.
var errNotFilling = errors.New("store: not being filled")

// Filling returns how far the transfer of state into this store is, nil if there is
// none. It may be called from any goroutine.
func (s *Store) Filling() *Fill { return s.filling.Load() }

// BeginFill begins to take the state of a peer, whose vector was first and whose
// tables must all be here, with their columns; an error says which is not. A transfer
// in progress is given up; what it merged stays merged, and its goal stays one.
func (s *Store) BeginFill(ctx context.Context, source changeset.ActorID, first *versions.Vector, tables []changeset.StateBlock) error {
	first = first.AppliedOnly()
	return s.fill(ctx, func(w *writer) (*Fill, error) {
		c := &changeset.Changeset{}
		for i := range tables {
			t := &tables[i]
			c.Tables = append(c.Tables, changeset.TableChanges{Name: t.Name, Generation: t.Generation, Key: t.Key, Columns: t.Columns})
		}
		if err := w.misfit(c); err != nil {
			return nil, fmt.Errorf("the schema here cannot hold the state of %v: %w", source, err)
		}
		f := &Fill{Source: source, First: first, Goal: first}
		if was := s.Filling(); was != nil {
			f.Goal = unite(was.Goal, first)
		}
		return f, nil
	})
}

// FillPart merges a part's rows and notes where the next begins.
func (s *Store) FillPart(ctx context.Context, p StatePart) error {
	var block *changeset.StateBlock
	if p.Block != nil {
		var err error
		if block, err = changeset.DecodeState(p.Block); err != nil {
			return fmt.Errorf("state: %w", err)
		}
	}
	return s.fill(ctx, func(w *writer) (*Fill, error) {
		f := s.Filling()
		if f == nil || f.Complete {
			return nil, errNotFilling
		}
		next := *f
		next.Cursor, next.Goal = p.Next, unite(f.Goal, p.Vector)
		if block != nil {
			next.Rows += int64(len(block.Rows))
			if err := w.mergeState(block); err != nil {
				return nil, err
			}
		}
		if p.Next != nil {
			return &next, nil
		}
		next.Complete = true
		return &next, w.takeVector(f.First)
	})
}

// SettleFill ends the transfer if everything that it brought is held whole, and
// returns what still lacks otherwise.
func (s *Store) SettleFill(ctx context.Context) (lacks []versions.Need, err error) {
	f := s.Filling()
	if f == nil {
		return nil, nil
	}
	if lacks = versions.Missing(s.Vector().AppliedOnly(), f.Goal); len(lacks) > 0 || !f.Complete {
		return lacks, nil
	}
	return nil, s.EndFill(ctx)
}

// EndFill gives up what is still lacking of a transfer.
func (s *Store) EndFill(ctx context.Context) error {
	return s.fill(ctx, func(*writer) (*Fill, error) { return nil, nil })
}

// fill runs one step of a transfer in a transaction on the writer, in a turn of what is
// applied: f returns how far
// it is then, nil if it is at its end.
func (s *Store) fill(ctx context.Context, f func(*writer) (*Fill, error)) error {
	var failure error
	err := s.runOn(ctx, s.queues.fills, func() {
		w := s.writer
		var now *Fill
		failure = w.transaction(func() (err error) {
			if err := w.refreshSchema(); err != nil {
				return err
			}
			if now, err = f(w); err != nil {
				return err
			}
			if err := w.saveState(); err != nil {
				return err
			}
			return w.writeFill(now)
		})
		if failure != nil {
			return
		}
		s.filling.Store(now)
		w.announce()
		w.publish()
		w.releaseWaiting()
	})
	return errors.Join(err, failure)
}

// mergeState merges rows with their clocks. It runs inside a transaction.
func (w *writer) mergeState(b *changeset.StateBlock) error {
	c := &changeset.Changeset{Tables: []changeset.TableChanges{{Name: b.Name, Generation: b.Generation, Key: b.Key, Columns: b.Columns}}}
	if err := w.misfit(c); err != nil {
		return err
	}
	t := w.schema.lookup(b.Name)
	if b.Generation < t.generation {
		return nil
	}
	w.resetDeltas()
	restore, err := w.muteChecks(t)
	if err != nil {
		return err
	}
	err = w.mergeRows(t, &c.Tables[0], b.Rows)
	for _, s := range w.summed {
		w.sums[s.table.sum].Add(s.delta)
	}
	return errors.Join(err, restore())
}

func (w *writer) mergeRows(t *table, names *changeset.TableChanges, rows []changeset.RowState) error {
	s, err := w.statements(t)
	if err != nil {
		return err
	}
	m := newRowMerge(w, s, names)
	for i := range rows {
		r := &rows[i]
		values := r.Values
		for _, g := range r.Clock.Groups {
			if _, err := w.ordinal(g.Stamp.Actor); err != nil {
				return err
			}
			if w.clock.Observe(g.Stamp.Time) > 0 {
				w.store.drifted.Add(1)
			}
			n := g.Columns.Len()
			m.stamp = g.Stamp
			ch := changeset.Change{Key: r.Key, CausalLength: r.Clock.CausalLength, Columns: g.Columns, Values: values[:n]}
			if err := m.merge(&ch); err != nil {
				return fmt.Errorf("merge the state of %s, row %s: %w", t.name, printKey(r.Key), err)
			}
			values = values[n:]
		}
	}
	return nil
}

// takeVector counts the versions of a peer's vector as applied. Versions that are
// parked here stay so; ours are what we wrote.
func (w *writer) takeVector(v *versions.Vector) error {
	for _, actor := range v.Actors() {
		if actor == w.actors.self {
			continue
		}
		if _, err := w.ordinal(actor); err != nil {
			return err
		}
		theirs, e := v.Entry(actor), w.vector.Entry(actor)
		taken := theirs.Applied.Minus(e.Parked)
		switch last := taken.Last(); {
		case last <= e.Applied.Last():
		case last == theirs.Applied.Last():
			e.Head = theirs.Head
		default:
			e.Head = changeset.Hash{} // of a version below one that is parked: not known
		}
		e.Applied = e.Applied.Union(taken)
		w.vector.Put(actor, e)
	}
	given, err := w.readGiven()
	if err != nil {
		return err
	}
	return w.writeVector("given", unite(given, v))
}

// unite returns the versions that either of two vectors has applied.
func unite(a, b *versions.Vector) *versions.Vector {
	out := a.Clone()
	for _, actor := range b.Actors() {
		x, y := a.Entry(actor), b.Entry(actor)
		if y.Applied.Last() > x.Applied.Last() {
			x.Head = y.Head
		}
		x.Applied = x.Applied.Union(y.Applied)
		out.Put(actor, x)
	}
	return out
}

// readGiven returns the versions that came as state: no log need have them.
func (w *writer) readGiven() (*versions.Vector, error) {
	v, ok, err := w.readValue("given")
	if err != nil || !ok {
		return versions.NewVector(), err
	}
	given, err := versions.DecodeVector(v.Bytes())
	if err != nil {
		return nil, fmt.Errorf("what came as state: %w: %w", err, errDamaged)
	}
	return given, nil
}

func (w *writer) writeVector(name string, v *versions.Vector) error {
	b, err := v.AppendBinary(nil)
	if err != nil {
		return err
	}
	return w.writeValue(name, changeset.BlobValue(b))
}

// writeFill writes down how far a transfer is. The vectors, which can be large, are
// written only when they changed.
func (w *writer) writeFill(f *Fill) error {
	was := w.store.Filling()
	if f == nil {
		return w.conn.Each("DELETE FROM __patina_meta WHERE name IN ('fill', 'fill_first', 'fill_goal')", nil, nil)
	}
	if was == nil || !was.First.Equal(f.First) {
		if err := w.writeVector("fill_first", f.First); err != nil {
			return err
		}
	}
	if was == nil || !was.Goal.Equal(f.Goal) {
		if err := w.writeVector("fill_goal", f.Goal); err != nil {
			return err
		}
	}
	b := append([]byte(nil), f.Source[:]...)
	b = append(b, map[bool]byte{true: 1}[f.Complete])
	b = binary.AppendUvarint(b, uint64(f.Rows))
	return w.writeValue("fill", changeset.BlobValue(append(b, f.Cursor...)))
}

// loadFill reads how far a transfer was, and whether the database was complete once.
func (w *writer) loadFill() error {
	_, settled, err := w.readValue("settled")
	if err != nil {
		return err
	}
	w.store.settled.Store(settled)
	v, ok, err := w.readValue("fill")
	if err != nil || !ok {
		return err
	}
	f := &Fill{}
	b := v.Bytes()
	n := copy(f.Source[:], b)
	rows, width := binary.Uvarint(b[min(n+1, len(b)):])
	if n < len(f.Source) || width <= 0 {
		return fmt.Errorf("transfer of state x'%x': %w", b, errDamaged)
	}
	f.Complete, f.Rows = b[n] != 0, int64(rows)
	if rest := b[n+1+width:]; len(rest) > 0 {
		f.Cursor = bytes.Clone(rest)
	}
	for name, to := range map[string]**versions.Vector{"fill_first": &f.First, "fill_goal": &f.Goal} {
		v, _, err := w.readValue(name)
		if err != nil {
			return err
		}
		if *to, err = versions.DecodeVector(v.Bytes()); err != nil {
			return fmt.Errorf("%s: %w: %w", name, err, errDamaged)
		}
	}
	w.store.filling.Store(f)
	return nil
}
