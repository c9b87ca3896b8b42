package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/hlc"
	"github.com/patinadb/patina/changeset/sqlite"
)

// ErrCopy: the file is not the one that its node closed, so writing to it under its
// actor id would fork that actor's history.
var ErrCopy = errors.New("store: a copy of a database")

// Repaired is what Repair did.
type Repaired struct {
	Versions int64 // of ours that peers hear of
	Inserted int64 // rows that had no clock, or that of a deleted row, or came after their clock
	Deleted  int64 // rows that had a clock and are gone
	Dropped  int64 // clocks whose row nobody knows any more, or that were there twice
	Damaged  int64 // clocks that could not be read, and were made anew
}

// Repair makes the clocks of a stopped node's database agree with its rows again,
// after another program wrote to it. The rows are right: one without a clock
// becomes an insertion of ours, a clock whose row is gone a deletion of ours, in
// versions that peers get when the node runs; a row that is at another rowid than its
// clock, an insertion; sums are computed anew, so that a clock which says something else
// than it did shows to peers. Clocks that cannot be read or are gone are replaced by what
// the log knows of their rows.
// Values that were changed in a row that has its clock do not show, and stay here.
// Nothing else is touched: damaged pages, a damaged log and tables that are no longer
// what replicates stay as they are, and Check goes on naming them.
//
// A copy is refused with ErrCopy: a node that starts on it takes a new actor id,
// under which it can be repaired.
func Repair(ctx context.Context, cfg Config) (*Repaired, error) {
	report, err := Check(ctx, cfg)
	if err != nil {
		return nil, err
	}
	for _, f := range report.Findings {
		if f.What == DamagedFile {
			return nil, fmt.Errorf("repair %s: %w: nothing that is read from it is sure; take a backup, or an empty file that peers fill", cfg.Path, sqlite.ErrCorrupt)
		}
	}
	s, err := openOffline(cfg, sqlite.Config{CacheBytes: writerCache})
	if err != nil {
		return nil, err
	}
	r := &repair{w: s.writer, limits: defaultChunk, keys: forgottenAtOnce}
	err = r.run(ctx)
	if err != nil {
		err = fmt.Errorf("repair %s: %w", cfg.Path, err)
	}
	return &r.done, errors.Join(err, s.closeOffline())
}

// repair is the state of one Repair.
type repair struct {
	w      *writer
	limits chunkLimits
	keys   int // of the log that are in memory at once
	done   Repaired
	kept   map[string]changeset.Sum // of each table, as the file had it
}

func (r *repair) run(ctx context.Context) error {
	if err := r.open(); err != nil {
		return err
	}
	for _, t := range r.w.schema.sorted() {
		if err := r.table(ctx, t.name); err != nil {
			return fmt.Errorf("table %s: %w", t.name, err)
		}
	}
	if err := r.w.transaction(r.finish); err != nil {
		return err
	}
	return r.w.saveSidecar()
}

// open is what a store's open does, without a new identity, and without moving
// clocks: rekey would drop those whose row is gone.
func (r *repair) open() error {
	w := r.w
	if err := w.readOurs(); err != nil {
		return err
	}
	file, err := w.store.cfg.stat(w.store.cfg.Path)
	if err != nil {
		return err
	}
	if reason := w.copyReason(file.inode); reason != "" {
		return fmt.Errorf("%w: %s; start a node on it first", ErrCopy, reason)
	}
	if w.files, err = w.store.cfg.watchFiles(); err != nil {
		return err
	}
	for _, load := range []func() error{w.loadState, w.loadParked, w.readForks} {
		if err := load(); err != nil {
			return err
		}
	}
	mark, err := w.timeMark()
	if err != nil {
		return err
	}
	w.clock = hlc.New(w.store.cfg.Now, w.store.cfg.MaxClockDrift, mark)
	// That the schema moved without us stays on record until clocks have moved along.
	return w.transaction(func() error {
		left, _, err := w.readValue("schema")
		if err != nil {
			return err
		}
		if err := w.loadSchema(true); err != nil {
			return err
		}
		r.kept = map[string]changeset.Sum{}
		for _, t := range w.schema.sorted() {
			r.kept[t.name] = w.sums[t.sum]
		}
		return w.writeValue("schema", left)
	})
}

