package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
	"github.com/patinadb/patina/sync/versions"
)

// What the log amounts to is kept in memory: the applied versions and the head of
// each actor, the clock sums of each table, the bytes of the log. Writing it down
// with every commit would dirty pages that a commit otherwise leaves alone. So
// each log entry carries its own share, and the whole is saved only now and then,
// in the transaction that makes it so. An open reads what was saved and the
// entries since.

// state is the whole as it was saved. It is replaced, never changed.
type state struct {
	vector *versions.Vector
	sums   []changeset.Sum // by table.sum
}

// saveEvery is after how many versions the state is saved, so that an open has no
// more log entries to read.
const saveEvery = 1000

// saveState writes what has changed since it was saved. It runs in the
// transaction that made the last change.
func (w *writer) saveState() error {
	for _, actor := range w.vector.Actors() {
		e, was := w.vector.Entry(actor), w.saved.vector.Entry(actor)
		if e.Head == was.Head && e.Applied.Equal(was.Applied) {
			continue
		}
		ord := int64(w.actors.ords[actor])
		held := e.Applied.AppendBinary(slices.Clone(e.Head[:]))
		err := w.conn.Each("UPDATE __patina_actor SET held = ?2 WHERE ord = ?1", []sqlite.Value{changeset.IntegerValue(ord), changeset.BlobValue(held)}, nil)
		if err != nil {
			return fmt.Errorf("save what is applied of %v: %w", actor, err)
		}
	}
	for ord, sum := range w.sums {
		if ord < len(w.saved.sums) && w.saved.sums[ord] == sum {
			continue
		}
		b := changeset.AppendSum(nil, sum)
		err := w.conn.Each("UPDATE __patina_sum SET sum = ?2 WHERE ord = ?1", []sqlite.Value{changeset.IntegerValue(int64(ord)), changeset.BlobValue(b)}, nil)
		if err != nil {
			return fmt.Errorf("save the sum of a table: %w", err)
		}
	}
	if err := w.writeValue("log_bytes", changeset.IntegerValue(w.logBytes)); err != nil {
		return fmt.Errorf("save the size of the log: %w", err)
	}
	w.saved, w.unsaved = &state{w.vector.Clone(), slices.Clone(w.sums)}, 0
	return nil
}

// loadState reads the actors, what was saved, and what was logged since.
func (w *writer) loadState() error {
	w.actors = &actorTable{self: w.meta.actor, ords: map[changeset.ActorID]int{}}
	w.vector = versions.NewVector()
	if err := w.conn.Each("SELECT ord, id, held FROM __patina_actor ORDER BY ord", nil, w.loadActor); err != nil {
		return fmt.Errorf("actors: %w", err)
	}
	err := w.conn.Each("SELECT ord, sum FROM __patina_sum ORDER BY ord", nil, func(s *sqlite.Stmt) error {
		b := s.View(1)
		ord := s.Integer(0)
		if ord < int64(len(w.sums)) || ord > maxSums {
			return fmt.Errorf("sum of table %d: %w", ord, errDamaged)
		}
		if len(b) != changeset.SumSize { // not right: settleSums computes it anew
			w.unread = append(w.unread, int(ord))
			b = make([]byte, changeset.SumSize)
		}
		for int64(len(w.sums)) <= s.Integer(0) {
			w.sums = append(w.sums, changeset.Sum{})
		}
		w.sums[len(w.sums)-1] = changeset.DecodeSum(b)
		return nil
	})
	if err != nil {
		return err
	}
	size, _, err := w.readValue("log_bytes")
	if err != nil {
		return err
	}
	w.logBytes = size.Integer()
	w.saved = &state{w.vector.Clone(), slices.Clone(w.sums)}
	for ord, id := range w.actors.ids {
		if err := w.loadUnsaved(ord, id); err != nil {
			return fmt.Errorf("log of %v: %w", id, err)
		}
	}
	return nil
}

// maxSums bounds the ordinals of tables: SQLite cannot have as many.
const maxSums = 1 << 20

// loadActor takes a row of __patina_actor.
func (w *writer) loadActor(s *sqlite.Stmt) error {
	t := w.actors
	var a changeset.ActorID
	if s.Integer(0) != int64(len(t.ids)) || copy(a[:], s.View(1)) != len(a) {
		return fmt.Errorf("row %d: %w", len(t.ids), errDamaged)
	}
	t.ords[a] = len(t.ids)
	t.ids = append(t.ids, a)
	if s.Kind(2) == changeset.Null {
		return nil
	}
	var e versions.Entry
	held := s.View(2)
	if copy(e.Head[:], held) != len(e.Head) {
		return fmt.Errorf("row %d: %w", s.Integer(0), errDamaged)
	}
	applied, rest, err := versions.DecodeSet(held[len(e.Head):])
	if err != nil || len(rest) > 0 {
		return fmt.Errorf("row %d: %w", s.Integer(0), errDamaged)
	}
	e.Applied = applied
	w.vector.Put(a, e)
	return nil
}

