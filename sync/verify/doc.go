// Package verify compares the clock sums of nodes that hold the same versions (DESIGN
// section 6, Verification; transport/WIRE.md, Verification).
//
// Every half minute a node tells a random peer its sums, with the digests of its
// applied vector and of its schema at that moment. If the peer's digests are the same
// and a sum is not, rows of that table differ although nothing is missing: somebody
// else wrote to a file, a disk lost or changed something, a history forked, or there is
// a mistake in this program. Both raise an alarm then: an error in the log, a counter,
// and the names of the tables in the status, until a later comparison with that peer
// finds them equal. While the digests differ, nothing can be said.
package verify
