// Package broadcast pushes changesets to peers as soon as they are durable
// here (DESIGN section 6, "Broadcast").
//
// A changeset that was made here goes at once to the peers that Machine
// chooses for it: to all of them while the cluster has at most seven members,
// else to six, or to three if it is large or had to be asked for. Whoever receives it
// hands it to its store and, before it is applied, sends the same bytes on to the
// peers that it chooses itself, never back to
// the sender or to the origin. A bounded memory of what was seen lately makes
// every node deliver and forward each changeset once.
//
// What did not go to everybody is announced to a few peers more, and whoever misses
// it asks for it (announce.go): so what six eager copies leave out costs a digest and
// not a copy.
//
// Broadcast is fast, not reliable: a full queue, a failed send or a restart
// loses changesets without a trace beyond a counter. Anti-entropy brings what
// was lost. So nothing here sends again, and nothing here waits for a slow peer.
//
// What comes for a peer while a batch to it is in flight waits for the end of that one,
// 10 ms, or until it fills a batch; two are in flight at most. What waits is bounded for
// each peer: of more than QueueItems or QueueBytes the oldest go, since the newest are
// what nobody else has brought yet; of more than MaxIDs announcements or questions the
// oldest too. Every loss counts for its peer alone.
//
// Machine is the protocol, without I/O, clock or goroutine. Loop owns one
// Machine and gives it a network. A changeset that is larger than a batch travels
// alone in its batch.
package broadcast
