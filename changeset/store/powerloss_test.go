package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
	"github.com/patinadb/patina/changeset/sqlite/faultdisk"
)

// faulty is a store on a simulated disk with what was promised of it.
type faulty struct {
	*node
	cfg  Config
	disk *faultdisk.Disk

	acks     []faultyAck
	hashes   map[changeset.ID]changeset.Hash // of all that was committed
	sidecars []faultySidecar

	salts  [8]byte // of the WAL, at the last look
	resets int     // of the WAL, by the store itself: see look
}

// look counts the log when it has started over since the last look, if that was not
// the test's own doing.
func (f *faulty) look() {
	f.onWriter(func(w *writer) {
		x, ok := w.conn.WALIndex()
		if ok && x.Salts != f.salts {
			if f.salts != [8]byte{} {
				f.resets++
			}
			f.salts = x.Salts
		}
	})
}

// forget makes what was done to the WAL not count.
func (f *faulty) forget() { f.salts = [8]byte{} }

// faultyAck: what was acknowledged before a point of the disk's history.
type faultyAck struct {
	point int
	id    changeset.ID
}

type faultySidecar struct {
	point int
	sidecar
}

// faultyWAL makes the store start the WAL over from a quarter of it: every few
// writes.
const faultyWAL = 512 << 10

