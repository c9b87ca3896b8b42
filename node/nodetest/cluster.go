package nodetest

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/patinadb/patina/node"
)

// Defaults of Config.
const (
	DefaultCluster = "test"
	DefaultSecret  = "a secret of the tests"
)

// Config says what cluster to build.
type Config struct {
	Nodes  int
	Seed   uint64
	Link   Link
	Schema string             // of every node
	Skew   []time.Duration    // by node, how far its clock is ahead; missing ones are 0
	Change func(*node.Config) // of every node, before its own; nil: none
	Level  slog.Level         // of what is kept of the logs, to print when the test fails; default info
}

// Cluster is some nodes on one network. It is driven by the goroutine of the
// test alone, unless a method says otherwise.
type Cluster struct {
	Network *Network

	t       *testing.T
	cfg     Config
	dir     string
	members []*Member
	log     *logTail
}

// New starts a cluster, every node of which knows the addresses of the others,
// and stops it when the test ends.
func New(t *testing.T, cfg Config) *Cluster {
	t.Helper()
	c := &Cluster{Network: NewNetwork(cfg.Seed, cfg.Link), t: t, cfg: cfg, dir: scratch(t), log: newLogTail(cfg.Level)}
	t.Cleanup(func() {
		for _, m := range c.members {
			m.Stop()
		}
		if t.Failed() {
			t.Logf("seed %d, network %+v; the end of the nodes' logs:\n%s", cfg.Seed, c.Network.Counts(), c.log)
		}
	})
	for range cfg.Nodes {
		c.Add(nil)
	}
	for _, m := range c.members {
		m.Start()
	}
	return c
}

// scratch makes a folder in memory where there is one: the tests are about what
// is written, not about a disk.
func scratch(t *testing.T) string {
	const memory = "/dev/shm"
	if info, err := os.Stat(memory); err != nil || !info.IsDir() {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(memory, "patina-nodetest-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// Add makes a further member, which Start starts. change may alter its
// configuration; it is called before each start, after the defaults were filled
// in.
func (c *Cluster) Add(change func(*node.Config)) *Member {
	c.t.Helper()
	i := len(c.members)
	host := netip.AddrFrom4([4]byte{10, 0, byte(i / 250), byte(i%250 + 1)})
	m := &Member{
		Name: fmt.Sprintf("n%d", i), Addr: netip.AddrPortFrom(host, 8787), Dir: filepath.Join(c.dir, fmt.Sprintf("n%d", i)),
		cluster: c, change: change,
	}
	if i < len(c.cfg.Skew) {
		m.SetSkew(c.cfg.Skew[i])
	}
	if err := os.Mkdir(m.Dir, 0o700); err != nil {
		c.t.Fatal(err)
	}
	m.SetSchema(c.cfg.Schema)
	c.members = append(c.members, m)
	return m
}

// Member returns the i-th member, from 0.
func (c *Cluster) Member(i int) *Member { return c.members[i] }

// Members returns all members, also those that do not run.
func (c *Cluster) Members() []*Member { return slices.Clone(c.members) }

// Running returns the members that run.
func (c *Cluster) Running() (out []*Member) {
	for _, m := range c.members {
		if m.Node() != nil {
			out = append(out, m)
		}
	}
	return out
}

// Partition lets packets pass only between members of the same group. A member
// in no group is alone.
func (c *Cluster) Partition(groups ...[]*Member) {
	c.Network.Heal()
	group := map[*Member]int{}
	for g, members := range groups {
		for _, m := range members {
			group[m] = g + 1
		}
	}
	for _, a := range c.members {
		for _, b := range c.members {
			if a != b && (group[a] == 0 || group[a] != group[b]) {
				c.Network.Cut(a.Addr, b.Addr)
			}
		}
	}
}

// Heal undoes every partition.
func (c *Cluster) Heal() { c.Network.Heal() }

// Logged returns how many lines of m's log hold text.
func (c *Cluster) Logged(m *Member, text string) int { return c.log.count(m.Name, text) }
