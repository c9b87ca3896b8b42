// Package antientropy is the pull half of replication: whatever broadcast missed,
// two nodes find out by comparing vectors and bring each other in one session
// (DESIGN section 6).
//
// The rules live in [Machine], which has no I/O, no clock and no goroutine: it is
// told what happened and answers with what to do. [Loop] is the machine's hands:
// it owns the goroutines, the streams and the calls of the store.
//
// # When a session begins
//
//   - A probe's answer carries the digest of the peer's applied vector. If it
//     differs from ours, a session begins at once, but no sooner than MinGap
//     (250 ms) after the last one with that peer began. If the last session with
//     that peer moved nothing and both digests are still what they were then, it
//     would move nothing again (the peer has pruned what we lack, or one has
//     applied what the other has parked): nothing begins. If it did move
//     something, the same holds for SettleFor (2 s), in which the changesets may
//     still wait for what they follow.
//   - A new peer: at once, digests first.
//   - The slow round: every 10 s ± 2 s with one random peer, digests first. These
//     digests cover parked versions too.
//   - After a failure: when the peer's back-off is over, digests first.
//
// At most one session per peer, MaxInitiated (3) initiated and MaxServed (8)
// served at a time. What is beyond is answered with Busy, which is not a failure;
// the initiator tries again after about 500 ms. If two nodes open towards each
// other at once, the session of the smaller actor id goes on and the other ends.
// A failed session keeps its peer from being tried again for 0.5 s, doubled with
// each failure in a row up to 30 s, ± 25 %; if it was the peer's fault, its own
// sessions are answered with Busy for as long.
//
// # A session
//
// One bidirectional stream. The initiator begins with Digest or with Vector:
//
//	initiator                responder
//	Digest            ->                    full digest of what I have
//	                  <-     Digest         if it is equal: both close, done
//	                  <-     Vector         if not
//	Vector            ->
//	                  <-     Vector         unless sent already
//	Changeset … NotInLog … Done   <->       both at the same time
//
// From the two vectors both sides know what each must answer: every version that
// one holds (applied or parked) and the other does not. Each is answered exactly
// once, as a Changeset from the log or the parked ones, or within a NotInLog. An
// answer that was not asked for, or Done before all is answered, is a fault of
// the peer. Per actor the first NewestFirst (32) answers alternate between the
// newest version and the oldest, so that fresh data comes early; the rest ascend
// from the oldest, so that changesets seldom wait for what they follow; actors
// take turns. Versions that came to be after the vectors are left to a later
// session. Only what the store's vector holds is sent: that is durable.
//
// A session is over when both sides have sent Done and closed, and all that
// arrived is durable. It may be cut at any point; the next one resumes from what
// the vectors say then.
//
// # Frames
//
// The transport frames the stream: one byte of type, a length, a payload. No
// payload is longer than MaxPayload (256 KiB); a longer message is cut into
// pieces, all but the last as Part. "set" and "uvarint" are those of package
// versions.
//
//	1 Digest     32 bytes      versions.Vector.FullDigest
//	2 Vector     vector        as package versions encodes it, ≤ 4 MiB
//	3 Part       1 … MaxPayload bytes that belong before the payload of the
//	                           next frame that is no Part
//	4 Changeset  packed        changeset.Pack of one changeset's bytes
//	5 NotInLog   uvarint n     number of actors, at least 1
//	             n times, actors strictly ascending
//	               16 bytes    actor id
//	               set         versions, at least one
//	             ≤ 1 MiB in all
//	6 Done       empty         all is answered; nothing follows
//	7 Busy       empty         instead of the responder's first frame
//
// A stream that is cancelled carries one of the [Code] values.
//
// # Bounds
//
// A session reads no frame while DepthCount (128) changesets or DepthBytes (2 MiB)
// of them are not yet durable, so that QUIC's flow control holds the peer back;
// nothing is dropped. It fetches at most BatchCount (64) changesets at a time from
// the log. Without a frame moved for IdleLimit (10 s) in either direction a session
// ends; time that our own store takes to apply does not count. After
// SessionLimit (5 min) it ends in any case, and the next one goes on from there.
//
// Each vector of a peer goes to the store too, which sees there what no changeset may
// show: versions of its own that it lost, and forked histories. At most 32 peers'
// vectors wait for that, the newest of each; what is beyond is dropped, and the next
// session brings it again.
//
// What a peer said is not in its log is remembered until its next session, up to
// MaxAbsentRanges (4096) ranges a peer (see Stats). What is not in our own log is remembered for AbsentFor (10 min), up to
// as many, beyond which all is forgotten and looked up anew:
// so a range that every session implies again costs one frame and no look-ups.
package antientropy
