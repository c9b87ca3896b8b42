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

// rowTaking is how the rows of one table are taken in.
type rowTaking struct {
	chunkLimits
	skip  bool                 // pass over rows that no changeset can hold; else they are an error
	known map[uint64]loggedRow // of rows without a clock, by the low half of the key's hash
}

// takeRows makes versions of all rows of a table that have no living clock, and
// returns how many rows and versions.
func (w *writer) takeRows(ctx context.Context, name string, how rowTaking) (rows, versions int64, err error) {
	var cursor []sqlite.Value
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return rows, versions, err
		}
		c := rowChunk{w: w, rowTaking: how, cursor: cursor}
		err := w.makeVersion(func() error { return c.collect(name) })
		if err != nil {
			return rows, versions, fmt.Errorf("table %s: %w", name, err)
		}
		cursor, more = c.last, c.full
		if c.taken == 0 {
			continue
		}
		rows, versions = rows+int64(c.taken), versions+1
		if how.done != nil {
			if err := how.done(); err != nil {
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
	rowTaking
	w            *writer
	cursor, last []sqlite.Value // where the chunk before ended; where this one did
	taken, cells int
	full         bool
	dead         []deadRow
}

// deadRow is a row whose clock has to be made dead before it is inserted.
type deadRow struct {
	ref   rowRef
	clock changeset.Clock
}

func (c *rowChunk) collect(name string) error {
	t := c.w.schema.lookup(name)
	if t == nil {
		return fmt.Errorf("%w: another process changed the table", errTransactionLost)
	}
	c.taken, c.cells, c.full, c.dead = 0, 0, false, nil // it may run again: see makeVersion
	var clock changeset.Clock
	err := c.w.conn.Each(rowClockSQL(t, quotedData(t), c.where(t)), c.cursor, func(st *sqlite.Stmt) error {
		state := c.w.clockOfRow(t, st, &clock)
		if state != clockMissing && state != clockDead {
			return nil
		}
		return c.take(t, st, &clock)
	})
	if err != nil && !errors.Is(err, errChunkFull) {
		return err
	}
	return c.bury(t)
}

// take takes one row of rowClockSQL. living is what its clock was read into, if it
// has one beside a tombstone.
func (c *rowChunk) take(t *table, st *sqlite.Stmt, living *changeset.Clock) error {
	keys, b := len(t.key), &c.w.capture
	mark := b.mark()
	if err := b.addStored(t, st); err != nil {
		b.truncate(mark)
		if c.skip {
			return nil
		}
		return err
	}
	if row, ok := c.known[hashColumns(st, keys).Low]; ok && st.Kind(keys) == changeset.Null && st.Kind(keys+1) == changeset.Null {
		c.dead = append(c.dead, deadRow{rowOf(st, keys), deadClock(row.length, row.stamp)})
	} else if t.layout == layoutRowid && st.Kind(keys) != changeset.Null {
		c.dead = append(c.dead, c.longer(st, keys, living))
	}
	c.taken, c.cells = c.taken+1, c.cells+keys+len(t.data)
	if c.taken < c.rows && c.cells < c.values && len(b.data) < c.bytes {
		return nil
	}
	if c.full, c.last = true, columnValues(st, keys); !t.withoutRowid {
		c.last = []sqlite.Value{changeset.IntegerValue(st.Integer(keys + 2))}
	}
	return errChunkFull
}

// longer is the longer of the two lives that a row has at once: by its clock and by
// its tombstone.
func (c *rowChunk) longer(st *sqlite.Stmt, keys int, living *changeset.Clock) deadRow {
	var tomb changeset.Clock
	if c.w.actors.decodeClock(st.View(keys+1), &tomb) != nil || tomb.CausalLength < living.CausalLength {
		tomb = deadClock(living.CausalLength, living.Groups[0].Stamp)
	}
	return deadRow{rowOf(st, keys), tomb}
}

func rowOf(st *sqlite.Stmt, keys int) rowRef {
	return rowRef{key: columnValues(st, keys), hash: hashColumns(st, keys), rowid: st.Integer(keys + 2)}
}

// bury writes the clocks that the rows are to be inserted above.
func (c *rowChunk) bury(t *table) error {
	s, err := c.w.statements(t)
	if err != nil {
		return err
	}
	for i := range c.dead {
		if err := c.w.putClock(s, &c.dead[i].ref, &c.dead[i].clock, nowhere); err != nil {
			return err
		}
	}
	return nil
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
	if size := e.new.to - e.new.from; size > maxRowSize {
		return fmt.Errorf("row %s: its values take %d bytes, more than a changeset can hold", printKey(key), size)
	}
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
