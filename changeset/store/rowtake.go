package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// Rows that came in without us become versions of ours: as if a client had
// inserted each just now, in chunks of a transaction and a version each. Adopt
// takes all rows of a file so, Repair those that lack a clock. How far it came is
// told by the rows themselves: those that are done have a clock.

// chunkLimits bound one version of rows that are taken in. The last row may pass
// the bytes.
type chunkLimits struct {
	rows, values, bytes int
	done                func() error // after each chunk has committed; nil in earnest
}

// defaultChunk is far below the limits of a changeset, so that peers apply it in
// one batch or a few, and commit it in little memory.
var defaultChunk = chunkLimits{rows: 10_000, values: 1 << 20, bytes: 4 << 20}

// errChunkFull ends the scan of a chunk.
var errChunkFull = errors.New("chunk is full")

// makeVersion makes one version of ours of the row events that collect leaves in
// the capture buffer, above whatever stamps it overwrites.
func (w *writer) makeVersion(collect func() error) error {
	for floor := (changeset.Stamp{}); ; {
		g := &group{writer: w, floor: floor.Time}
		err := w.transaction(func() error {
			if err := w.refreshSchema(); err != nil {
				return err
			}
			w.capture.reset()
			if err := collect(); err != nil {
				return err
			}
			return g.finish()
		})
		w.capture.reset()
		var behind *behindError
		if !errors.As(err, &behind) {
			return err
		}
		floor = behind.floor
	}
}

// takeRows makes versions of all rows of a table that have no living clock, and
// returns how many rows and versions.
func (w *writer) takeRows(ctx context.Context, name string, limits chunkLimits) (rows, versions int64, err error) {
	var cursor []sqlite.Value
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return rows, versions, err
		}
		c := rowChunk{w: w, limits: limits, cursor: cursor}
		err := w.makeVersion(func() error { return c.collect(name) })
		if err != nil {
			return rows, versions, fmt.Errorf("table %s: %w", name, err)
		}
		cursor, more = c.last, c.full
		if c.rows == 0 {
			continue
		}
		rows, versions = rows+int64(c.rows), versions+1
		if limits.done != nil {
			if err := limits.done(); err != nil {
				return rows, versions, err
			}
		}
		if err := w.relieveWAL(); err != nil {
			return rows, versions, err
		}
	}
	return rows, versions, nil
}

// rowChunk gathers the rows of one version.
type rowChunk struct {
	w            *writer
	limits       chunkLimits
	cursor, last []sqlite.Value // where the chunk before ended; where this one did
	rows, values int
	full         bool
}

func (c *rowChunk) collect(name string) error {
	t := c.w.schema.lookup(name)
	if t == nil {
		return fmt.Errorf("%w: another process changed the table", errTransactionLost)
	}
	c.rows, c.values, c.full = 0, 0, false // it may run again: see makeVersion
	keys := len(t.key)
	width := keys + len(t.data)
	var clock changeset.Clock
	err := c.w.conn.Each(rowClockSQL(t, quotedData(t), c.where(t)), c.cursor, func(st *sqlite.Stmt) error {
		if state := c.w.clockOfRow(t, st, &clock); state != clockMissing && state != clockDead {
			return nil
		}
		b := &c.w.capture
		if err := b.addStored(t, st); err != nil {
			return err
		}
		c.rows, c.values = c.rows+1, c.values+width
		if c.rows < c.limits.rows && c.values < c.limits.values && len(b.data) < c.limits.bytes {
			return nil
		}
		if c.full, c.last = true, columnValues(st, keys); !t.withoutRowid {
			c.last = []sqlite.Value{changeset.IntegerValue(st.Integer(keys + 2))}
		}
		return errChunkFull
	})
	if errors.Is(err, errChunkFull) {
		err = nil
	}
	return err
}

// where is the condition on rows that the chunks before did not reach.
func (c *rowChunk) where(t *table) string {
	if c.cursor == nil {
		return "1"
	}
	terms, marks := "", ""
	for i, name := range cursorTerms(t) {
		if i > 0 {
			terms, marks = terms+", ", marks+", "
		}
		terms, marks = terms+name, marks+"?"
	}
	return "(" + terms + ") > (" + marks + ")"
}

// quotedData are the data columns of t in SQL.
func quotedData(t *table) (terms []string) {
	for _, i := range t.data {
		terms = append(terms, "t."+quoteIdent(t.columns[i].name))
	}
	return terms
}

// addStored records a row of rowClockSQL, with all data columns, as inserted.
func (b *captureBuffer) addStored(t *table, st *sqlite.Stmt) error {
	keys := len(t.key)
	key := columnValues(st, keys)
	if fault := keyFault(t, key); fault != "" {
		return fmt.Errorf("row %s: %s", printKey(key), fault)
	}
	e := b.beginEvent(t, sqlite.OpInsert, key, st.Integer(keys+2))
	e.new.from = e.key.to
	for d, i := range t.data {
		v := st.Column(keys + 3 + d)
		if err := fits(t, i, v); err != nil {
			return fmt.Errorf("row %s: %w", printKey(key), err)
		}
		b.data = changeset.AppendValue(b.data, v)
	}
	e.new.to = uint32(len(b.data))
	b.events = append(b.events, e)
	return nil
}

// beginEvent writes the key of an event on a row.
func (b *captureBuffer) beginEvent(t *table, op sqlite.Op, key []sqlite.Value, rowid int64) rowEvent {
	e := rowEvent{table: t, op: op, columns: t.all, rowid: rowid}
	e.key.from = uint32(len(b.data))
	for _, v := range key {
		b.data = changeset.AppendValue(b.data, v.Canonical())
	}
	e.key.to = uint32(len(b.data))
	return e
}

// relieveWAL moves the WAL into the file when it has grown, since no keeper runs.
func (w *writer) relieveWAL() error {
	const most = 8 << 20
	size, err := w.conn.PageSize()
	if err != nil || w.conn.WALFrames()*size < most {
		return err
	}
	_, _, err = w.conn.Checkpoint(false)
	return err
}
