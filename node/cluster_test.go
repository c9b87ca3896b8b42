package node_test

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/patinadb/patina/node/nodetest"
)

var (
	long     = flag.Bool("long", false, "run the large counts that the issues name")
	onlySeed = flag.Uint64("seed", 0, "run the scenarios of this seed alone")
)

func TestMain(m *testing.M) {
	os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true")
	goleak.VerifyTestMain(m)
}

// bubble runs a test on a cluster in virtual time, beside other tests.
func bubble(t *testing.T, cfg nodetest.Config, f func(t *testing.T, c *nodetest.Cluster)) {
	t.Parallel()
	if cfg.Schema == "" {
		cfg.Schema = nodetest.Schema
	}
	synctest.Test(t, func(t *testing.T) { f(t, nodetest.New(t, cfg)) })
}

// eachSeed runs a scenario for the seeds 1 to few (two with -short), or to many
// with -long, or for the one that -seed names.
func eachSeed(t *testing.T, few, many uint64, f func(t *testing.T, seed uint64)) {
	switch {
	case *long:
		few = many
	case testing.Short():
		few = min(few, 2)
	}
	first, last := uint64(1), few
	if *onlySeed > 0 {
		first, last = *onlySeed, *onlySeed
	}
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { f(t, seed) })
	}
}

func TestWritesReachEveryNode(t *testing.T) {
	bubble(t, nodetest.Config{Nodes: 3, Link: nodetest.Link{Latency: 5 * time.Millisecond}}, func(t *testing.T, c *nodetest.Cluster) {
		t.Log("met after", c.AwaitMembers(10*time.Second))
		for i, m := range c.Members() {
			m.Exec(fmt.Sprintf("INSERT INTO item(id, a) VALUES(%d, 'x')", i))
		}
		t.Log("equal after", c.AwaitEqual(5*time.Second))
		c.CheckQuery("SELECT count(*) FROM item", "3")
	})
}
