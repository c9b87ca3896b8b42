package wire

import (
	"strconv"
	"strings"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// AppendResult appends a statement's slot: its error alone, its rows, or the
// two counters, which are there even when they are 0. With timed its time
// follows.
func AppendResult(b []byte, r *sqlite.Result, timed bool) []byte {
	switch {
	case r.Err != nil:
		return AppendError(b, r.Err)
	case r.HasRows:
		b = AppendStrings(append(b, `{"columns":`...), r.Columns)
		b = AppendStrings(append(b, `,"types":`...), types(r))
		b = appendRows(append(b, `,"values":`...), r.Rows)
	default:
		b = strconv.AppendInt(append(b, `{"last_insert_id":`...), r.LastInsertID, 10)
		b = strconv.AppendInt(append(b, `,"rows_affected":`...), r.RowsAffected, 10)
	}
	if timed {
		b = AppendSeconds(append(b, `,"time":`...), r.Time)
	}
	return append(b, '}')
}

// AppendError appends an error's slot.
func AppendError(b []byte, err error) []byte {
	return append(AppendString(append(b, `{"error":`...), err.Error()), '}')
}

func appendRows(b []byte, rows [][]changeset.Value) []byte {
	b = append(b, '[')
	for i, row := range rows {
		if i > 0 {
			b = append(b, ',')
		}
		b = AppendValues(b, row)
	}
	return append(b, ']')
}

// types are the declared types in lower case; a column without one takes the
// storage class of the first row's value, as rqlite's clients know it.
func types(r *sqlite.Result) []string {
	list := make([]string, len(r.Columns))
	for i := range list {
		if i < len(r.Types) {
			list[i] = strings.ToLower(r.Types[i])
		}
		if list[i] != "" || len(r.Rows) == 0 || i >= len(r.Rows[0]) {
			continue
		}
		if k := r.Rows[0][i].Kind(); k != changeset.Null {
			list[i] = k.String()
		}
	}
	return list
}
