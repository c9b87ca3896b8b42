package store

import (
	"fmt"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// describe prints a changeset's changes, one a line: table, causal length, key,
// columns with values.
func describe(t *testing.T, s changeset.Sealed) string {
	t.Helper()
	c, err := s.Decode()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, tc := range c.Tables {
		for _, ch := range tc.Changes {
			line := fmt.Sprintf("%s@%d %s", tc.Name, ch.CausalLength, join(ch.Key))
			n := 0
			for i := range ch.Columns.All {
				line += fmt.Sprintf(" %s=%v", tc.Columns[i], ch.Values[n])
				n++
			}
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

func join(values []sqlite.Value) string {
	var out []string
	for _, v := range values {
		out = append(out, v.String())
	}
	return strings.Join(out, ",")
}
