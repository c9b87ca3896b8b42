package simtest

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	long   = flag.Bool("long", false, "run the large counts that the issues name")
	table  = flag.Bool("table", false, "print the table of figures")
	seeds  = flag.Int("seeds", 0, "run the sweep over that many seeds")
	replay = flag.Uint64("seed", 0, "run the sweep with this seed alone")
)

// TestMain collects garbage less often: a run makes much of it and keeps little.
func TestMain(m *testing.M) {
	debug.SetGCPercent(400)
	os.Exit(m.Run())
}

// big leaves out of -short what takes seconds. That is for the race detector, which has
// nothing to see in a simulator without goroutines.
func big(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes seconds, and has no goroutines for the race detector")
	}
}

// judged runs a cluster and fails for what must never be.
func judged(t *testing.T, c Config) Result {
	t.Helper()
	r := Run(c)
	for _, b := range r.Breaches {
		t.Errorf("%+v: %s", c, b)
	}
	return r
}

func TestSameSeedSameTrace(t *testing.T) {
	big(t)
	configs := []Config{{Nodes: 100, Loss: .2, Writes: 10, Repair: AtEnd}, {Nodes: 60, Loss: .2, Writes: 20, Repair: Always, Faults: []Fault{{Stop, time.Second, time.Second, 20}}}}
	for seed := range uint64(20) {
		configs = append(configs, Random(seed))
	}
	traces := map[uint64]bool{}
	for i, c := range configs {
		a, b := Run(c), Run(c)
		if a.Trace != b.Trace || a.Bytes != b.Bytes || a.Ended != b.Ended {
			t.Errorf("configuration %d: %x is %x the second time", i, a.Trace, b.Trace)
		}
		traces[a.Trace] = true
		c.Seed += 1000
		traces[Run(c).Trace] = true
	}
	if want := 2 * len(configs); len(traces) != want {
		t.Errorf("%d different runs have %d traces", want, len(traces))
	}
}

// bars are what the issue asks for.
type bars struct {
	p50, p99 time.Duration
	copies   float64
	missed   float64 // of all pairs, by broadcast alone
}

func (b bars) check(t *testing.T, r Result) {
	t.Helper()
	if r.P50 > b.p50 || r.P99 > b.p99 {
		t.Errorf("p50 %v, p99 %v; want at most %v, %v", r.P50, r.P99, b.p50, b.p99)
	}
	if n := r.CopiesPerNode(); n > b.copies {
		t.Errorf("%.3f copies per node, want at most %.1f", n, b.copies)
	}
	pairs := r.Writes * (r.Config.Nodes - 1)
	if part := float64(r.MissedByBroadcast) / float64(pairs); part > b.missed {
		t.Errorf("broadcast missed %d of %d, want at most %g", r.MissedByBroadcast, pairs, b.missed)
	}
	if r.Missed > 0 {
		t.Errorf("%d of %d never arrived", r.Missed, pairs)
	}
}

func TestThreeHundredNodes(t *testing.T) {
	big(t)
	runs := uint64(1)
	if *long {
		runs = 10
	}
	for seed := range runs {
		r := judged(t, Config{Seed: seed, Nodes: 300, Loss: .2, Writes: 100})
		t.Logf("seed %d\n%s\n%s", seed, TableHead, r.Row())
		bars{75 * time.Millisecond, 175 * time.Millisecond, 6, 0}.check(t, r)
	}
}

func TestThreeThousandNodes(t *testing.T) {
	if !*long {
		t.Skip("takes two minutes and 3 GiB; runs with -long")
	}
	r := judged(t, Config{Seed: 1, Nodes: 3000, Loss: .1, Writes: 120, Repair: AtEnd})
	t.Logf("\n%s\n%s", TableHead, r.Row())
	bars{65 * time.Millisecond, 160 * time.Millisecond, 6.2, 1e-5}.check(t, r)
}

// TestChurn has a tenth of 300 nodes stop and start while others write.
func TestChurn(t *testing.T) {
	big(t)
	c := Config{Seed: 3, Nodes: 300, Loss: .2, Writes: 60, Repair: Always}
	for i := range 3 {
		c.Faults = append(c.Faults, Fault{Stop, time.Duration(i) * 2 * time.Second, 3 * time.Second, 10})
	}
	r := judged(t, c)
	t.Logf("\n%s\n%s\nequal %v after the last node was back", TableHead, r.Row(), r.Equal-r.Calm)
	if r.Missed > 0 || r.Held != c.Nodes*r.Writes {
		t.Errorf("%d never arrived", r.Missed)
	}
	if r.MissedByBroadcast == 0 {
		t.Error("anti-entropy had nothing to do")
	}
	if late := r.Equal - r.Calm; late > 10*time.Second {
		t.Errorf("equal only %v after the last node was back", late)
	}
}