// finish computes the sums of what the clocks are now.
func (r *repair) finish() error {
	w := r.w
	for _, t := range w.schema.sorted() {
		var err error
		if w.sums[t.sum], err = w.sumClocks(t); err != nil {
			return err
		}
	}
	if err := w.writeValue("schema", changeset.IntegerValue(w.schemaVersion)); err != nil {
		return err
	}
	return w.saveState()
}

// table repairs one table: first the clocks that cannot be read, then those whose row
// is gone or elsewhere, then the rows that have none.
func (r *repair) table(ctx context.Context, name string) (err error) {
	t := r.w.schema.lookup(name)
	if err := r.damaged(t); err != nil {
		return err
	}
	left, err := r.w.sumClocks(t)
	if err == nil && t.layout == layoutRowid {
		err = r.misplaced(ctx, t)
	}
	if err == nil && left != r.kept[t.name] { // some may be gone
		err = r.forgotten(ctx, t)
	}
	if err == nil && t.layout != layoutRowid {
		err = r.removed(ctx, t)
	}
	if err != nil {
		return err
	}
	known, err := r.missing(t)
	if err != nil {
		return err
	}
	rows, versions, err := r.w.takeRows(ctx, name, rowTaking{chunkLimits: r.limits, known: known, skip: true})
	r.done.Inserted, r.done.Versions = r.done.Inserted+rows, r.done.Versions+versions
	return err
}

// missing looks the keys of rows without a clock up in the log: a clock that was
// lost must not begin at length 1 where peers are further.
func (r *repair) missing(t *table) (map[uint64]loggedRow, error) {
	wanted := map[uint64]bool{}
	var clock changeset.Clock
	err := r.w.conn.Each(rowClockSQL(t, nil, ""), nil, func(st *sqlite.Stmt) error {
		if r.w.clockOfRow(t, st, &clock) == clockMissing {
			wanted[hashColumns(st, len(t.key)).Low] = true
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return r.w.searchLog(t, func(hash uint64) bool { return wanted[hash] })
}

// removed makes deletions of the clocks of living rows that are not there, where
// clocks go by the key.
func (r *repair) removed(ctx context.Context, t *table) error {
	keys := len(t.key)
	sql := "SELECT c.* FROM " + quoteIdent(clockTable(t)) + " c WHERE NOT EXISTS(SELECT 1 FROM " + quoteIdent(t.name) + " t WHERE " + clockJoin(t) + ")"
	for {
		var gone []rowRef
		var clock changeset.Clock
		err := r.w.conn.Each(sql, nil, func(st *sqlite.Stmt) error {
			if r.w.readStored(t, st.View(keys), &clock) != nil || !clock.CausalLength.Alive() {
				return nil
			}
			if gone = append(gone, rowRef{key: columnValues(st, keys)}); len(gone) == r.limits.rows {
				return errChunkFull
			}
			return nil
		})
		if err != nil && !errors.Is(err, errChunkFull) {
			return err
		}
		if len(gone) == 0 {
			return nil
		}
		if err := r.remove(ctx, t, gone); err != nil {
			return err
		}
	}
}

// remove makes one version that deletes rows.
func (r *repair) remove(ctx context.Context, t *table, gone []rowRef) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := r.w.makeVersion(func() error {
		b := &r.w.capture
		for i := range gone {
			e := b.beginEvent(t, sqlite.OpDelete, gone[i].key, gone[i].rowid)
			e.old = span{e.key.to, e.key.to}
			b.events = append(b.events, e)
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.done.Deleted += int64(len(gone))
	r.done.Versions++
	return r.w.relieveWAL()
}
