package wire

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// AppendStatement appends st in the shortest form that reads back as st. JSON
// cannot carry ±Inf or text that is not UTF-8: those are errors.
func AppendStatement(b []byte, st sqlite.Statement) ([]byte, error) {
	if err := sendable(st); err != nil {
		return b, err
	}
	switch {
	case len(st.Params) > 0 && len(st.Named) > 0:
		b = AppendString(append(b, `{"query":`...), st.SQL)
		b = AppendValues(append(b, `,"params":`...), st.Params)
		b = appendNamed(append(b, `,"named_params":`...), st.Named)
		return append(b, '}'), nil
	case len(st.Named) > 0:
		b = AppendString(append(b, '['), st.SQL)
		b = appendNamed(append(b, ','), st.Named)
		return append(b, ']'), nil
	case len(st.Params) > 0:
		b = AppendString(append(b, '['), st.SQL)
		b = AppendValues(append(b, ','), st.Params)
		return append(b, ']'), nil
	}
	return AppendString(b, st.SQL), nil
}

// AppendStatements appends the body of a transaction.
func AppendStatements(b []byte, list []sqlite.Statement) ([]byte, error) {
	b = append(b, '[')
	for i, st := range list {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = AppendStatement(b, st); err != nil {
			return b, fmt.Errorf("statement %d: %w", i, err)
		}
	}
	return append(b, ']'), nil
}

func appendNamed(b []byte, named map[string]changeset.Value) []byte {
	b = append(b, '{')
	for i, name := range slices.Sorted(maps.Keys(named)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(AppendString(b, name), ':')
		b = AppendValue(b, named[name])
	}
	return append(b, '}')
}

func sendable(st sqlite.Statement) error {
	if !utf8.ValidString(st.SQL) {
		return errors.New("the SQL is not valid UTF-8")
	}
	for i, v := range st.Params {
		if reason := unsendable(v); reason != "" {
			return fmt.Errorf("parameter %d %s", i+1, reason)
		}
	}
	for name, v := range st.Named {
		if !utf8.ValidString(name) {
			return fmt.Errorf("the parameter name %q is not valid UTF-8", name)
		}
		if reason := unsendable(v); reason != "" {
			return fmt.Errorf("parameter %q %s", name, reason)
		}
	}
	return nil
}

func unsendable(v changeset.Value) string {
	switch {
	case v.Kind() == changeset.Real && math.IsInf(v.Real(), 0):
		return "is infinite, which JSON cannot say"
	case v.Kind() == changeset.Text && !utf8.Valid(v.Bytes()):
		return "is text that is not valid UTF-8; send it as a BLOB"
	}
	return ""
}
