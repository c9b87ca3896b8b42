package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// A table of ours that another program dropped, or took columns of, is lost: its
// clocks speak of rows and columns that are not there, while peers have them. If it
// were made again, empty, nodes with equal vectors would hold unequal rows and no
// sum would say so. It is therefore local from then on, with the reason: its name is
// taken, writes to it are refused, what peers send of it is parked, and the schema
// digest is another than theirs. Its clocks stay. What replicated, and with which
// columns, __patina_sum tells.

// anotherKey is why a table is local whose clocks are of another key.
const anotherKey = "another process made it anew with another key"

// lostAdvice ends the reason of every lost table.
const lostAdvice = ", and peers still have it: put the file back from a backup, or start with an empty one, which they fill"

// findLost fills in s.lost. Tables that have no living clock are not lost: there is
// nothing that they could say wrong.
func (w *writer) findLost(s *schema) error {
	type record struct {
		name    string
		columns []byte
	}
	var records []record
	err := w.conn.Each("SELECT name, columns FROM __patina_sum ORDER BY ord", nil, func(st *sqlite.Stmt) error {
		records = append(records, record{columnText(st, 0), bytes.Clone(st.View(1))})
		return nil
	})
	if err != nil {
		return fmt.Errorf("read what replicates: %w", err)
	}
	for _, r := range records {
		t := s.lookup(r.name)
		if t != nil && bytes.HasPrefix(columnNames(t), r.columns) {
			continue
		}
		living, err := w.hasLivingClock(r.name)
		if err != nil {
			return fmt.Errorf("clocks of table %s: %w", r.name, err)
		}
		if living {
			s.lose(r.name, lostReason(s, r.name, r.columns)+lostAdvice)
		}
	}
	return nil
}

// lostReason says what another program did to the table of that name, which had
// these columns.
func lostReason(s *schema, name string, columns []byte) string {
	t := s.lookup(name)
	if t == nil {
		if reason, there := s.local[foldName(name)]; there {
			return "another program changed it: " + reason
		}
		return "another program dropped it"
	}
	for rest := columns; len(rest) > 0; {
		name, more, err := changeset.DecodeValue(rest)
		if err != nil {
			return "what is recorded of its columns is damaged"
		}
		if rest = more; t.column(name.Text()) == nil {
			return "another program removed or renamed its column " + name.Text()
		}
	}
	return "another program put its columns in another order"
}

// hasLivingClock reports whether some clock of the table of that name is of a
// living row, or cannot be read.
func (w *writer) hasLivingClock(name string) (living bool, err error) {
	t := &table{name: name}
	sql, prefix := "", 0
	err = w.conn.Each("SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ? COLLATE NOCASE", []sqlite.Value{changeset.TextValue(clockTable(t))}, func(st *sqlite.Stmt) error {
		sql = columnText(st, 0)
		return nil
	})
	if err != nil || sql == "" {
		return false, err
	}
	if rowids := clockTableSQL(&table{name: name, layout: layoutRowid}); foldName(sql) == foldName(rowids) {
		prefix = 8 // of the key's hash
	}
	err = w.conn.Each("SELECT m FROM "+quoteIdent(clockTable(t)), nil, func(st *sqlite.Stmt) error {
		m := st.View(0)
		length, n := binary.Uvarint(m[min(prefix, len(m)):])
		if n > 0 && !changeset.CausalLength(length).Alive() {
			return nil
		}
		return errFound
	})
	if errors.Is(err, errFound) {
		return true, nil
	}
	return false, err
}

// errFound ends a scan at what it looked for.
var errFound = errors.New("found")

// reportLost logs the tables that s has lost and the schema before had not.
func (w *writer) reportLost(s *schema) {
	for name, reason := range s.lost {
		if w.schema == nil || w.schema.lost[name] == "" {
			w.log.Error("no longer the table that replicates: its rows do not travel any more", "table", name, "err", reason)
		}
	}
}

// explainLost adds to SQLite's error that a table is not there why it is not.
func (s *schema) explainLost(err error) error {
	for name, reason := range s.lost {
		if strings.HasSuffix(foldName(err.Error()), "no such table: "+name) {
			return fmt.Errorf("%w: it does not replicate any more: %s", err, reason)
		}
	}
	return err
}
