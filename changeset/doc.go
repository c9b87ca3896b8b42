// Package changeset holds patina's vocabulary and its merge rule: actors,
// versions, stamps, row clocks, changesets, and the encoding that FORMAT.md
// describes byte by byte.
//
// A [Changeset] is what one transaction group of one actor did. [Seal] makes it
// into the bytes that the log keeps and the peers exchange, and their hash:
// a [Sealed]. [Open] reads the header of such bytes, [Sealed.Decode] all of
// them, and takes canonical bytes only. Where it is applied, [Clock.Merge]
// decides each row.
//
// The package is pure: no I/O, no clock, no goroutine. Everything in it is a
// function of its arguments, so that two nodes which saw the same changesets in
// any order decide alike. DESIGN section 2 is the source of the rules; they
// follow the causal-length set of Yu and Rostad ("A low-cost set CRDT based on
// causal lengths", PaPoC 2020) for rows and last-writer-wins registers for
// columns.
package changeset
