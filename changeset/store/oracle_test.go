package store

import (
	"fmt"
	"sort"
	"strings"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// oracle is DESIGN section 2 written down naively: maps, one cell at a time. It
// sees only changesets and decides what rows and clocks must be.
type oracle struct {
	rows     map[string]*oracleRow // by table and key
	seen     map[changeset.ID]bool
	defaults map[string]sqlite.Value // by table.column; what it lacks, the schema says
}

type oracleRow struct {
	length changeset.CausalLength
	stamps map[string]changeset.Stamp // by column; "!" is a row that is deleted or has no column
	values map[string]sqlite.Value
}

func newOracle() *oracle {
	return &oracle{rows: map[string]*oracleRow{}, seen: map[changeset.ID]bool{}}
}

func (o *oracle) apply(c *changeset.Changeset) {
	if o.seen[c.ID()] {
		return
	}
	o.seen[c.ID()] = true
	for _, tc := range c.Tables {
		for _, ch := range tc.Changes {
			cells := map[string]sqlite.Value{}
			n := 0
			for i := range ch.Columns.All {
				cells[tc.Columns[i]] = ch.Values[n]
				n++
			}
			if len(cells) == 0 {
				cells["!"] = changeset.NullValue()
			}
			o.merge(tc.Name+" "+join(ch.Key), ch.CausalLength, cells, c.Stamp())
		}
	}
}

func (o *oracle) merge(key string, length changeset.CausalLength, cells map[string]sqlite.Value, stamp changeset.Stamp) {
	r := o.rows[key]
	if r == nil {
		r = &oracleRow{}
		o.rows[key] = r
	}
	if length < r.length {
		return
	}
	if length > r.length {
		*r = oracleRow{length, map[string]changeset.Stamp{}, map[string]sqlite.Value{}}
	}
	for column, v := range cells {
		if old, ok := r.stamps[column]; ok && !higher(stamp, old) {
			continue
		}
		r.stamps[column], r.values[column] = stamp, v
	}
	if len(r.stamps) > 1 {
		delete(r.stamps, "!")
	}
}

// higher is the total order of stamps once more: time, actor, version.
func higher(a, b changeset.Stamp) bool {
	switch {
	case a.Time != b.Time:
		return a.Time > b.Time
	case a.Actor != b.Actor:
		return string(a.Actor[:]) > string(b.Actor[:])
	}
	return a.Version > b.Version
}

// local tells what is wrong with a changeset that was made where the oracle
// stands: each change must be the next of its row's life, its stamp above those
// that it overwrites, and `after` the highest versions among these rows' clocks.
func (o *oracle) local(c *changeset.Changeset) (faults []string) {
	after := map[changeset.ActorID]changeset.Version{}
	for _, tc := range c.Tables {
		for _, ch := range tc.Changes {
			key := tc.Name + " " + join(ch.Key)
			r := o.rows[key]
			if r == nil {
				r = &oracleRow{}
			}
			dies, lives := ch.CausalLength == r.length+1 && r.length.Alive(), ch.CausalLength == r.length+1 && !r.length.Alive()
			updated := ch.CausalLength == r.length && r.length.Alive() && !ch.Columns.IsEmpty()
			if !dies && !lives && !updated || dies && !ch.Columns.IsEmpty() {
				faults = append(faults, fmt.Sprintf("%s: length %d, columns %v after length %d", key, ch.CausalLength, ch.Columns, r.length))
			}
			for column, s := range r.stamps {
				after[s.Actor] = max(after[s.Actor], s.Version)
				if !higher(c.Stamp(), s) {
					faults = append(faults, fmt.Sprintf("%s: %v is not above %v of column %s", key, c.Stamp(), s, column))
				}
			}
		}
	}
	for _, id := range c.After {
		if after[id.Actor] != id.Version {
			faults = append(faults, fmt.Sprintf("after names version %d of %v, the clocks %d", id.Version, id.Actor, after[id.Actor]))
		}
		delete(after, id.Actor)
	}
	if len(after) > 0 {
		faults = append(faults, fmt.Sprintf("after lacks %v", after))
	}
	return faults
}

// clocks prints what node.clocks prints, but sorted by line.
func (o *oracle) clocks() string {
	var lines []string
	for key, r := range o.rows {
		groups := map[changeset.Stamp][]string{}
		for column, stamp := range r.stamps {
			if column == "!" {
				groups[stamp] = []string{}
				continue
			}
			groups[stamp] = append(groups[stamp], column)
		}
		var printed []string
		for s, names := range groups {
			printed = append(printed, fmt.Sprintf("%v %v %d %v", s.Time, s.Actor, s.Version, sortedStrings(names)))
		}
		lines = append(lines, fmt.Sprintf("%s cl %d %v", strings.ReplaceAll(key, ",", " "), r.length, sortedStrings(printed)))
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

// clockLines is node.clocks in the same form.
func clockLines(n *node) string {
	var out []string
	table := ""
	for _, line := range strings.Split(strings.TrimSpace(n.clocks()), "\n") {
		if !strings.Contains(line, " cl ") {
			table = line
			continue
		}
		out = append(out, table+" "+line)
	}
	sort.Strings(out)
	return strings.Join(out, "\n")
}

// rowLines prints every living row with its columns, apply defaults filled in.
func (o *oracle) rowLines(n *node) string {
	var lines []string
	for key, r := range o.rows {
		if !r.length.Alive() {
			continue
		}
		name, rest, _ := strings.Cut(key, " ")
		t := n.schema.Load().lookup(name)
		line := name + " " + rest
		for _, i := range t.data {
			v, ok := r.values[t.columns[i].name]
			if !ok {
				v, ok = o.defaults[name+"."+t.columns[i].name]
			}
			if !ok {
				v = t.columns[i].applyDefault
			}
			line += "|" + v.String()
		}
		lines = append(lines, line)
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

func nodeRowLines(n *node) string {
	var lines []string
	for _, t := range n.schema.Load().sorted() {
		var key, data []string
		for _, i := range t.key {
			key = append(key, "quote("+quoteIdent(t.columns[i].name)+")")
		}
		for _, i := range t.data {
			data = append(data, " || '|' || coalesce(quote("+quoteIdent(t.columns[i].name)+"), 'NULL')")
		}
		got := n.query("SELECT " + strings.Join(key, " || ',' || ") + strings.Join(data, "") + " FROM " + quoteIdent(t.name))
		for _, line := range strings.Split(got, "\n") {
			if line == "" {
				continue
			}
			line = strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(line, "'"), "'"), "''", "'")
			lines = append(lines, t.name+" "+line)
		}
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

// firstDifference returns the first lines that differ.
func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(g), len(w)) {
		var a, b string
		if i < len(g) {
			a = g[i]
		}
		if i < len(w) {
			b = w[i]
		}
		if a != b {
			return a + "\nthe oracle says\n" + b
		}
	}
	return "none"
}
