package node_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/patinadb/patina/node"
	"github.com/patinadb/patina/node/nodetest"
)

// TestRandomScenarios lets clusters of three to five nodes write while paths lose
// packets, partitions come and go, nodes die, restart, are copied and take new ids,
// clocks jump, empty nodes join where logs were pruned, and a table appears on one node before it does on another. However
// it went: once everybody runs with the same schema and reaches somebody, all are
// equal, nothing acknowledged is lost, and a quiet row keeps its last write.
func TestRandomScenarios(t *testing.T) {
	eachSeed(t, 12, 400, func(t *testing.T, seed uint64) {
		s := newScenario(seed)
		bubble(t, s.config, func(t *testing.T, c *nodetest.Cluster) {
			s.t, s.Cluster = t, c
			s.run()
		})
	})
}

type scenario struct {
	*nodetest.Cluster
	t      *testing.T
	rng    *rand.Rand
	config nodetest.Config
	short  bool // logs keep what a known peer may lack, and no more
	log    []string
}

func newScenario(seed uint64) *scenario {
	s := &scenario{rng: rand.New(rand.NewPCG(seed, 7))}
	s.config = nodetest.Config{Nodes: 3 + s.rng.IntN(3), Seed: seed, Link: s.link()}
	if s.short = seed%4 == 1; s.short {
		s.config.Change = func(cfg *node.Config) { cfg.DB.Log.MaxAge = time.Minute }
	}
	for range s.config.Nodes {
		s.config.Skew = append(s.config.Skew, s.skew())
	}
	return s
}

func (s *scenario) link() nodetest.Link {
	return nodetest.Link{
		Latency: s.between(0, 150*time.Millisecond), Jitter: s.between(0, 30*time.Millisecond),
		Loss: s.rng.Float64() * 0.30, Duplicate: s.rng.Float64() * 0.05,
	}
}

// skew is none for half of the clocks.
func (s *scenario) skew() time.Duration {
	if s.rng.IntN(2) == 0 {
		return 0
	}
	return []time.Duration{300 * time.Millisecond, time.Minute, -time.Minute, fast, -fast}[s.rng.IntN(5)]
}

func (s *scenario) between(low, high time.Duration) time.Duration {
	return low + time.Duration(s.rng.Int64N(int64(high-low)))
}

func (s *scenario) any() *nodetest.Member { return s.Member(s.rng.IntN(len(s.Members()))) }

func (s *scenario) note(format string, args ...any) {
	s.log = append(s.log, fmt.Sprintf(format, args...))
}

func (s *scenario) run() {
	s.t.Cleanup(func() {
		if s.t.Failed() {
			s.t.Logf("%+v", s.config.Link)
			for _, line := range s.log {
				s.t.Log(line)
			}
		}
	})
	w := s.Begin(nodetest.Storm{Seed: s.config.Seed, Keys: 1 + s.rng.IntN(8), Writes: s.writes(), Pause: 400 * time.Millisecond})
	if s.short {
		time.Sleep(130 * time.Second) // then logs are pruned
	}
	for range 15 {
		time.Sleep(s.between(0, 6*time.Second))
		s.step()
		s.CheckPromise()
	}
	w.Wait()
	s.Heal()
	for _, m := range s.Members() {
		m.SetSchema(nodetest.Schema + newTable)
		if m.Node() == nil {
			m.Start()
		} else {
			m.Reload()
		}
	}
	equal := s.AwaitEqual(time.Minute)
	var given uint64
	for _, m := range s.Members() {
		given += m.Node().Status().Counters["transfer.rows_given"]
	}
	s.t.Logf("%d nodes, %+v: %d rows given as state; equal after %v", s.config.Nodes, s.config.Link, given, equal)
	w.CheckJournal()
	s.quietRow()
}

// writes is how many each member makes, so that they go on under the faults.
func (s *scenario) writes() int {
	if s.short {
		return 420
	}
	return 150
}

// step does one thing to the cluster.
func (s *scenario) step() {
	m := s.any()
	switch s.rng.IntN(11) {
	case 0:
		side := s.rng.IntN(1 << s.config.Nodes)
		var groups [2][]*nodetest.Member
		for i, o := range s.Members() {
			groups[side>>i&1] = append(groups[side>>i&1], o)
		}
		s.note("partition %b", side)
		s.Partition(groups[:]...)
	case 1:
		o := s.any()
		s.note("packets from %s to %s are lost", m.Name, o.Name)
		s.Network.Cut(m.Addr, o.Addr)
	case 2:
		s.note("heal")
		s.Heal()
	case 3:
		if m.Node() == nil {
			s.note("start %s", m.Name)
			m.Start()
			return
		}
		s.note("kill %s", m.Name)
		m.Kill()
	case 4:
		s.note("restart %s", m.Name)
		m.Restart()
	case 5:
		if m.Node() == nil {
			return
		}
		s.note("new actor for %s", m.Name)
		if err := m.Node().Store().RenewActor(s.t.Context(), m.Actor()); err != nil {
			s.t.Error(err)
		}
	case 6:
		d := s.skew()
		s.note("clock of %s: %v", m.Name, d)
		m.SetSkew(d)
	case 7:
		l := s.link()
		s.note("%+v", l)
		s.Network.SetLink(l)
	case 8:
		if m.Node() == nil {
			return
		}
		s.note("%s writes to the new table", m.Name)
		m.SetSchema(nodetest.Schema + newTable)
		m.Reload()
		m.Exec(fmt.Sprintf("INSERT OR REPLACE INTO late VALUES(%d, '%s')", s.rng.IntN(3), m.Name))
	case 9:
		if len(s.Members()) > s.config.Nodes+1 {
			return
		}
		s.note("%s is copied", m.Name)
		copied := s.Copy(m)
		copied.Start()
	case 10:
		if len(s.Members()) > s.config.Nodes+1 {
			return
		}
		joined := s.Add(nil)
		s.note("%s joins with an empty file", joined.Name)
		joined.Start()
	}
}

// quietRow lets every member in turn be the last to write a row.
func (s *scenario) quietRow() {
	for _, m := range s.Members() {
		m.Exec(fmt.Sprintf("INSERT INTO flag VALUES('quiet', '%s') ON CONFLICT DO UPDATE SET value = excluded.value", m.Name))
		s.AwaitEqual(time.Minute)
		s.CheckQuery("SELECT value FROM flag WHERE name = 'quiet'", "'"+m.Name+"'")
	}
}
