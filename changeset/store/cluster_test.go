package store

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
	"github.com/patinadb/patina/sync/versions"
)

// cluster is stores on real files that write all the time, and a courier between
// them: the real methods, without a network.
type cluster struct {
	t *testing.T

	mu      sync.RWMutex // guards what follows; held by who carries or writes
	members []*clusterMember
	mute    bool // the courier carries no vectors
	deaf    bool // the courier carries no changesets
	writing bool
	wrote   int
}

type clusterMember struct {
	*node // nil: does not run
	cfg   Config
	log   *alarms
	cut   bool // nobody reaches it
}

// startCluster runs members until the test ends.
func startCluster(t *testing.T, members int) *cluster {
	c := &cluster{t: t, writing: true}
	for i := range members {
		c.add(filepath.Join(t.TempDir(), fmt.Sprintf("n%d.db", i)))
		c.start(c.members[i])
	}
	ended, end := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticks := time.NewTicker(time.Millisecond)
		defer ticks.Stop()
		for {
			select {
			case <-ticks.C:
				c.write()
				c.carry()
			case <-end:
				return
			}
		}
	}()
	t.Cleanup(func() { close(end); <-ended }) // before the stores stop: they were started first, but for later ones
	return c
}

// add makes a member on files at path, which does not run yet.
func (c *cluster) add(path string) *clusterMember {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := &clusterMember{cfg: Config{Path: path, Schema: schemaOf(itemsSchema), Readers: 1}, log: &alarms{}}
	m.cfg.Log = m.log.logger()
	c.members = append(c.members, m)
	return m
}

func (c *cluster) start(m *clusterMember) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	m.node = start(c.t, m.cfg)
}

func (c *cluster) stop(m *clusterMember) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := m.node.stop(); err != nil {
		c.t.Error(err)
	}
	m.node = nil
}

// set changes how the cluster runs.
func (c *cluster) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

// write lets every member but those that are cut off write a row that all fight for
// and one of its own.
func (c *cluster) write() {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if !c.writing {
		return
	}
	for i, m := range c.members {
		if m.node == nil || m.cut {
			continue
		}
		c.wrote++
		out := m.transact([]sqlite.Statement{
			text("INSERT INTO item(id, a) VALUES(?, ?) ON CONFLICT DO UPDATE SET a = excluded.a", c.wrote%5, fmt.Sprint("n", i)),
			text("INSERT OR IGNORE INTO edge VALUES(?, ?)", fmt.Sprint("n", i), fmt.Sprint(c.wrote%50)),
			text("DELETE FROM edge WHERE b % 7 = ?", c.wrote%11),
		})
		c.check("write", out.err)
	}
}

// carry is one round: all meet the vectors of all, then all fetch what they lack.
func (c *cluster) carry() {
	c.mu.RLock()
	defer c.mu.RUnlock()
	each := func(f func(to, from *clusterMember)) {
		for _, to := range c.members {
			for _, from := range c.members {
				if to != from && to.node != nil && from.node != nil && !to.cut && !from.cut {
					f(to, from)
				}
			}
		}
	}
	if !c.mute {
		each(func(to, from *clusterMember) {
			c.check("meet a vector", to.MeetVector(c.t.Context(), from.Actor(), from.Vector()))
		})
	}
	if !c.deaf {
		each(func(to, from *clusterMember) { c.fetch(to, from) })
	}
}

// check is for the courier's goroutine. What fails because the test is over is none.
func (c *cluster) check(what string, err error) {
	if err != nil && c.t.Context().Err() == nil {
		c.t.Errorf("%s: %v", what, err)
	}
}

func (c *cluster) fetch(to, from *clusterMember) {
	var batch []changeset.Sealed
	for _, need := range versions.Missing(to.Vector(), from.Vector()) {
		for _, r := range need.Ranges {
			for v := r.First; v <= r.Last; v++ {
				s, err := from.Changeset(c.t.Context(), changeset.ID{Actor: need.Actor, Version: v})
				if err != nil {
					c.check(fmt.Sprintf("version %d of %v is held and not served", v, need.Actor), err)
					return
				}
				batch = append(batch, s)
			}
		}
	}
	c.check("apply", to.Apply(c.t.Context(), batch))
}

