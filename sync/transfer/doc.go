// Package transfer brings a node the state of another where no log has the
// changesets any more: rows with their clocks, in parts (DESIGN section 6, State
// transfer; transport/WIRE.md, State transfer).
//
// The node that lacks something opens a stream and says what it has applied. The
// other answers with the vector that it has, then with the rows whose clocks say
// something else, table after table; with each part goes where the next begins, and
// the vector after it. When the last part came, the first vector counts as applied.
// The node is being filled until it also holds the vectors of all parts: they can
// have shown it half of a transaction, whose rest comes by the usual way. A cut
// stream is opened again where the last whole part ended, also after a restart of
// either node. If the source is gone, another one begins from the start.
//
// A node that is being filled gives no state. Everything else it does as always: it
// takes writes, and changesets of its peers.
//
// [Loop] has one goroutine that fills, and one for each stream that a peer opens.
package transfer
