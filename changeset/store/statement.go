package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unsafe"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// runStatement runs one statement of a client with the capture on.
func (w *writer) runStatement(st sqlite.Statement) (res sqlite.Result) {
	start := time.Now()
	w.conn.SetMode(sqlite.ModeWrite)
	w.conn.MutePreupdate(false)
	w.limitStatement(context.Background(), start.Add(w.store.cfg.StatementTimeout))
	res, err := w.execute(st)
	w.lift()
	w.conn.MutePreupdate(true)
	if w.capture.err != nil {
		err = w.capture.err // also where it ended the statement: see limit
	}
	if err != nil {
		res = sqlite.Result{Err: w.schema.explainLost(err)}
	}
	res.Time = time.Since(start)
	return res
}

// execute runs every statement of the text in order, as rqlite does: the
// parameters are consumed in order and the result is the last statement's.
func (w *writer) execute(st sqlite.Statement) (res sqlite.Result, err error) {
	c, err := w.conn.Cached(st.SQL)
	if err == nil && c != nil {
		defer c.Reset()
		if err := c.BindStatement(st); err != nil {
			return res, err
		}
		return w.collect(c)
	}
	if !errors.Is(err, sqlite.ErrMultipleStatements) {
		return res, err
	}
	params := st.Params
	for text := st.SQL; strings.TrimSpace(text) != ""; {
		s, tail, err := w.conn.Prepare(text)
		if err != nil {
			return res, err
		}
		text = tail
		if s == nil {
			continue
		}
		n := min(s.ParameterCount(), len(params))
		res, err = w.executeOne(s, sqlite.Statement{SQL: s.SQL(), Params: params[:n], Named: st.Named})
		params = params[n:]
		if err != nil {
			return res, err
		}
	}
	return res, nil
}

func (w *writer) executeOne(s *sqlite.Stmt, st sqlite.Statement) (sqlite.Result, error) {
	defer s.Finalize()
	if err := s.BindStatement(st); err != nil {
		return sqlite.Result{}, err
	}
	return w.collect(s)
}

// maxReturned bounds what RETURNING may yield to one request, in bytes of memory.
const maxReturned = 32 << 20

// returnedBytes counts what RETURNING yielded to the request that is running and
// to its group.
type returnedBytes struct{ request, group int }

func (n *returnedBytes) add(row []sqlite.Value) {
	size := int(unsafe.Sizeof(row)) + len(row)*int(unsafe.Sizeof(sqlite.Value{}))
	for i := range row {
		size += len(row[i].Bytes())
	}
	n.request += size
	n.group += size
}

// collect steps s to its end. Rows are kept for RETURNING alone: what a SELECT
// yields inside a transaction is not part of rqlite's answer.
func (w *writer) collect(s *sqlite.Stmt) (res sqlite.Result, err error) {
	writes := s.Access().Writes
	if err := w.checkTargets(writes); err != nil {
		return res, err
	}
	w.capture.touch = w.touchedBy(s)
	before := w.conn.TotalChanges()
	returning := len(writes) > 0 && s.ColumnCount() > 0
	if returning {
		res.HasRows = true
		for i := range s.ColumnCount() {
			res.Columns = append(res.Columns, s.ColumnName(i))
			res.Types = append(res.Types, strings.ToLower(s.ColumnDeclType(i)))
		}
	}
	for {
		row, err := s.Step()
		if err != nil {
			return res, w.explainFull(err, writes)
		}
		if !row {
			break
		}
		if !returning {
			continue
		}
		values := make([]sqlite.Value, s.ColumnCount())
		for i := range values {
			values[i] = s.Column(i)
		}
		if w.returned.add(values); w.returned.request > maxReturned {
			return res, fmt.Errorf("RETURNING yields more than %d bytes", maxReturned)
		}
		res.Rows = append(res.Rows, values)
	}
	if len(writes) > 0 {
		res.LastInsertID = w.conn.LastInsertID()
		if w.conn.TotalChanges() != before {
			res.RowsAffected = w.conn.Changes()
		}
	}
	return res, nil
}

// checkTargets refuses writes to tables that do not replicate: they would make
// nodes with equal vectors differ. A view holds nothing: what its INSTEAD OF
// triggers write is among the targets.
func (w *writer) checkTargets(writes []sqlite.TableWrite) error {
	for _, t := range writes {
		if w.schema.lookup(t.Table) != nil {
			continue
		}
		if reason := w.schema.local[foldName(t.Table)]; reason != viewReason {
			return fmt.Errorf("table %s does not replicate: %s", t.Table, reason)
		}
	}
	return nil
}

// explainFull tells an AUTOINCREMENT table that has given out the largest rowid
// from a disk that is full: SQLite says ErrFull of both, and the former is the
// fault of one request.
func (w *writer) explainFull(err error, writes []sqlite.TableWrite) error {
	if !errors.Is(err, sqlite.ErrFull) {
		return err
	}
	w.conn.SetMode(sqlite.ModeInternal)
	for i := range writes {
		t := w.schema.lookup(writes[i].Table)
		if writes[i].Op != sqlite.OpInsert || t == nil || !t.autoincrement {
			continue
		}
		var last int64
		sql := "SELECT max(coalesce((SELECT max(seq) FROM sqlite_sequence WHERE name = ?), 0), coalesce((SELECT max(" + quoteIdent(t.columns[t.key[0]].name) + ") FROM " + quoteIdent(t.name) + "), 0))"
		read := w.conn.Each(sql, []sqlite.Value{changeset.TextValue(t.name)}, func(s *sqlite.Stmt) error {
			last = s.Integer(0)
			return nil
		})
		if read == nil && last == math.MaxInt64 {
			return fmt.Errorf("AUTOINCREMENT of table %s has given out its last number", t.name)
		}
	}
	return err
}
