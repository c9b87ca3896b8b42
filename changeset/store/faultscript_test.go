package store

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
	"github.com/patinadb/patina/changeset/sqlite/faultdisk"
)

// scripted runs a script on a disk with one fault.
type scripted struct {
	*faulty
	t      *testing.T
	fault  faultdisk.Fault
	r      *rand.Rand
	remote []changeset.Sealed
	stuck  int  // steps that a lasting fault has failed calls of
	lifted bool // a lasting fault is gone
	failed []string
}

// stuckSteps is for how many steps a lasting fault lasts, from the first it hits.
const stuckSteps = 3

// TestEveryCallFails lets each call of a scripted life of a store fail in turn:
// opens, writes, remote changesets, a change of the schema, checkpoints, a WAL that
// starts over, reads, a close and an open again. A step may fail if a call of its own
// did, and says so; then all goes on as if nothing had been. Nothing acknowledged is
// lost, no step is half done, no file stays open.
func TestEveryCallFails(t *testing.T) {
	t.Parallel()
	clean := runScript(t, faultdisk.Fault{Nth: 1 << 30})
	if clean.steps > 0 || clean.resets < 2 {
		t.Fatalf("without a fault: %d steps failed, the WAL started over %d times", clean.steps, clean.resets)
	}
	for _, test := range []struct {
		fault  faultdisk.Fault
		runs   int // without -long
		leeway int // calls that the others than the writer make more or fewer
	}{
		{faultdisk.Fault{Op: faultdisk.Any}, 45, 20},
		{faultdisk.Fault{Op: faultdisk.Any, Lasting: true}, 25, 20},
		{faultdisk.Fault{Op: faultdisk.Write, Full: true}, 20, 5},
		{faultdisk.Fault{Op: faultdisk.Write, Full: true, Lasting: true}, 15, 5},
	} {
		t.Run(fmt.Sprintf("%v,full=%v,lasting=%v", test.fault.Op, test.fault.Full, test.fault.Lasting), func(t *testing.T) {
			calls := clean.calls[test.fault.Op]
			stride := max(1, calls/test.runs)
			switch {
			case *long:
				stride = 1
			case testing.Short():
				stride *= 4
			}
			runs, hits, steps := 0, 0, 0
			for nth := 1 + rand.IntN(stride); nth <= calls+test.leeway; nth += stride {
				fault := test.fault
				fault.Nth = nth
				s := runScript(t, fault)
				runs++
				if s.hit {
					hits++
				}
				steps += s.steps
				if t.Failed() {
					t.Fatalf("call %d of %d", nth, calls)
				}
			}
			t.Logf("%d of %d calls, %d met, %d steps failed", runs, calls, hits, steps)
			if hits < runs*9/10 || steps == 0 {
				t.Error("too few")
			}
		})
	}
}

// ran is what came of a script.
type ran struct {
	calls  map[faultdisk.Op]int
	hit    bool // the fault failed a call
	steps  int  // that failed
	resets int  // see there
}

func runScript(t *testing.T, fault faultdisk.Fault) ran {
	t.Helper()
	d := newDisk(t, faultdisk.Image{})
	cfg := onDisk(Config{Path: filepath.Join(t.TempDir(), "n.db"), Schema: schemaOf(itemsSchema), Readers: 1, MaxWALBytes: faultyWAL}, d)
	r := rand.New(rand.NewPCG(1, 2))
	s := &scripted{faulty: &faulty{cfg: cfg, disk: d, hashes: map[changeset.ID]changeset.Hash{}}, t: t, fault: fault, r: r, remote: foreign(t, r, 12)}
	d.Fail(fault)
	s.open()
	for range 4 {
		s.write()
	}
	s.step("migrate", func() error {
		_, _, err := s.Migrate(t.Context(), []sqlite.Statement{text("CREATE TABLE IF NOT EXISTS later(id INTEGER PRIMARY KEY, v TEXT)")})
		return err
	})
	for i := range 12 {
		s.write()
		switch i % 4 {
		case 1:
			s.step("read", s.read)
		case 3:
			s.step("checkpoint", func() error { return s.checkpoint(i == 7) })
		}
	}
	s.close()
	s.open()
	s.write()
	out := ran{map[faultdisk.Op]int{}, s.lifted || d.Hits() > 0, 0, s.resets}
	for _, op := range []faultdisk.Op{faultdisk.Any, faultdisk.Write} {
		out.calls[op] = d.Count(op)
	}
	d.Clear()
	s.lifted = true
	s.write()
	s.check()
	s.close()
	s.open()
	s.check()
	s.close()
	if err := d.Close(); err != nil {
		t.Errorf("%v: %v", s.failed, err)
	}
	out.steps = len(s.failed)
	return out
}

// step does something that may fail if the fault hits meanwhile.
func (s *scripted) step(name string, do func() error) error {
	s.t.Helper()
	before := s.disk.Hits()
	err := do()
	after := s.disk.Hits()
	if err != nil {
		s.failed = append(s.failed, name)
		if after == before {
			s.t.Errorf("after %v, %s failed although no call did: %v", s.failed, name, err)
		}
	}
	if s.fault.Lasting && after > 0 {
		if s.stuck++; s.stuck == stuckSteps {
			s.disk.Clear()
			s.lifted = true
		}
	}
	return err
}

// open starts the store, again if it fails.
func (s *scripted) open() {
	s.t.Helper()
	for s.node = nil; s.node == nil && !s.t.Failed(); {
		s.step("open", func() (err error) {
			s.node, err = launch(s.t, s.cfg)
			return err
		})
	}
	if s.node == nil {
		s.t.FailNow()
	}
	s.forget()
	s.learn()
}

// learn notes what an open found of a commit whose answer was an error: that may be
// kept, if it is whole.
func (s *scripted) learn() {
	own := s.Actor()
	for _, held := range s.Vector().Entry(own).Applied.Ranges() {
		for v := held.First; v <= held.Last; v++ {
			id := changeset.ID{Actor: own, Version: v}
			if _, known := s.hashes[id]; known {
				continue
			}
			if sealed, err := s.Changeset(s.t.Context(), id); err == nil {
				s.hashes[id] = sealed.Hash
			}
		}
	}
}

func (s *scripted) write() {
	s.t.Helper()
	s.step("write", func() error { return s.faulty.write(s.t, s.r, &s.remote) })
	s.look()
}

func (s *scripted) read() error {
	var out rows
	return s.Query(s.t.Context(), text("SELECT count(*) FROM item"), &out)
}

// close stops the store. What a connection cannot do at its close, the next open
// does.
func (s *scripted) close() {
	s.t.Helper()
	s.step("close", s.stop)
	s.note(s.t)
}

// check compares what is there with what was promised.
func (s *scripted) check() {
	s.t.Helper()
	s.note(s.t)
	if err := s.checkPromised(s.node, s.disk.Point()); err != nil {
		s.t.Errorf("after %v: %v", strings.Join(s.failed, ", "), err)
	}
}
