package transfer

import (
	"fmt"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/sync/versions"
)

// Frame types.
const (
	frameRequest uint8 = iota + 1
	frameBegin
	frameRows
	frameVector
	frameNext
	frameRefused
)

// Reasons of a refusal.
const (
	refusedFilling = 1 // the peer is being filled itself
	refusedBusy    = 2 // it serves as many as it can
	refusedFailed  = 3 // its store failed
)

// maxCursor bounds a cursor: a key and some more.
const maxCursor = changeset.MaxKeySize + 4096

// request opens a stream.
type request struct {
	cursor []byte // empty: from the begin
	held   *versions.Vector
}

func (m request) append(b []byte) ([]byte, error) {
	b = changeset.AppendBytes(b, m.cursor)
	return m.held.AppendBinary(b)
}

func decodeRequest(b []byte) (m request, err error) {
	if m.cursor, b, err = changeset.DecodeBytes(b, "cursor"); err != nil {
		return m, err
	}
	if len(m.cursor) > maxCursor {
		return m, fmt.Errorf("cursor of %d bytes: %w", len(m.cursor), changeset.ErrTooLarge)
	}
	m.held, err = versions.DecodeVector(b)
	return m, err
}

// begin answers a request from the begin.
type begin struct {
	first  *versions.Vector
	tables []changeset.StateBlock // without rows
}

func (m begin) append(b []byte) ([]byte, error) {
	first, err := m.first.AppendBinary(nil)
	if err != nil {
		return nil, err
	}
	b = changeset.AppendBytes(b, first)
	for i := range m.tables {
		e, err := changeset.NewStateEncoder(&m.tables[i])
		if err != nil {
			return nil, err
		}
		b = changeset.AppendBytes(b, e.Bytes())
	}
	return b, nil
}

func decodeBegin(b []byte) (m begin, err error) {
	first, b, err := changeset.DecodeBytes(b, "vector")
	if err != nil {
		return m, err
	}
	if m.first, err = versions.DecodeVector(first); err != nil {
		return m, err
	}
	for len(b) > 0 {
		var names []byte
		if names, b, err = changeset.DecodeBytes(b, "table"); err != nil {
			return m, err
		}
		t, err := changeset.DecodeState(names)
		if err != nil {
			return m, err
		}
		if len(t.Rows) > 0 {
			return m, fmt.Errorf("table %s comes with rows: %w", t.Name, changeset.ErrCorrupt)
		}
		m.tables = append(m.tables, *t)
	}
	return m, nil
}

// refusal says why there is no state.
func refusal(b []byte) string {
	if len(b) == 1 {
		switch b[0] {
		case refusedFilling:
			return "it is being filled itself"
		case refusedBusy:
			return "it serves as many as it can"
		case refusedFailed:
			return "its store failed"
		}
	}
	return "for a reason that is unknown here"
}
