package store

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/sync/versions"
)

// transferWorld is three stores whose logs forget, and transfers between them
// (prototypes/model). Its rule: two stores that are not being filled, with equal
// applied vectors, have equal rows and clocks, at every moment.
type transferWorld struct {
	t     *testing.T
	r     *rand.Rand
	nodes []*node
	held  map[*node]*versions.Vector // of a transfer in progress, at its begin
	fills int
}

// anyLog gives n some of what from has and still has in its log, and reports whether
// that was all.
func (w *transferWorld) anyLog(n, from *node, most int) (all bool) {
	all = true
	var batch []changeset.Sealed
	for _, need := range versions.Missing(n.Vector(), from.Vector()) {
		for _, r := range need.Ranges {
			for v := r.First; v <= r.Last; v++ {
				s, err := from.Changeset(w.t.Context(), changeset.ID{Actor: need.Actor, Version: v})
				switch {
				case errors.Is(err, ErrNotInLog):
					all = false
				case err != nil:
					w.t.Fatal(err)
				case len(batch) < most:
					batch = append(batch, s)
				}
			}
		}
	}
	if err := n.Apply(w.t.Context(), batch); err != nil {
		w.t.Fatal(err)
	}
	return all
}

func (w *transferWorld) write(n *node) {
	key := w.r.IntN(4)
	sql := []string{
		"INSERT OR REPLACE INTO item(id, a) VALUES(%[1]d, '%[2]d')", "UPDATE item SET b = %[2]d WHERE id = %[1]d", "DELETE FROM item WHERE id = %[1]d",
		"INSERT OR REPLACE INTO flag VALUES('%[1]d', %[2]d)", "DELETE FROM flag WHERE name = '%[1]d'", "UPDATE flag SET value = %[2]d",
		"INSERT OR IGNORE INTO service(region, name) VALUES('r', '%[1]d')", "UPDATE service SET note = %[2]d", "DELETE FROM service WHERE name = '%[1]d'",
		"INSERT OR IGNORE INTO edge VALUES('%[1]d', 'b')", "DELETE FROM edge WHERE a = '%[1]d'",
	}
	var statements []string
	for range 1 + w.r.IntN(3) {
		statements = append(statements, fmt.Sprintf(sql[w.r.IntN(len(sql))], key, w.r.IntN(1000)))
	}
	n.exec(statements...)
}

// transfer goes one step on with the transfer into n, or begins one.
func (w *transferWorld) transfer(n, from *node) {
	f := n.Filling()
	if f != nil && f.Complete {
		if _, err := n.SettleFill(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
	}
	switch f = n.Filling(); {
	case from.Filling() != nil:
	case f != nil && !f.Complete && f.Source == from.Actor():
		p, err := from.readState(w.t.Context(), f.Cursor, w.held[n], partLimits{bytes: 1, rows: 1 + w.r.IntN(5), time: 1 << 40})
		if err == nil {
			err = n.FillPart(w.t.Context(), p)
		}
		if err != nil {
			w.t.Fatal(err)
		}
	case f != nil && w.r.IntN(8) > 0, versions.Missing(n.Vector(), from.Vector()) == nil:
	default:
		w.held[n] = n.Vector().AppliedOnly()
		if err := n.BeginFill(w.t.Context(), from.Actor(), from.Vector(), from.StateTables()); err != nil {
			w.t.Fatal(err)
		}
		w.fills++
	}
}

func (w *transferWorld) restart(i int) {
	was := w.nodes[i]
	held := w.held[was]
	was.damaged = true
	w.nodes[i] = reopened(w.t, was, was.cfg.Path, "")
	w.nodes[i].damaged = true
	w.held[w.nodes[i]] = held
}

func (w *transferWorld) check(what string) {
	w.t.Helper()
	for i, a := range w.nodes {
		for _, b := range w.nodes[:i] {
			if a.Filling() != nil || b.Filling() != nil || a.Vector().Digest() != b.Vector().Digest() {
				continue
			}
			if x, y := a.Sums().Tables, b.Sums().Tables; !maps.Equal(x, y) || a.content() != b.content() {
				w.t.Fatalf("after %s: equal vectors, unequal rows:\n%s\n%s--- and\n%s\n%s", what, a.content(), a.clocks(), b.content(), b.clocks())
			}
		}
	}
}

func (w *transferWorld) step() string {
	i, j := w.r.IntN(3), w.r.IntN(2)
	if j >= i {
		j++
	}
	a, b := w.nodes[i], w.nodes[j]
	switch p := w.r.IntN(100); {
	case p < 30:
		w.write(a)
		return "a write"
	case p < 50:
		w.anyLog(a, b, 1+w.r.IntN(3))
		return "some of a log"
	case p < 60:
		a.forget()
		return "a log that forgets"
	case p < 62:
		w.restart(i)
		return "a restart"
	}
	w.transfer(a, b)
	return "a part"
}

// TestRandomTransfers: after random histories all stores end equal, and never was there
// a moment of equal vectors and unequal rows.
func TestRandomTransfers(t *testing.T) {
	t.Parallel()
	seeds := 6
	switch {
	case *long:
		seeds = 400
	case testing.Short():
		seeds = 2
	}
	var fills atomic.Int64
	t.Cleanup(func() {
		if n := fills.Load(); n < int64(2*seeds) && !t.Failed() {
			t.Errorf("%d transfers in %d histories", n, seeds)
		}
	})
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			w := &transferWorld{t: t, r: rand.New(rand.NewPCG(uint64(seed), 21)), held: map[*node]*versions.Vector{}}
			for i := range 3 {
				w.nodes = append(w.nodes, start(t, Config{Path: filepath.Join(t.TempDir(), fmt.Sprint(i, ".db")), Schema: schemaOf(itemsSchema)}))
			}
			for range 200 {
				w.check(w.step())
			}
			w.finish()
			requireEqual(t, w.nodes...)
			fills.Add(int64(w.fills))
		})
	}
}

// finish lets everybody get everything.
func (w *transferWorld) finish() {
	for round := 0; ; round++ {
		done := true
		for i, a := range w.nodes {
			for j, b := range w.nodes {
				if i == j {
					continue
				}
				all := w.anyLog(a, b, 1<<20)
				if f := a.Filling(); f != nil || !all {
					done = false
					w.transfer(a, b)
				}
				w.check("a round of the end")
			}
		}
		if done && round > 0 {
			return
		}
		if round > 2000 {
			w.t.Fatalf("no end: filling %+v, %+v, %+v", w.nodes[0].Filling(), w.nodes[1].Filling(), w.nodes[2].Filling())
		}
	}
}
