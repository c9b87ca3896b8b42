package nodetest

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing/synctest"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// Copy makes a further member whose folder is a copy of m's as it is now, the
// node running or not. Nothing is written meanwhile: it needs a bubble, whose time
// stands still. Another process copies: opening the files in this one would drop
// SQLite's locks on them.
func (c *Cluster) Copy(m *Member) *Member {
	c.t.Helper()
	n := c.Add(nil)
	synctest.Wait()
	if out, err := exec.CommandContext(c.t.Context(), "cp", "-R", m.Dir+"/.", n.Dir).CombinedOutput(); err != nil {
		c.t.Fatalf("copy the folder of %s: %v: %s", m.Name, err, out)
	}
	return n
}

// Forge makes a copy that does not run pass for the original, as a virtual
// machine does that was cloned or restored with its disk: the identity recorded
// in the file becomes the copy's own.
func (m *Member) Forge() {
	m.cluster.t.Helper()
	info, err := os.Stat(m.Path())
	if err != nil {
		m.cluster.t.Fatal(err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		m.cluster.t.Skip("the file system gives no inodes, by which copies are recognised")
	}
	conn, err := sqlite.Open(sqlite.Config{Path: m.Path()})
	if err != nil {
		m.cluster.t.Fatal(err)
	}
	defer conn.Close()
	args := []sqlite.Value{changeset.TextValue(fmt.Sprintf("%d:%d", uint64(st.Dev), st.Ino))}
	if err := conn.Each("UPDATE __patina_meta SET value = ? WHERE name = 'inode'", args, nil); err != nil {
		m.cluster.t.Fatal(err)
	}
	if conn.Changes() != 1 {
		m.cluster.t.Fatalf("%s holds no inode that could be forged", m.Path())
	}
}

// Save copies the folder of a member that does not run, as a snapshot of its disk
// would, and returns where to.
func (m *Member) Save() string {
	m.cluster.t.Helper()
	saved := m.cluster.t.TempDir()
	m.copyFolder(m.Dir, saved)
	return saved
}

// Rollback puts what Save returned in the place of the files of a member that does
// not run. They stay the same files with the contents of then, their identity
// included: by itself the node cannot tell.
func (m *Member) Rollback(saved string) {
	m.cluster.t.Helper()
	m.copyFolder(saved, m.Dir)
}

func (m *Member) copyFolder(from, to string) {
	m.cluster.t.Helper()
	if out, err := exec.CommandContext(m.cluster.t.Context(), "cp", "-R", from+"/.", to).CombinedOutput(); err != nil {
		m.cluster.t.Fatalf("copy a folder of %s: %v: %s", m.Name, err, out)
	}
}