// loadUnsaved adds the log entries of one actor that what was saved does not
// cover.
func (w *writer) loadUnsaved(ord int, actor changeset.ActorID) error {
	e := w.vector.Entry(actor)
	saved := e.Applied
	e.Applied = saved.Clone()
	all := versions.SetOf(versions.Range{First: 1, Last: changeset.MaxVersion})
	for _, r := range all.Minus(saved).Ranges() {
		err := w.conn.Each("SELECT k, sums, length(data) FROM __patina_log WHERE k BETWEEN ? AND ?", []sqlite.Value{
			changeset.IntegerValue(logKey(ord, r.First)), changeset.IntegerValue(logKey(ord, r.Last)),
		}, func(s *sqlite.Stmt) error {
			v := changeset.Version(s.Integer(0)) & changeset.MaxVersion
			e.Applied.Add(versions.Range{First: v, Last: v})
			w.unsaved++
			w.logBytes += s.Integer(2)
			return w.addLogged(s.View(1))
		})
		if err != nil {
			return err
		}
	}
	if e.Applied.IsEmpty() {
		return nil
	}
	if last := e.Applied.Last(); last != saved.Last() {
		head, err := w.readLog(changeset.ID{Actor: actor, Version: last})
		if err != nil {
			return err
		}
		e.Head = head.Hash
	}
	w.vector.Put(actor, e)
	return nil
}

// A log entry's share in the sums is, for each table that it changed, its ordinal
// as uvarint and the sum of what it added and took away.

// appendShare writes the share of the version in work and adds it to the sums. If
// the entry cannot be written, the whole transaction must fail.
func (w *writer) appendShare(b []byte) []byte {
	for _, s := range w.summed {
		if s.delta.IsZero() {
			continue
		}
		b = binary.AppendUvarint(b, uint64(s.table.sum))
		b = changeset.AppendSum(b, s.delta)
		w.sums[s.table.sum].Add(s.delta)
	}
	return b
}

// addLogged adds the share of a log entry to the sums.
func (w *writer) addLogged(share []byte) error {
	for len(share) > 0 {
		ord, n := binary.Uvarint(share)
		if n <= 0 || ord >= uint64(len(w.sums)) || len(share) < n+changeset.SumSize {
			return fmt.Errorf("share in the sums x'%x': %w", share, errDamaged)
		}
		w.sums[ord].Add(changeset.DecodeSum(share[n:]))
		share = share[n+changeset.SumSize:]
	}
	return nil
}

// Sums are the clock sums of the replicated tables (DESIGN section 6,
// Verification). Stores with equal applied vectors and equal schema digests have
// equal sums.
type Sums struct {
	Vector *versions.Vector
	Schema [32]byte // its digest
	Tables map[string]changeset.Sum
}

// Sums returns the clock sums as of the last commit, with the vector and the
// schema that they belong to. The caller must not change the vector.
func (s *Store) Sums() Sums {
	p := s.sums.Load()
	out := Sums{p.vector, p.schema.digest, make(map[string]changeset.Sum, len(p.schema.tables))}
	for _, t := range p.schema.tables {
		out.Tables[t.name] = p.sums[t.sum]
	}
	return out
}

// publishedSums is a snapshot that belongs together.
type publishedSums struct {
	vector *versions.Vector
	schema *schema
	sums   []changeset.Sum
}

// settleSums gives every table of s its place among the sums. A sum is computed
// from the clocks where what was kept of it cannot be right: the table is new to
// us, its columns are not the ones of then, or its clocks were given back to rows.
func (w *writer) settleSums(s *schema, rekeyed map[*table]bool) error {
	known, gone, err := w.knownSums(s)
	if err != nil {
		return err
	}
	changed := len(gone) > 0
	for _, ord := range gone {
		if err := w.conn.Each("DELETE FROM __patina_sum WHERE ord = ?", []sqlite.Value{changeset.IntegerValue(int64(ord))}, nil); err != nil {
			return err
		}
		w.sums[ord] = changeset.Sum{}
	}
	for _, t := range s.sorted() {
		columns := columnNames(t)
		was, ok := known[t]
		if ok = ok && !slices.Contains(w.unread, t.sum); ok && bytes.Equal(was, columns) && !rekeyed[t] {
			continue
		}
		changed = true
		if _, there := known[t]; !there {
			t.sum = len(w.sums)
			w.sums = append(w.sums, changeset.Sum{})
		}
		// Columns that were added at the end change no clock.
		if !ok || rekeyed[t] || !bytes.HasPrefix(columns, was) {
			if w.sums[t.sum], err = w.sumClocks(t); err != nil {
				return fmt.Errorf("sum the clocks of %s: %w", t.name, err)
			}
		}
		err := w.conn.Each("INSERT OR REPLACE INTO __patina_sum VALUES(?, ?, ?, ?)", []sqlite.Value{
			changeset.IntegerValue(int64(t.sum)), changeset.TextValue(foldName(t.name)), changeset.BlobValue(columns),
			changeset.BlobValue(changeset.AppendSum(nil, w.sums[t.sum])),
		}, nil)
		if err != nil {
			return err
		}
	}
	w.unread = nil
	if !changed {
		return nil
	}
	return w.saveState()
}

// knownSums finds the tables of s among the sums: the columns of then, and the
// ordinals of tables that are gone.
func (w *writer) knownSums(s *schema) (known map[*table][]byte, gone []int, err error) {
	known = map[*table][]byte{}
	err = w.conn.Each("SELECT ord, name, columns FROM __patina_sum", nil, func(st *sqlite.Stmt) error {
		ord := int(st.Integer(0))
		name := columnText(st, 1)
		if _, lost := s.lost[name]; lost {
			return nil
		}
		t := s.lookup(name)
		if t == nil {
			gone = append(gone, ord)
			return nil
		}
		t.sum = ord
		known[t] = bytes.Clone(st.View(2))
		return nil
	})
	return known, gone, err
}

// columnNames encodes the names of t's data columns in the order of clocks'
// ordinals; a table with columns added has this as a prefix.
func columnNames(t *table) (b []byte) {
	for _, i := range t.data {
		b = changeset.AppendValue(b, changeset.TextValue(foldName(t.columns[i].name)))
	}
	return b
}
