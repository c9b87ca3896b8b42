package main

import (
	"bytes"
	"iter"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/patinadb/patina/api/client"
	"github.com/patinadb/patina/changeset"
)

// asRead turns lines into what a reader yields.
func asRead(lines []line) iter.Seq2[line, error] {
	return func(yield func(line, error) bool) {
		for _, l := range lines {
			if !yield(l, nil) {
				return
			}
		}
	}
}

func TestCompareFindsTheFirstDifference(t *testing.T) {
	s := openThousand(t)
	p := &tables[0]
	var lines []line
	for row := range s.rowsOf(p) {
		lines = append(lines, asLine(row))
	}
	if rows, err := compare(p, s.rowsOf(p), asRead(lines)); rows != 1000 || err != nil {
		t.Fatalf("equal ones: %d rows, %v", rows, err)
	}
	for _, c := range []struct {
		desc string
		got  []line
		want string
	}{
		{"a row less in the middle", slices.Delete(slices.Clone(lines), 500, 501), "row 501 of packages is "},
		{"a row less at the end", lines[:999], "packages lacks a row of the source: " + lines[999]},
		{"nothing", nil, "packages lacks a row of the source: " + lines[0]},
		{"a row more", append(slices.Clone(lines), `["z"]`), `packages has a row that the source has not: ["z"]`},
		{"a number for text", slices.Insert(slices.Clone(lines[1:]), 0, strings.Replace(lines[0], "7891488", `"7891488"`, 1)), "row 1 of packages is "},
		{"NULL for nothing", slices.Insert(slices.Clone(lines[1:]), 0, strings.Replace(lines[0], `"games"`, "null", 1)), "row 1 of packages is "},
	} {
		if _, err := compare(p, s.rowsOf(p), asRead(c.got)); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", c.desc, err, c.want)
		}
	}
}

func TestLinesDoNotDependOnSpelling(t *testing.T) {
	row := []client.Value{changeset.TextValue("a<b>&\u2028\n\"\\/\u007f é"), changeset.IntegerValue(-5), changeset.NullValue()}
	got := "[\"a<b>&\u2028\\u000a\\\"\\\\\\/\u007f \\u00e9\",-5,null]"
	if respell(got) != asLine(row) {
		t.Errorf("%s and %s", respell(got), asLine(row))
	}
	if asLine([]client.Value{changeset.BlobValue([]byte("a"))}) == asLine([]client.Value{changeset.TextValue("a")}) {
		t.Error("a blob equals a text")
	}
}

// The tables, filled by the stock program from our own statements, read back.
func TestFileIsReadByTheStockProgram(t *testing.T) {
	if _, err := exec.LookPath("sqlite3"); err != nil {
		t.Skip("needs the sqlite3 program: ", err)
	}
	s := openThousand(t)
	s.packages = append(s.packages, pkg{Name: "zz'", Version: "1", Architecture: "all", Size: -1, Description: "für\n\"Leute\"\t\\"})
	var script bytes.Buffer
	for i := range tables {
		script.WriteString(tables[i].create + ";\n")
	}
	script.WriteString("PRAGMA journal_mode=WAL;\nBEGIN;\n")
	for i := range s.packages {
		for _, st := range statements(&s.packages[i]) {
			sql := st.SQL
			for _, v := range st.Params { // none of the statements holds another question mark
				literal := "NULL"
				switch v.Kind() {
				case changeset.Integer:
					literal = v.String()
				case changeset.Text:
					literal = "'" + strings.ReplaceAll(strings.ReplaceAll(v.Text(), "'", "''"), "?", "\x00") + "'"
				}
				sql = strings.Replace(sql, "?", literal, 1)
			}
			script.WriteString(strings.ReplaceAll(sql, "\x00", "?") + ";\n")
		}
	}
	script.WriteString("COMMIT;\n")
	file := filepath.Join(t.TempDir(), "a.db")
	command := exec.CommandContext(t.Context(), "sqlite3", "-bail", file)
	command.Stdin = &script
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for i := range tables {
		table := &tables[i]
		if rows, err := compare(table, s.rowsOf(table), fileRows(t.Context(), file, table)); err != nil || rows == 0 {
			t.Errorf("%s: %d rows, %v", table.name, rows, err)
		}
		short := &source{packages: s.packages[:10]}
		if _, err := compare(table, short.rowsOf(table), fileRows(t.Context(), file, table)); err == nil {
			t.Errorf("%s: a longer table passed", table.name)
		}
		if _, err := compare(table, s.rowsOf(table), fileRows(t.Context(), file+".none", table)); err == nil || !strings.Contains(err.Error(), "unable to open") {
			t.Errorf("%s: no file: %v", table.name, err)
		}
	}
}