// TestSlowNodesDelayNobodyElse compares the times of all other nodes with those of a
// run without slow ones.
func TestSlowNodesDelayNobodyElse(t *testing.T) {
	big(t)
	c := Config{Seed: 4, Nodes: 100, Loss: .05, Writes: 300, Every: 20 * time.Millisecond, Size: 4000}
	plain := judged(t, c)
	c.Faults = []Fault{{Slow, 0, 10 * time.Second, 10}}
	slow := judged(t, c)
	t.Logf("\n%s\n%s\n%s", TableHead, plain.Row(), slow.Row())
	if slow.P50 > plain.P50*11/10 || slow.P99 > plain.P99*3/2 {
		t.Errorf("p50 %v, p99 %v beside slow nodes; %v, %v without", slow.P50, slow.P99, plain.P50, plain.P99)
	}
}

// TestHealedPartition has five nodes write on both sides of a cut for ten minutes.
func TestHealedPartition(t *testing.T) {
	c := Config{Seed: 5, Nodes: 5, Loss: .1, Writes: 2300, Every: 250 * time.Millisecond, Repair: Always, Faults: []Fault{{Partition, 0, 10 * time.Minute, 2}}}
	r := judged(t, c)
	late := r.Equal - r.Joined
	t.Logf("heal at %v, last link back after %v, equal %v after that; %d came by anti-entropy", r.Calm, r.Joined-r.Calm, late, r.Fetched)
	if r.Missed > 0 || late > 2*time.Second {
		t.Errorf("missed %d; equal %v after the last link came back", r.Missed, late)
	}
	if r.Fetched < c.Writes {
		t.Errorf("only %d changesets came by anti-entropy: was there a cut?", r.Fetched)
	}
}

// TestJudgeSeesWhatIsMissing: without anti-entropy a node that was away misses something.
func TestJudgeSeesWhatIsMissing(t *testing.T) {
	c := Config{Seed: 6, Nodes: 20, Writes: 50, Faults: []Fault{{Stop, time.Second, 2 * time.Second, 3}}}
	without := judged(t, c)
	c.Repair = AtEnd
	with := judged(t, c)
	if without.Missed == 0 || without.Missed != without.MissedByBroadcast {
		t.Errorf("missed %d, %d by broadcast", without.Missed, without.MissedByBroadcast)
	}
	if with.Missed > 0 || with.MissedByBroadcast != without.Missed {
		t.Errorf("with anti-entropy missed %d, %d by broadcast; %d without", with.Missed, with.MissedByBroadcast, without.Missed)
	}
}

// TestSweep runs clusters with random faults: all end equal and break no rule. Seeds:
// 2,000, 50 with -short, 20,000 with -long, or -seeds.
func TestSweep(t *testing.T) {
	first, count := uint64(1), 2000
	switch {
	case *replay != 0:
		first, count = *replay, 1
	case *seeds > 0:
		count = *seeds
	case *long:
		count = 20_000
	case testing.Short():
		count = 50
	}
	var (
		group sync.WaitGroup
		mu    sync.Mutex
		late  []time.Duration
		next  atomic.Uint64
	)
	run := func(seed uint64) {
		c := Random(seed)
		r := Run(c)
		if r.Missed > 0 || r.Held != c.Nodes*r.Writes || len(r.Breaches) > 0 {
			t.Errorf("missed %d, durable %d of %d, %v\n%+v\nagain: go test ./sync/simtest -run TestSweep -seed %d", r.Missed, r.Held, c.Nodes*r.Writes, r.Breaches, c, seed)
		}
		mu.Lock()
		defer mu.Unlock()
		late = append(late, r.Equal-r.Calm)
	}
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for i := next.Add(1); i <= uint64(count); i = next.Add(1) {
				run(first + i - 1)
			}
		})
	}
	group.Wait()
	slices.Sort(late)
	t.Logf("%d seeds; equal after the last write or fault: p50 %v, p99 %v, max %v", count, late[len(late)/2], late[len(late)*99/100], late[len(late)-1])
}

func TestTable(t *testing.T) {
	if !*table {
		t.Skip("prints figures, with -table")
	}
	configs := []Config{
		{Nodes: 3, Loss: .2, Writes: 300},
		{Nodes: 7, Loss: .2, Writes: 300},
		{Nodes: 20, Loss: .2, Writes: 300},
		{Nodes: 300, Writes: 100},
		{Nodes: 300, Regions: 1, Writes: 100},
		{Nodes: 300, Loss: .1, Writes: 100},
		{Nodes: 300, Loss: .2, Writes: 100},
		{Nodes: 300, Loss: .2, Writes: 100, Repair: Always},
		{Nodes: 300, Loss: .3, Writes: 100, Repair: AtEnd},
		{Nodes: 300, Loss: .2, Writes: 100, Size: LargeSize},
	}
	if *long {
		configs = append(configs, Config{Nodes: 3000, Loss: .1, Writes: 30, Repair: AtEnd}, Config{Nodes: 3000, Loss: .2, Writes: 30, Repair: AtEnd})
	}
	fmt.Println(TableHead)
	for _, c := range configs {
		c.Seed = 1
		r := judged(t, c)
		fmt.Println(r.Row())
	}
}
