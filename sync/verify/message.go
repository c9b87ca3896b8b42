package verify

import (
	"fmt"
	"slices"
	"strings"

	"github.com/patinadb/patina/changeset"
)

// Frame types.
const (
	frameSums    uint8 = 1
	frameVerdict uint8 = 2
)

// Verdict is what a comparison found.
type verdict uint8

const (
	moving  verdict = iota // the digests differ: nothing can be said
	equal                  // all sums are equal
	unequal                // some are not
)

// maxTables bounds the tables of a message: a changeset can name no more columns.
const maxTables = 100_000

// Sums are the clock sums of a database at one moment, with what they belong to.
type Sums struct {
	Vector [32]byte // digest of what is applied
	Schema [32]byte // digest of the schema
	Tables map[string]changeset.Sum
}

// tableSum is a table of a message. Names are ASCII-folded.
type tableSum struct {
	name string
	sum  changeset.Sum
}

func (s *Sums) sorted() []tableSum {
	out := make([]tableSum, 0, len(s.Tables))
	for name, sum := range s.Tables {
		out = append(out, tableSum{changeset.FoldName(name), sum})
	}
	slices.SortFunc(out, func(a, b tableSum) int { return strings.Compare(a.name, b.name) })
	return out
}

// append encodes s.
func (s *Sums) append(b []byte) []byte {
	b = append(b, s.Vector[:]...)
	b = append(b, s.Schema[:]...)
	for _, t := range s.sorted() {
		b = changeset.AppendBytes(b, []byte(t.name))
		b = changeset.AppendSum(b, t.sum)
	}
	return b
}

// decodeSums reads what append wrote, and nothing else.
func decodeSums(b []byte) (s Sums, err error) {
	if len(b) < 64 {
		return s, fmt.Errorf("digests of %d bytes: %w", len(b), changeset.ErrTruncated)
	}
	copy(s.Vector[:], b)
	copy(s.Schema[:], b[32:])
	s.Tables = map[string]changeset.Sum{}
	last := ""
	for b = b[64:]; len(b) > 0; {
		var name string
		if name, b, err = takeName(b, last); err != nil {
			return s, err
		}
		if len(b) < changeset.SumSize {
			return s, fmt.Errorf("sum of %q: %w", name, changeset.ErrTruncated)
		}
		if len(s.Tables) == maxTables {
			return s, fmt.Errorf("more than %d tables: %w", maxTables, changeset.ErrTooLarge)
		}
		s.Tables[name] = changeset.DecodeSum(b)
		last, b = name, b[changeset.SumSize:]
	}
	return s, nil
}

// appendVerdict encodes a verdict, with the names of the tables that differ.
func appendVerdict(b []byte, v verdict, tables []string) []byte {
	b = append(b, byte(v))
	for _, name := range tables {
		b = changeset.AppendBytes(b, []byte(name))
	}
	return b
}

func decodeVerdict(b []byte) (v verdict, tables []string, err error) {
	if len(b) == 0 {
		return v, nil, fmt.Errorf("verdict: %w", changeset.ErrTruncated)
	}
	v, b = verdict(b[0]), b[1:]
	if v > unequal || (v == unequal) != (len(b) > 0) {
		return v, nil, fmt.Errorf("verdict %d with %d bytes of names: %w", v, len(b), changeset.ErrCorrupt)
	}
	last := ""
	for len(b) > 0 {
		var name string
		if name, b, err = takeName(b, last); err != nil {
			return v, nil, err
		}
		tables, last = append(tables, name), name
	}
	return v, tables, nil
}

// takeName reads a name that must come after last, folded and not empty.
func takeName(b []byte, last string) (name string, rest []byte, err error) {
	part, rest, err := changeset.DecodeBytes(b, "name")
	switch {
	case err != nil:
		return "", nil, err
	case len(part) > changeset.MaxNameSize:
		return "", nil, fmt.Errorf("name of %d bytes: %w", len(part), changeset.ErrTooLarge)
	}
	name = string(part)
	if name <= last || changeset.FoldName(name) != name {
		return "", nil, fmt.Errorf("name %q after %q: %w", name, last, changeset.ErrCorrupt)
	}
	return name, rest, nil
}

// compare tells which tables of two databases differ.
func compare(ours, theirs *Sums) (verdict, []string) {
	if ours.Vector != theirs.Vector || ours.Schema != theirs.Schema {
		return moving, nil
	}
	sums := map[string]changeset.Sum{}
	for _, t := range ours.sorted() {
		sums[t.name] = t.sum
	}
	var tables []string
	for _, t := range theirs.sorted() {
		if sum, ok := sums[t.name]; !ok || sum != t.sum {
			tables = append(tables, t.name)
		}
		delete(sums, t.name)
	}
	for name := range sums { // which they do not have
		tables = append(tables, name)
	}
	if len(tables) == 0 {
		return equal, nil
	}
	slices.Sort(tables)
	return unequal, tables
}
