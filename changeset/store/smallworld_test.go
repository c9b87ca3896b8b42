package store

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

const smallOps = 4

// smallSchedule says who writes and what the writers know: by operation the
// replica, and the earlier operations, as a set of bits, that reach it just before.
type smallSchedule struct {
	by  [smallOps]int
	get [smallOps]uint
}

// smallSchedules lists every schedule of four operations by up to three replicas,
// which are numbered in the order in which they first write. What reaches a
// replica is any set of others' operations that did not reach it before: also one
// without what its members follow.
func smallSchedules() (out []smallSchedule) {
	var extend func(s smallSchedule, op, replicas int, held [3]uint)
	extend = func(s smallSchedule, op, replicas int, held [3]uint) {
		if op == smallOps {
			out = append(out, s)
			return
		}
		for by := range min(replicas+1, 3) {
			for get := range uint(1) << op {
				if get&held[by] != 0 {
					continue
				}
				next := held
				next[by] |= get | 1<<op
				s.by[op], s.get[op] = by, get
				extend(s, op+1, max(replicas, by+1), next)
			}
		}
	}
	extend(smallSchedule{}, 0, 0, [3]uint{})
	return out
}

// smallWorlds is how many worlds share a schedule: the first operation makes key 0,
// each later one takes one of 2 keys and is one of 4 kinds.
const smallWorlds = 8 * 8 * 8

// smallKinds are what an operation does to a row that is there: it deletes it, or
// writes one column, the other, or both. One that is not there it makes.
var smallKinds = []string{"", "a = excluded.a", "b = excluded.b", "a = excluded.a, b = excluded.b"}

var smallTables = []string{
	"CREATE TABLE s(id INTEGER PRIMARY KEY, a TEXT, b TEXT);",
	"CREATE TABLE s(id TEXT NOT NULL PRIMARY KEY, a TEXT, b TEXT);",
	"CREATE TABLE s(id TEXT NOT NULL PRIMARY KEY, a TEXT, b TEXT) WITHOUT ROWID;",
}

// smallRun is one schedule in all worlds at once: each has two rows of its own.
type smallRun struct {
	smallSchedule
	t        *testing.T
	r        *rand.Rand
	integer  bool // keys
	replicas []*node
	oracles  []*oracle
	made     [smallOps]changeset.Sealed
}

func newSmallRun(t *testing.T, s smallSchedule, index int) *smallRun {
	m := &smallRun{smallSchedule: s, t: t, r: rand.New(rand.NewPCG(uint64(index), 9)), integer: index%len(smallTables) == 0}
	skews := m.r.Perm(4)
	for i := range 4 { // one of them only listens
		skew := time.Duration(skews[i]) * 10 * time.Minute // beyond what drags another's clock
		m.replicas = append(m.replicas, start(t, Config{
			Schema: schemaOf(smallTables[index%len(smallTables)]), Readers: 1,
			Now: func() time.Time { return time.Now().Add(skew) },
		}))
		m.oracles = append(m.oracles, newOracle())
	}
	return m
}

// statements is operation op in every world. alive tells which rows are there.
func (m *smallRun) statements(op int, alive func(key sqlite.Value) bool) (sts []sqlite.Statement) {
	for world := range smallWorlds {
		choice := 0
		if op > 0 {
			choice = world >> (3 * (op - 1)) & 7
		}
		id := 2*world + choice&1
		key := value(id)
		if !m.integer {
			key = value(fmt.Sprint("k", id))
		}
		set := smallKinds[choice>>1]
		if set == "" && alive(key) {
			sts = append(sts, sqlite.Statement{SQL: "DELETE FROM s WHERE id = ?", Params: []sqlite.Value{key}})
			continue
		}
		sql := "INSERT INTO s VALUES(?1, ?2, ?2)"
		if set != "" {
			sql += " ON CONFLICT DO UPDATE SET " + set
		}
		sts = append(sts, sqlite.Statement{SQL: sql, Params: []sqlite.Value{key, value(fmt.Sprint("op ", op))}})
	}
	return sts
}

// write does operation op at its replica.
func (m *smallRun) write(op int) {
	n, o := m.replicas[m.by[op]], m.oracles[m.by[op]]
	sts := m.statements(op, func(key sqlite.Value) bool {
		r := o.rows["s "+join([]sqlite.Value{key})]
		return r != nil && r.length.Alive()
	})
	out := n.transact(sts)
	if f := out.failure(); f != "" || out.id.Version == 0 {
		m.t.Fatalf("operation %d: %q, version %d", op, f, out.id.Version)
	}
	s, err := n.Changeset(m.t.Context(), out.id)
	if err != nil {
		m.t.Fatal(err)
	}
	c, err := s.Decode()
	if err != nil {
		m.t.Fatal(err)
	}
	if faults := o.local(c); len(faults) > 0 {
		m.t.Fatalf("operation %d: %s", op, faults[0])
	}
	m.made[op] = s
	o.apply(c)
}

// deliver brings a set of operations to replica i in a random order, and lets none
// wait for another.
func (m *smallRun) deliver(i int, set uint) {
	var batch []changeset.Sealed
	for op, s := range m.made {
		if set>>op&1 == 1 {
			batch = append(batch, s)
		}
	}
	m.r.Shuffle(len(batch), func(a, b int) { batch[a], batch[b] = batch[b], batch[a] })
	for _, s := range batch {
		apply(m.t, m.replicas[i], s)
		m.replicas[i].endWaiting()
		c, err := s.Decode()
		if err != nil {
			m.t.Fatal(err)
		}
		m.oracles[i].apply(c)
	}
}

func (m *smallRun) check(i int, when string) {
	m.t.Helper()
	n, o := m.replicas[i], m.oracles[i]
	if got, want := clockLines(n), o.clocks(); got != want {
		m.t.Fatalf("%+v, %s, replica %d: clocks\n%s", m.smallSchedule, when, i, firstDifference(got, want))
	}
	if got, want := nodeRowLines(n), o.rowLines(n); got != want {
		m.t.Fatalf("%+v, %s, replica %d: rows\n%s", m.smallSchedule, when, i, firstDifference(got, want))
	}
}

func (m *smallRun) run() {
	for op := range smallOps {
		m.deliver(m.by[op], m.get[op])
		m.check(m.by[op], fmt.Sprintf("before operation %d", op))
		m.write(op)
		m.check(m.by[op], fmt.Sprintf("after operation %d", op))
	}
	for i := range m.replicas {
		m.deliver(i, 1<<smallOps-1) // also what is there
		m.check(i, "in the end")
	}
	requireEqual(m.t, m.replicas...)
}

// TestSmallWorldsOfStores runs three replicas, two keys, two columns and every
// order of four operations through real stores: every schedule of who writes what
// he knows, with every choice of keys and kinds, 512 worlds a schedule, in tables
// of three layouts and with clocks that are apart in a random order. Fewer
// operations are the beginnings of these. There are 222 schedules; -long takes
// every one, 113,664 worlds, other runs a sample. That each set of writes comes to
// the same in every order is shown without stores (changeset.TestSmallWorldIsExact).
func TestSmallWorldsOfStores(t *testing.T) {
	t.Parallel()
	all := smallSchedules()
	if len(all) != 222 {
		t.Errorf("%d schedules, want 222", len(all))
	}
	step := 1
	switch {
	case testing.Short():
		step = 110
	case !*long:
		step = 37
	}
	for i := 0; i < len(all); i += step {
		t.Run(fmt.Sprint("schedule ", i), func(t *testing.T) {
			t.Parallel()
			newSmallRun(t, all[i], i).run()
		})
	}
}
