// Package simtest runs the machines of broadcast and anti-entropy for 2 to 3,000 nodes in
// virtual time: thousands of seconds of a cluster in seconds of a processor, and a
// function of the seed alone (on one kind of processor: latencies are rounded from floats).
//
// What is real: broadcast.Machine and antientropy.Machine with their events and effects,
// versions.Vector, and the bytes of lists of versions and of vectors. What is not:
//
//   - The network (net.go). Cities with the latency of the great circle between them, each
//     with its share of the nodes. What travels is cut into packets, each of which is lost
//     with the probability Config.Loss and sent again after a round trip, or, if nothing
//     of its flight arrived, after QUIC's probe timeout, which doubles each time. A node's
//     packets leave one after the other at the speed of its line. Congestion control,
//     flow control and the bytes of acknowledgements are left out. What a cut or a stop
//     swallows is lost, and the stream that it belongs to goes silent, also where QUIC's
//     link would outlive the cut and send it again.
//   - The store (node.go), which keeps a vector and nothing else, makes durable after
//     a fixed time, and has all that it holds in its log. So nothing is parked, no answer
//     is "not in my log", and rows never differ.
//   - Membership (faults.go), whose library has goroutines and a clock of its own. Its
//     stand-in knows everybody, says that a link is gone 5 to 12 s after it was cut and
//     that it is back within 2 s, and carries digests in one probe per node and second.
//     In clusters of more than 50 nodes anti-entropy is told of some 30 peers only, since
//     it begins a session with each at once.
//   - The loops around the machines (their loop.go), in particular how streams are read.
//
// [Run] takes a [Config] and returns a [Result]: the figures, the breaches of rules that
// hold always (see Result.Breaches), and a hash over every effect of every machine, by
// which two runs can be compared. [Random] makes a Config with faults out of a seed.
//
// The table of figures, and as many random clusters as wanted:
//
//	go test ./sync/simtest -run TestTable -v -table [-long]
//	go test ./sync/simtest -run TestSweep -v -seeds 20000
//	go test ./sync/simtest -run TestSweep -seed 4711
package simtest
