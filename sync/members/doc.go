// Package members knows who is in the cluster and who of them lives (DESIGN
// section 5).
//
// Failure detection is SWIM with Lifeguard by github.com/hashicorp/memberlist,
// whose packets travel as datagrams and whose streams travel as bidirectional
// streams of our own authenticated links (Links). Nothing of that library shows
// in this package's interface.
//
// A member's name is "ACTOR.EPOCH": the actor's UUID and the decimal epoch of its
// process start. So a restarted node is a new member for the library, wherever it
// lives now, and a roster above it shows each actor once, by its highest epoch.
// Dead members stay in the roster, and one of them, or of the seeds that nobody
// answers for, is called again about every ten seconds: a full partition heals,
// however long it was.
//
// The acknowledgement of a direct probe carries the digest of the vector of
// applied versions. Most probes thereby also ask "are we equal?".
//
// Run owns every goroutine that this package starts and joins them. The library
// does not join its own; what waits in it is woken at the end (probes.go), so that
// they end at once too.
package members
