package nodetest

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/hlc"
	"github.com/patinadb/patina/changeset/sqlite"
)

// Content is what a database holds, in a form that is equal for equal content:
// a line for each row and for each row clock, by table.
type Content struct {
	Rows   map[string][]string // values as SQL literals, which tell storage classes apart
	Clocks map[string][]string // actors by their ids, columns by name
}

// Content reads the member's file by a connection of its own, in one snapshot,
// whether the node runs or not.
func (m *Member) Content() Content {
	m.cluster.t.Helper()
	c, err := readContent(m.Path())
	if err != nil {
		m.cluster.t.Fatalf("read %s: %v", m.Path(), err)
	}
	return c
}

func readContent(path string) (c Content, err error) {
	conn, err := sqlite.Open(sqlite.Config{Path: path, ReadOnly: true, BusyTimeout: -1})
	if err != nil {
		return c, err
	}
	defer conn.Close()
	r := contentReader{conn: conn, actors: map[uint64]changeset.ActorID{}}
	if err := conn.Exec("BEGIN"); err != nil {
		return c, err
	}
	err = r.read()
	return r.Content, err
}

type contentReader struct {
	Content
	conn   *sqlite.Conn
	actors map[uint64]changeset.ActorID // by local ordinal
}

func (r *contentReader) read() error {
	r.Rows, r.Clocks = map[string][]string{}, map[string][]string{}
	err := r.conn.Each("SELECT ord, id FROM __patina_actor", nil, func(s *sqlite.Stmt) error {
		r.actors[uint64(s.Integer(0))] = changeset.ActorID(s.View(1))
		return nil
	})
	if err != nil {
		return err
	}
	var names []string
	err = r.conn.Each(`SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\' AND name NOT LIKE '\_\_patina\_%' ESCAPE '\'`,
		nil, func(s *sqlite.Stmt) error {
			names = append(names, string(s.View(0)))
			return nil
		})
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := r.table(name); err != nil {
			return fmt.Errorf("table %s: %w", name, err)
		}
	}
	return nil
}

// table reads rows and clocks. Columns are printed in order of name, since nodes
// may have added them in different orders.
func (r *contentReader) table(name string) error {
	var data, all, key []string // data: columns beyond the key, in the table's order; key: in the key's
	err := r.conn.Each("SELECT name, pk FROM pragma_table_xinfo(?) WHERE hidden = 0 ORDER BY pk, cid", []sqlite.Value{changeset.TextValue(name)}, func(s *sqlite.Stmt) error {
		column := string(s.View(0))
		all = append(all, quote(column))
		if s.Integer(1) == 0 {
			data = append(data, column)
		} else {
			key = append(key, "t."+quote(column))
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.Sort(all)
	rows := []string{strings.Join(all, "|")}
	err = r.conn.Each("SELECT "+strings.Join(all, ", ")+" FROM "+quote(name), nil, func(s *sqlite.Stmt) error {
		rows = append(rows, joinValues(s, s.ColumnCount()))
		return nil
	})
	if err != nil {
		return err
	}
	var clocks []string
	err = r.conn.Each(r.clockQuery(name, key), nil, func(s *sqlite.Stmt) error {
		last := s.ColumnCount() - 1
		clock, err := r.clock(s.View(last), data)
		clocks = append(clocks, joinValues(s, last)+" "+clock)
		return err
	})
	slices.Sort(rows[1:])
	slices.Sort(clocks)
	r.Rows[name], r.Clocks[name] = rows, clocks
	return err
}

// clockQuery yields key and clock of every row of a table. Where dead rows have a
// table of their own, the clocks of the living go by rowid behind 8 bytes that
// guard them; here they must all find their row.
func (r *contentReader) clockQuery(name string, key []string) string {
	clock, tomb := quote("__patina_clk_"+name), quote("__patina_tomb_"+name)
	if r.conn.Each("SELECT 1 FROM "+tomb, nil, nil) != nil {
		return "SELECT * FROM " + clock
	}
	return "SELECT " + strings.Join(key, ", ") + ", substr(c.m, 9) FROM " + clock + " c LEFT JOIN " + quote(name) + " t ON t.rowid = c.rid UNION ALL SELECT * FROM " + tomb
}

// clock prints a stored clock: a uvarint causal length, then groups of a column
// set, 8 bytes of time, and uvarints of the actor's ordinal and of the version.
// A column set is the uvarint n<<1 for the first n columns, else bytes<<1|1 and
// a bitmap.
func (r *contentReader) clock(b []byte, columns []string) (string, error) {
	d := decoder{b: b}
	length := d.uvarint()
	var groups []string
	for len(d.b) > 0 && !d.bad {
		names := d.columns(columns)
		t := d.take(8)
		actor, known := r.actors[d.uvarint()]
		version := d.uvarint()
		if d.bad || !known {
			return "", fmt.Errorf("row clock x'%x' cannot be read", b)
		}
		groups = append(groups, fmt.Sprintf("%v %v %d %v", hlc.Timestamp(binary.BigEndian.Uint64(t)), actor, version, names))
	}
	slices.Sort(groups)
	return fmt.Sprintf("length %d %v", length, groups), nil
}

// decoder reads the parts of a clock; bad says that one was cut off.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) uvarint() uint64 {
	x, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.b, d.bad = nil, true
		return 0
	}
	d.b = d.b[n:]
	return x
}

func (d *decoder) take(n uint64) []byte {
	if uint64(len(d.b)) < n {
		d.b, d.bad = nil, true
		return nil
	}
	out := d.b[:n]
	d.b = d.b[n:]
	return out
}

// columns reads a column set and returns its names, sorted.
func (d *decoder) columns(all []string) (names []string) {
	x := d.uvarint()
	var bitmap []byte
	if x&1 != 0 {
		bitmap = d.take(x >> 1)
	} else if x>>1 > uint64(len(all)) {
		d.bad = true
	}
	for i, name := range all {
		if x&1 == 0 && uint64(i) < x>>1 || i/8 < len(bitmap) && bitmap[i/8]>>(i%8)&1 != 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func joinValues(s *sqlite.Stmt, n int) string {
	values := make([]string, n)
	for i := range values {
		values[i] = s.Column(i).String()
	}
	return strings.Join(values, "|")
}

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// Diff says where two contents differ, in at most ten lines; "" if they do not.
func (c Content) Diff(o Content) string {
	var out []string
	for _, part := range []struct {
		what string
		a, b map[string][]string
	}{{"row", c.Rows, o.Rows}, {"clock", c.Clocks, o.Clocks}} {
		tables := map[string]bool{}
		for name := range part.a {
			tables[name] = true
		}
		for name := range part.b {
			tables[name] = true
		}
		for name := range tables {
			out = append(out, diffLines(part.what+" of "+name, part.a[name], part.b[name])...)
		}
	}
	return strings.Join(out[:min(len(out), 10)], "\n")
}

// diffLines lists what only one of two sorted lists holds.
func diffLines(what string, a, b []string) (out []string) {
	for _, line := range a {
		if !slices.Contains(b, line) {
			out = append(out, "only the first has "+what+": "+line)
		}
	}
	for _, line := range b {
		if !slices.Contains(a, line) {
			out = append(out, "only the second has "+what+": "+line)
		}
	}
	return out
}
