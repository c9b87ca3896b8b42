package simtest

import (
	"math/rand/v2"
	"time"
)

// Config is one run. The zero values of Regions, Size and Every mean the defaults.
type Config struct {
	Seed    uint64
	Nodes   int     // 2 to 3,000
	Regions int     // the first of the cities; default Regions
	Loss    float64 // of packets, 0 to 0.5
	Writes  int     // changesets, made by nodes of all regions in turn
	Size    int     // of a changeset as it travels, in bytes; default 1,000
	Large   float64 // the share of changesets of LargeSize instead
	// Every is the mean time between two writes; default 100 ms.
	Every  time.Duration
	Repair Repair
	Faults []Fault
}

// LargeSize is the size in bytes of a large changeset: one that broadcast spreads by
// digests rather than by copies.
const LargeSize = 20_000

// Repair says when anti-entropy runs.
type Repair int

// The values of Repair.
const (
	Never   Repair = iota // broadcast alone
	AtEnd                 // when broadcast has nothing to do any more
	Always                // from the beginning
	settles = 2 * time.Minute
)

// FaultKind is what a Fault does to its nodes.
type FaultKind int

// The kinds of faults.
const (
	Partition FaultKind = iota // they reach each other, and nobody else
	Deaf                       // nothing reaches them; what they say is heard
	Stop                       // their processes end, and start again with the same store
	Slow                       // 100 kB/s out, and 50 ms for everything that comes in
	Full                       // their stores have no room for what broadcast brings
)

// Fault befalls that many random nodes from At on, for a time.
type Fault struct {
	Kind    FaultKind
	At, For time.Duration
	Nodes   int
}

// Random returns a small cluster with faults, all decided by the seed: 3 to 40 nodes,
// up to 30 % loss, up to four faults that may overlap.
func Random(seed uint64) Config {
	r := rand.New(rand.NewPCG(seed, 77))
	c := Config{
		Seed: seed, Nodes: 3 + r.IntN(10), Regions: 1 + r.IntN(Regions), Loss: r.Float64() * .3,
		Writes: 20 + r.IntN(30), Size: 100 << r.IntN(5), Large: .1, Every: time.Duration(20+r.IntN(200)) * time.Millisecond, Repair: Always,
	}
	if r.IntN(10) == 0 {
		c.Nodes = 13 + r.IntN(28)
	}
	span := time.Duration(c.Writes) * c.Every
	for range r.IntN(5) {
		c.Faults = append(c.Faults, Fault{
			Kind: FaultKind(r.IntN(int(Full) + 1)), At: randTime(r, span), For: time.Second + randTime(r, 30*time.Second), Nodes: 1 + r.IntN(c.Nodes/2),
		})
	}
	return c
}

// randTime returns a time from 0 to below d, which is above 0.
func randTime(r *rand.Rand, d time.Duration) time.Duration { return time.Duration(r.Int64N(int64(d))) }
