package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/patinadb/patina/changeset"
)

// gridRows is how many rows a grid gathers to find the columns' widths; the rows
// after them are printed as they come, so that memory stays bounded.
const gridRows = 1000

// grid prints rows in aligned columns.
type grid struct {
	out    io.Writer
	before string
	header []string
	rows   [][]string
	widths []int // set once the header was printed
}

func newGrid(out io.Writer, header ...string) *grid {
	names := make([]string, len(header))
	for i, name := range header {
		names[i] = printable(name)
	}
	return &grid{out: out, header: names}
}

// after sets what is printed ahead of the header.
func (g *grid) after(before string) *grid {
	g.before = before
	return g
}

func (g *grid) add(row ...string) error {
	if g.widths != nil {
		return g.print(row)
	}
	if g.rows = append(g.rows, row); len(g.rows) < gridRows {
		return nil
	}
	return g.flush()
}

// flush prints what was gathered, and the header if it was not printed yet.
func (g *grid) flush() error {
	if g.widths != nil {
		return nil
	}
	g.widths = make([]int, len(g.header))
	for _, row := range append(g.rows, g.header) {
		for i, cell := range row {
			g.widths[i] = max(g.widths[i], utf8.RuneCountInString(cell))
		}
	}
	if _, err := io.WriteString(g.out, g.before); err != nil {
		return err
	}
	for _, row := range append([][]string{g.header}, g.rows...) {
		if err := g.print(row); err != nil {
			return err
		}
	}
	g.rows = nil
	return nil
}

// flushIfAny leaves out a grid without rows.
func (g *grid) flushIfAny() error {
	if len(g.rows) == 0 {
		return nil
	}
	return g.flush()
}

func (g *grid) print(row []string) error {
	var b strings.Builder
	for i, cell := range row {
		b.WriteString(cell)
		if i < len(row)-1 {
			fill := max(0, g.widths[i]-utf8.RuneCountInString(cell)) + 2
			b.WriteString(strings.Repeat(" ", fill))
		}
	}
	_, err := fmt.Fprintln(g.out, strings.TrimRight(b.String(), " "))
	return err
}

// cells are values as a person reads them: text without quotes.
func cells(values []changeset.Value) []string {
	list := make([]string, len(values))
	for i, v := range values {
		if v.Kind() == changeset.Text {
			list[i] = printable(v.Text())
			continue
		}
		list[i] = v.String()
	}
	return list
}

// printable escapes what would break a line or command a terminal.
func printable(s string) string {
	clean := true
	for _, r := range s {
		clean = clean && unicode.IsPrint(r) && r != utf8.RuneError
	}
	if clean {
		return s
	}
	q := strconv.QuoteToGraphic(s)
	q = strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
	return strings.ReplaceAll(q, `\\`, `\`)
}