func newDisk(t *testing.T, img faultdisk.Image) *faultdisk.Disk {
	t.Helper()
	d, err := faultdisk.New(img)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// onDisk makes cfg's database live on d.
func onDisk(cfg Config, d *faultdisk.Disk) Config {
	cfg.VFS = d.VFS()
	cfg.stat = func(path string) (fileState, error) {
		n, size, err := d.Stat(path)
		if err != nil {
			return fileState{}, err
		}
		return fileState{inode{1, n}, size}, nil
	}
	return cfg
}

// startFaulty begins with an empty disk, which is closed at the end of the test.
func startFaulty(t *testing.T) *faulty {
	t.Helper()
	d := newDisk(t, faultdisk.Image{})
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	cfg := Config{Path: filepath.Join(t.TempDir(), "n.db"), Schema: schemaOf(itemsSchema), Readers: 1, MaxWALBytes: faultyWAL}
	f := &faulty{cfg: onDisk(cfg, d), disk: d, hashes: map[changeset.ID]changeset.Hash{}}
	f.restart(t)
	return f
}

// restart stops the store, if it runs, and opens it again.
func (f *faulty) restart(t *testing.T) {
	t.Helper()
	if f.node != nil {
		if err := f.stop(); err != nil {
			t.Fatal(err)
		}
		f.note(t)
	}
	f.node = start(t, f.cfg)
	f.forget()
	f.note(t)
}

// note records the identity file and what was committed since the start.
func (f *faulty) note(t *testing.T) {
	t.Helper()
	f.sidecars = append(f.sidecars, faultySidecar{f.disk.Point(), readSidecar(f.cfg.Path)})
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.committed {
		if was, ok := f.hashes[c.ID()]; ok && was != c.Hash {
			t.Errorf("%v was committed twice, and differs", c.ID())
		}
		f.hashes[c.ID()] = c.Hash
	}
}

func (f *faulty) acknowledged(ids ...changeset.ID) {
	for _, id := range ids {
		if id.Version != 0 {
			f.acks = append(f.acks, faultyAck{f.disk.Point(), id})
		}
	}
}

// faultyRequest is one client transaction of the workload: small and large ones,
// on tables with each kind of key.
func faultyRequest(r *rand.Rand) []sqlite.Statement {
	var out []sqlite.Statement
	for range 1 + r.IntN(4) {
		k, v := r.IntN(12), r.IntN(1000)
		name := fmt.Sprint("k", k)
		large := fmt.Sprintf("%0*d", 1+r.IntN(3)*r.IntN(4000), v)
		switch r.IntN(8) {
		case 0, 1:
			out = append(out, text("INSERT INTO item(id, a, b) VALUES(?, ?, ?) ON CONFLICT DO UPDATE SET a = excluded.a, b = b + 1", k, large, v))
		case 2:
			out = append(out, text("DELETE FROM item WHERE id = ?", k))
		case 3:
			out = append(out, text("REPLACE INTO service VALUES('eu', ?, ?, ?)", name, v, large))
		case 4:
			out = append(out, text("DELETE FROM service WHERE name = ?", name))
		case 5:
			out = append(out, text("REPLACE INTO flag VALUES(?, ?)", name, large))
		case 6:
			out = append(out, text("INSERT OR IGNORE INTO edge VALUES(?, ?)", name, fmt.Sprint(v%5)))
		case 7:
			out = append(out, text("DELETE FROM flag WHERE name < ?", name))
		}
	}
	return out
}

// foreign makes changesets of another actor: rows that ours collide with, and
// rows of a table that is not here, which are parked.
func foreign(t *testing.T, r *rand.Rand, n int) []changeset.Sealed {
	var list [][]changeset.TableChanges
	for i := range n {
		if i%4 == 3 {
			list = append(list, row("later", 1, i, "v", "x"))
			continue
		}
		list = append(list, row("item", changeset.CausalLength(1+2*r.IntN(2)), r.IntN(12), "a", fmt.Sprint("foreign", i), "b", i))
	}
	return sealAll(t, changeset.NewActorID(), testTime(), list...)
}

// write is one step of the workload; it returns the error of the step's write.
func (f *faulty) write(t *testing.T, r *rand.Rand, remote *[]changeset.Sealed) error {
	t.Helper()
	if len(*remote) > 0 && r.IntN(4) == 0 {
		n := min(len(*remote), 1+r.IntN(3))
		if err := f.Apply(t.Context(), (*remote)[:n]); err != nil {
			return err
		}
		for _, s := range (*remote)[:n] {
			f.acknowledged(s.ID())
		}
		*remote = (*remote)[n:]
		return nil
	}
	results, id, err := f.Transact(t.Context(), faultyRequest(r))
	if err != nil {
		return err
	}
	for _, res := range results {
		if res.Err != nil {
			return res.Err
		}
	}
	f.acknowledged(id)
	return nil
}

// checkpoint moves the WAL into the file, after which the next commit starts the
// WAL over: what the store does by itself above walReset.
func (f *faulty) checkpoint(truncate bool) (err error) {
	f.onWriter(func(w *writer) {
		w.conn.SetMode(sqlite.ModeInternal)
		_, _, err = w.conn.Checkpoint(truncate)
	})
	if errors.Is(err, sqlite.ErrBusy) {
		return nil // the keeper is at it
	}
	f.forget()
	return err
}

// TestPowerLoss cuts the power at the points of a recorded workload, also in the
// middle of commits, checkpoints, opens and closes. Whatever of the unsynced is
// left: the store opens, every acknowledged transaction is there, and what is
// there is whole: known changesets, whose replay gives the rows and clocks.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	pairs := 300
	switch {
	case *long:
		pairs = 20000
	case testing.Short():
		pairs = 60
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	f := startFaulty(t)
	remote := foreign(t, r, 24)
	for i := range 60 {
		if err := f.write(t, r, &remote); err != nil {
			t.Fatal(err)
		}
		f.look()
		switch {
		case i == 30:
			f.restart(t) // from here on the WAL starts over by the store's own doing alone
		case i%7 == 6 && i < 30:
			if err := f.checkpoint(i%2 == 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	if t.Logf("the WAL started over %d times by itself", f.resets); f.resets < 2 {
		t.Error("too few")
	}
	f.cutPower(t, pairs, seed)
}

// TestPowerLossAfterFailedCheckpoints: a sync of the database file that failed may
// have dropped what it was for, and no later one brings it back. So it is moved
// out of the WAL once more before that starts over.
func TestPowerLossAfterFailedCheckpoints(t *testing.T) {
	t.Parallel()
	pairs := 200
	switch {
	case *long:
		pairs = 5000
	case testing.Short():
		pairs = 40
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	f := startFaulty(t)
	remote := foreign(t, r, 24)
	for i := range 40 {
		if i%10 == 4 {
			f.disk.Fail(faultdisk.Fault{Op: faultdisk.Sync, Name: f.cfg.Path, Nth: 1, Lasting: true})
		}
		if err := f.write(t, r, &remote); err != nil {
			t.Fatal(err)
		}
		switch i % 10 {
		case 4:
			eventually(t, "a checkpoint fails", func() bool { return errors.Is(f.checkpoint(i%20 == 4), sqlite.ErrIOErr) })
		case 6:
			f.disk.Clear()
			if err := f.checkpoint(i%20 != 6); err != nil {
				t.Fatal(err)
			}
		}
	}
	f.cutPower(t, pairs, seed)
}

// cutPower stops the store and compares what a power loss leaves at points of its
// history, spread evenly, with what was promised.
func (f *faulty) cutPower(t *testing.T, pairs int, seed uint64) {
	t.Helper()
	if err := f.stop(); err != nil {
		t.Fatal(err)
	}
	f.note(t)
	h := f.disk.History()
	points := f.disk.Point()
	for i := range pairs {
		point := 1 + int(int64(i)*int64(points)/int64(pairs))
		h.Forward(point)
		if err := f.checkPowerLoss(t, h.PowerLoss(seed+uint64(i)), point); err != nil {
			t.Fatalf("power lost at %d of %d, seed %d: %v", point, points, seed+uint64(i), err)
		}
	}
	t.Logf("%d power losses at %d points, %d acknowledged", pairs, points, len(f.acks))
}

// checkPowerLoss opens what is left and compares it with what was promised until
// the point.
func (f *faulty) checkPowerLoss(t *testing.T, img faultdisk.Image, point int) (err error) {
	d := newDisk(t, img)
	defer func() { err = errors.Join(err, d.Close()) }()
	var beside sidecar
	for _, s := range f.sidecars {
		if s.point <= point {
			beside = s.sidecar
		}
	}
	if err := writeSidecar(f.cfg.Path, beside); err != nil {
		return err
	}
	s, err := Open(context.Background(), onDisk(f.cfg, d))
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return f.checkPromised(&node{Store: s, t: t}, point)
}

// checkPromised compares a store with what was acknowledged until a point and
// with what was committed at all.
func (f *faulty) checkPromised(n *node, point int) error {
	if got := n.query("PRAGMA quick_check"); got != "'ok'" {
		return fmt.Errorf("quick_check: %s", got)
	}
	o := newOracle()
	for _, actor := range n.Vector().Actors() {
		if err := f.replay(n, o, actor); err != nil {
			return err
		}
	}
	for _, a := range f.acks {
		if a.point > point {
			continue
		}
		s, err := n.Changeset(context.Background(), a.id)
		if err != nil {
			return fmt.Errorf("version %d of %v was acknowledged: %w", a.id.Version, a.id.Actor, err)
		}
		if s.Hash != f.hashes[a.id] {
			return fmt.Errorf("version %d of %v is another", a.id.Version, a.id.Actor)
		}
	}
	if got, want := clockLines(n), o.clocks(); got != want {
		return fmt.Errorf("clocks:\n%s\nthe log says:\n%s", got, want)
	}
	if got, want := nodeRowLines(n), o.rowLines(n); got != want {
		return fmt.Errorf("rows:\n%s\nthe log says:\n%s", got, want)
	}
	return nil
}

// replay gives the oracle what a store has applied of an actor.
func (f *faulty) replay(n *node, o *oracle, actor changeset.ActorID) error {
	e := n.Vector().Entry(actor)
	var last changeset.Hash
	for _, held := range e.Applied.Ranges() {
		for version := held.First; version <= held.Last; version++ {
			s, err := n.Changeset(context.Background(), changeset.ID{Actor: actor, Version: version})
			if err != nil {
				return err
			}
			if f.hashes[s.ID()] != s.Hash {
				return fmt.Errorf("version %d of %v is none that was committed", version, actor)
			}
			c, err := s.Decode()
			if err != nil {
				return err
			}
			o.apply(c)
			last = s.Hash
		}
	}
	if last != e.Head {
		return fmt.Errorf("the head of %v is %v, in the log %v", actor, e.Head, last)
	}
	return nil
}
