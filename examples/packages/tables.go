package main

import (
	"cmp"
	"iter"
	"slices"
	"strings"

	"github.com/patinadb/patina/api/client"
	"github.com/patinadb/patina/changeset"
)

// table is one of the two tables and how a package fills it. Rows come in the
// order of the key if packages do.
type table struct {
	name    string
	create  string
	columns []string
	key     int // the first so many columns
	rows    func(p *pkg) iter.Seq[[]client.Value]
}

// An index can name a package more than once: other versions of it, and on
// machines of more than one architecture other builds. So the key is all three.
var tables = []table{
	{
		name: "packages",
		create: `CREATE TABLE packages (
	name         TEXT NOT NULL,
	version      TEXT NOT NULL,
	architecture TEXT NOT NULL,
	section      TEXT,
	priority     TEXT,
	size         INTEGER, -- bytes
	homepage     TEXT,
	description  TEXT,
	PRIMARY KEY (name, version, architecture)
)`,
		columns: []string{"name", "version", "architecture", "section", "priority", "size", "homepage", "description"},
		key:     3,
		rows:    packageRow,
	},
	{
		name: "dependencies",
		create: `CREATE TABLE dependencies (
	name         TEXT NOT NULL,
	version      TEXT NOT NULL,
	architecture TEXT NOT NULL,
	kind         TEXT NOT NULL,    -- Depends or Pre-Depends
	clause       INTEGER NOT NULL, -- every clause must hold
	alternative  INTEGER NOT NULL, -- one alternative is enough
	target       TEXT NOT NULL,
	relation     TEXT,             -- such as >= 2.34
	PRIMARY KEY (name, version, architecture, kind, clause, alternative)
)`,
		columns: []string{"name", "version", "architecture", "kind", "clause", "alternative", "target", "relation"},
		key:     6,
		rows:    dependencyRows,
	},
}

func packageRow(p *pkg) iter.Seq[[]client.Value] {
	return func(yield func([]client.Value) bool) {
		size := changeset.NullValue()
		if p.Size >= 0 {
			size = changeset.IntegerValue(p.Size)
		}
		yield([]client.Value{changeset.TextValue(p.Name), changeset.TextValue(p.Version), changeset.TextValue(p.Architecture),
			textOrNull(p.Section), textOrNull(p.Priority), size, textOrNull(p.Homepage), textOrNull(p.Description)})
	}
}

func dependencyRows(p *pkg) iter.Seq[[]client.Value] {
	return func(yield func([]client.Value) bool) {
		for _, d := range p.Dependencies {
			if !yield([]client.Value{changeset.TextValue(p.Name), changeset.TextValue(p.Version), changeset.TextValue(p.Architecture),
				changeset.TextValue(d.Kind), changeset.IntegerValue(int64(d.Clause)), changeset.IntegerValue(int64(d.Alternative)),
				changeset.TextValue(d.Target), textOrNull(d.Relation)}) {
				return
			}
		}
	}
}

func textOrNull(s string) client.Value {
	if s == "" {
		return changeset.NullValue()
	}
	return changeset.TextValue(s)
}

// upsert is the statement that writes one row. It may run twice: a second run
// of the program changes nothing.
func (t *table) upsert() string {
	var set []string
	for _, c := range t.columns[t.key:] {
		set = append(set, c+" = excluded."+c)
	}
	return "INSERT INTO " + t.name + " (" + strings.Join(t.columns, ", ") + ") VALUES (?" + strings.Repeat(", ?", len(t.columns)-1) +
		") ON CONFLICT (" + strings.Join(t.columns[:t.key], ", ") + ") DO UPDATE SET " + strings.Join(set, ", ")
}

// inOrder selects expressions from every row in the order of the key.
func (t *table) inOrder(expressions string) string {
	return "SELECT " + expressions + " FROM " + t.name + " ORDER BY " + strings.Join(t.columns[:t.key], ", ")
}

// statements writes p to both tables.
func statements(p *pkg) (list []client.Statement) {
	for i := range tables {
		sql := tables[i].upsert()
		for row := range tables[i].rows(p) {
			list = append(list, client.Statement{SQL: sql, Params: row})
		}
	}
	return list
}

// source is what the tables should hold.
type source struct {
	packages []pkg // sorted by key, each key once
	repeated int   // stanzas with the key of an earlier one, which were left out
	rows     int   // in both tables
}

// collect reads packages to the end.
func collect(index iter.Seq2[pkg, error]) (*source, error) {
	s := &source{}
	seen := map[[3]string]bool{}
	for p, err := range index {
		if err != nil {
			return nil, err
		}
		key := [3]string{p.Name, p.Version, p.Architecture}
		if seen[key] {
			s.repeated++
			continue
		}
		seen[key] = true
		s.packages = append(s.packages, p)
		s.rows += 1 + len(p.Dependencies)
	}
	slices.SortFunc(s.packages, func(a, b pkg) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Version, b.Version), strings.Compare(a.Architecture, b.Architecture))
	})
	return s, nil
}

// rowsOf returns what t should hold, in the order of its key.
func (s *source) rowsOf(t *table) iter.Seq[[]client.Value] {
	return func(yield func([]client.Value) bool) {
		for i := range s.packages {
			for row := range t.rows(&s.packages[i]) {
				if !yield(row) {
					return
				}
			}
		}
	}
}