// savedFiles is the content of a member's files, by suffix.
type savedFiles map[string][]byte

// save reads the files of a member that does not run.
func (c *cluster) save(m *clusterMember) savedFiles {
	c.t.Helper()
	out := savedFiles{}
	for _, suffix := range []string{"", "-id"} {
		b, err := os.ReadFile(m.cfg.Path + suffix)
		if err != nil {
			c.t.Fatal(err)
		}
		out[suffix] = b
	}
	return out
}

// backup makes a copy by VACUUM INTO while the member runs.
func (c *cluster) backup(m *clusterMember) savedFiles {
	c.t.Helper()
	to := filepath.Join(c.t.TempDir(), "backup.db")
	outside(c.t, m.cfg.Path, "VACUUM INTO '"+to+"'")
	out := savedFiles{}
	for suffix, path := range map[string]string{"": to, "-id": m.cfg.Path + "-id"} {
		b, err := os.ReadFile(path)
		if err != nil {
			c.t.Fatal(err)
		}
		out[suffix] = b
	}
	return out
}

// write puts the files at path: over those that are there, or in their place.
func (f savedFiles) write(t *testing.T, path string, place bool) {
	t.Helper()
	for suffix, b := range f {
		to := path + suffix
		if place {
			to += ".restored"
		}
		if err := os.WriteFile(to, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if place {
			if err := os.Rename(to, path+suffix); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// settle ends the writing and waits until all that run and are reached are equal.
func (c *cluster) settle() {
	c.t.Helper()
	c.set(func() { c.writing = false })
	nodes := c.running()
	eventually(c.t, "all hold the same", func() bool {
		for _, n := range nodes[1:] {
			if n.Vector().FullDigest() != nodes[0].Vector().FullDigest() {
				return false
			}
		}
		return true
	})
	requireEqual(c.t, nodes...)
	c.checkServed()
}

func (c *cluster) running() (out []*node) {
	for _, m := range c.members {
		if m.node != nil {
			out = append(out, m.node)
		}
	}
	return out
}

// checkServed: every version that a member holds it serves, whoever wrote it, and the
// same unless the actor is marked.
func (c *cluster) checkServed() {
	c.t.Helper()
	hashes := map[changeset.ID]changeset.Hash{}
	for _, n := range c.running() {
		v := n.Vector()
		for _, a := range v.Actors() {
			for id := (changeset.ID{Actor: a, Version: 1}); id.Version <= v.Entry(a).Applied.Last(); id.Version++ {
				s, err := n.Changeset(c.t.Context(), id)
				if err != nil {
					c.t.Fatalf("version %d of %v: %v", id.Version, a, err)
				}
				_, marked := searchForks(n.Forked(), a)
				if h, ok := hashes[id]; ok && h != s.Hash && !marked {
					c.t.Fatalf("version %d of %v is two changesets", id.Version, a)
				}
				hashes[id] = s.Hash
			}
		}
	}
}

// someVersions waits until m has written a few more.
func (c *cluster) someVersions(m *clusterMember) {
	c.t.Helper()
	a := m.Actor()
	head := m.Vector().Entry(a).Applied.Last()
	eventually(c.t, "it writes", func() bool { return m.Vector().Entry(a).Applied.Last() >= head+3 })
}

// reached waits until all the others hold the versions of a up to v.
func (c *cluster) reached(m *clusterMember, id changeset.ID) {
	c.t.Helper()
	for _, o := range c.members {
		if o != m && o.node != nil {
			eventually(c.t, "the others hold it", func() bool { return o.Vector().Holds(id) })
		}
	}
}

// TestCopiedFileUnderARunningCluster: original and copy write under two ids.
func TestCopiedFileUnderARunningCluster(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	m := c.members[0]
	c.someVersions(m)
	old, head := m.Actor(), m.Vector().Entry(m.Actor()).Applied.Last()
	c.stop(m)
	twin := c.add(copyNode(t, m.cfg.Path))
	c.start(m)
	c.start(twin)
	if m.Actor() != old || twin.Actor() == old || m.Renewals() != 0 || twin.Renewals() != 1 {
		t.Fatalf("the original is %v and the copy %v, both were %v", m.Actor(), twin.Actor(), old)
	}
	for _, o := range c.members {
		c.someVersions(o)
	}
	c.settle()
	for _, n := range c.running() {
		if e := n.Vector().Entry(old); e.Applied.Last() < head+3 || len(n.Forked()) > 0 {
			t.Errorf("head %d of the original, forks %+v", e.Applied.Last(), n.Forked())
		}
	}
}

// TestRestoredBackupUnderARunningCluster: what the files show when it starts. What
// was lost with the backup comes back from the others.
func TestRestoredBackupUnderARunningCluster(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		desc           string
		vacuum, place  bool
		sidecar        bool
		sidecarRemoved bool
	}{
		{desc: "a copy over the file"},
		{desc: "a copy in the place of the file", place: true},
		{desc: "a copy and its identity file in the place of the files", place: true, sidecar: true},
		{desc: "a copy without an identity file", place: true, sidecarRemoved: true},
		{desc: "VACUUM INTO over the file", vacuum: true},
		{desc: "VACUUM INTO and the identity file in the place of the files", vacuum: true, place: true, sidecar: true},
	} {
		t.Run(test.desc, func(t *testing.T) {
			t.Parallel()
			c := startCluster(t, 3)
			m := c.members[0]
			c.someVersions(m)
			var saved savedFiles
			if test.vacuum {
				saved = c.backup(m)
			} else {
				c.stop(m)
				saved = c.save(m)
				c.start(m)
			}
			c.someVersions(m)
			old := m.Actor()
			last := changeset.ID{Actor: old, Version: m.Vector().Entry(old).Applied.Last()}
			c.reached(m, last)
			c.stop(m)
			if !test.sidecar {
				delete(saved, "-id")
			}
			saved.write(t, m.cfg.Path, test.place)
			if test.sidecarRemoved {
				if err := os.Remove(m.cfg.Path + "-id"); err != nil {
					t.Fatal(err)
				}
			}
			c.start(m)
			if m.Actor() == old || m.log.count("this database is a copy") != 1 {
				t.Fatalf("actor %v was %v", m.Actor(), old)
			}
			c.someVersions(m)
			c.settle()
			for _, n := range c.running() {
				if !n.Vector().Holds(last) || len(n.Forked()) > 0 {
					t.Errorf("what was lost is held: %t; forks %+v", n.Vector().Holds(last), n.Forked())
				}
			}
		})
	}
}

// rollBack takes m back to before the last versions that it wrote, which all others
// hold, with files that show nothing of it, cut off from the others. It returns the
// last version that was lost.
func (c *cluster) rollBack(m *clusterMember, vacuum bool) (lost changeset.ID) {
	c.t.Helper()
	c.someVersions(m)
	var saved savedFiles
	if vacuum {
		saved = c.backup(m)
	} else {
		c.stop(m)
		saved = c.save(m)
		c.start(m)
	}
	c.someVersions(m)
	c.set(func() { c.writing = false })
	old := m.Actor()
	lost = changeset.ID{Actor: old, Version: m.Vector().Entry(old).Applied.Last()}
	c.reached(m, lost)
	c.stop(m)
	saved.write(c.t, m.cfg.Path, false)
	c.set(func() { m.cut = true })
	c.start(m)
	if head := m.Vector().Entry(old).Applied.Last(); m.Actor() != old || head >= lost.Version {
		c.t.Fatalf("actor %v was %v, head %d of %d: nothing is left to test", m.Actor(), old, head, lost.Version)
	}
	return lost
}

// TestRolledBackFileUnderARunningCluster: the files show nothing, the peers do, by
// their vectors or by the versions that they send, whichever is first.
func TestRolledBackFileUnderARunningCluster(t *testing.T) {
	t.Parallel()
	for _, vacuum := range []bool{false, true} {
		for _, by := range []string{"vectors", "versions", "both"} {
			t.Run(fmt.Sprintf("shown by %s, vacuum %t", by, vacuum), func(t *testing.T) {
				t.Parallel()
				c := startCluster(t, 3)
				m := c.members[0]
				lost := c.rollBack(m, vacuum)
				c.set(func() { m.cut, c.mute, c.deaf = false, by == "versions", by == "vectors" })
				eventually(t, "a new actor id", func() bool { return m.Actor() != lost.Actor })
				if by == "vectors" && m.Vector().Holds(lost) {
					t.Error("a version came that was not carried")
				}
				c.set(func() { c.mute, c.deaf, c.writing = false, false, true })
				for _, o := range c.members {
					c.someVersions(o)
				}
				c.settle()
				if m.Renewals() != 1 || m.log.count("was rolled back") != 1 {
					t.Errorf("%d new actor ids, told %d times", m.Renewals(), m.log.count("was rolled back"))
				}
				for _, n := range c.running() {
					if !n.Vector().Holds(lost) || len(n.Forked()) > 0 {
						t.Errorf("what was lost is held: %t; forks %+v", n.Vector().Holds(lost), n.Forked())
					}
				}
			})
		}
	}
}

// TestForkedFileUnderARunningCluster: rolled back and written to before it met
// anybody, with fewer, as many or more versions than it lost.
func TestForkedFileUnderARunningCluster(t *testing.T) {
	t.Parallel()
	for _, more := range []int{-1, 0, 1} {
		t.Run(fmt.Sprintf("%+d versions", more), func(t *testing.T) {
			t.Parallel()
			c := startCluster(t, 3)
			m := c.members[0]
			lost := c.rollBack(m, false)
			for m.Vector().Entry(lost.Actor).Applied.Last() < lost.Version+changeset.Version(more) {
				m.exec("INSERT INTO flag VALUES(hex(randomblob(8)), 'the other branch')")
			}
			c.set(func() { m.cut = false })
			for _, o := range c.members {
				eventually(t, "it marks the actor", func() bool {
					f := o.Forked()
					return len(f) == 1 && f[0].Actor == lost.Actor && strings.HasPrefix(f[0].Reason, "version ")
				})
			}
			if m.Actor() == lost.Actor || m.Renewals() != 1 {
				t.Fatalf("the owner is %v, was %v, after %d renewals", m.Actor(), lost.Actor, m.Renewals())
			}
			c.checkAfterFork(m)
		})
	}
}

// checkAfterFork: the marks outlive a restart, nobody takes another id for them, and
// what is written from now on is the same everywhere.
func (c *cluster) checkAfterFork(m *clusterMember) {
	c.t.Helper()
	for _, o := range c.members {
		actor, marks := o.Actor(), o.Forked()
		c.stop(o)
		c.start(o)
		if f := o.Forked(); o.Actor() != actor || len(f) != 1 || f[0] != marks[0] {
			c.t.Errorf("after a restart actor %v was %v, forks %+v were %+v", o.Actor(), actor, f, marks)
		}
		if o.log.count("forked history") != 1 {
			c.t.Errorf("%d alarms", o.log.count("forked history"))
		}
	}
	ids := []changeset.ID{
		m.exec("INSERT INTO service VALUES('a', 'after the fork', 1, NULL)"),
		c.members[1].exec("INSERT INTO service VALUES('b', 'after the fork', 1, NULL)"),
		m.exec("UPDATE service SET port = 2"),
	}
	for _, id := range ids {
		c.reached(nil, id)
	}
	after := c.members[1].query("SELECT * FROM service")
	if !strings.Contains(after, "'after the fork'|2") {
		c.t.Errorf("rows %s", after)
	}
	for _, o := range c.members {
		if got := o.query("SELECT * FROM service"); got != after {
			c.t.Errorf("rows after the fork\n%s\nand\n%s", got, after)
		}
		if o.Renewals() != 0 {
			c.t.Errorf("%d new actor ids since the restart", o.Renewals())
		}
	}
	c.checkServed()
}
