// Package store is the replicated database: a plain SQLite file whose tables
// carry row clocks, and a log of the changesets that made it what it is.
//
// # Who owns what
//
// Run's loop owns the writer connection and everything that changes: the capture
// buffer, the actor ordinals, the vector, the waiting room and the schema. Nothing
// else begins a write transaction, with one exception: while the loop waits, it
// lays down a baton, and a client that finds it runs its request itself
// (Store.runAlone), since two changes of goroutine cost as much as the rest of a
// small write. Whoever has no baton sends jobs over bounded queues and reads atomic
// snapshots (Vector, Parked, SchemaDigest). Readers have a pool of connections that
// cannot write, and one more connection moves the WAL into the file (wal.go). If
// readers or a failing disk keep the WAL from starting over, the writer ends reads
// and refuses requests at Config.MaxWALBytes (walbound.go).
//
// # The life of a local write
//
// Transact queues a request, unless the writer has nothing to do: then it runs at
// once. The writer drains the queue into a group
// (group.go): one SQLite transaction, each request in a SAVEPOINT of its own.
// While a client's statements run, the preupdate hook records what they do to
// replicated rows (capture.go). At the end of the group the records fold to
// their net effect, row clocks are written (clocks.go), the changeset is encoded
// and logged (log.go), and one fsync acknowledges every request of the group.
//
// # The life of a remote changeset
//
// Apply and TryApply queue it. The writer takes a batch (apply.go), leaves out
// what it already holds, lets what must come after something absent wait a
// moment (waiting.go), parks what the schema here cannot hold (parked.go), merges
// the rest row by row, and commits the batch with its log entries. An index that
// another process made and that keeps a changeset out is dropped (harm.go); what
// is parked for another reason than its names is tried again (retry.go).
//
// A file that was copied, restored or rolled back goes on under a new actor id:
// found at open (identity.go), by versions of our own that arrive (apply.go) or that a
// peer's vector names (meet.go). Two histories under one id are marked (fork.go).
//
// What the log amounts to (vectors, heads, clock sums) is saved now and then, and an
// open reads the log from there on (state.go).
//
// Where requests and remote changesets both wait, the side that had less of the
// writer's time goes first (turns.go).
//
// # What is in the file beside the users' tables
//
//	__patina_clk_T      clocks of T's rows (rowclock.go); m is FORMAT.md's clock with
//	                    actors by ordinal, behind 8 bytes of the key's hash where the
//	                    table goes by rowid
//	__patina_tomb_T     clocks of deleted rows, where __patina_clk_T goes by rowid
//	__patina_actor      ordinal, actor id, and what was applied of it when the state
//	                    was saved: head hash, then versions (state.go)
//	__patina_log        ordinal<<40|version, the entry's share of the clock sums, the
//	                    packed changeset (log.go, prune.go)
//	__patina_sum        clock sum of each table when the state was saved, and for which
//	                    columns (sums.go)
//	__patina_parked     ordinal<<40|version, packed changeset, reason (parked.go)
//	__patina_fork       actor id with two histories, reason (fork.go)
//	__patina_meta       name and value: format, cluster, who we are (meta.go), adopting
//	                    with the digest of the schema while Adopt is at work, journal
//	                    (the mode before it), and local:TABLE with the reason for each
//	                    table that it left local; fill, fill_first and fill_goal while
//	                    state is transferred, given: the versions that came so,
//	                    settled: it was complete once (transfer_fill.go)
//	__patina_insert_T   triggers, with _update_ and _delete_, only while Adopt is at
//	                    work: they refuse the writes of other programs (guard.go)
//
// Beside it, and not beside a link to it: FILE-id, which tells a copy from the
// original (identity.go), and FILE-lock, the lock of the node that runs (lock.go).
//
// # Work on a stopped database
//
// Check compares a database with itself (check.go, checklog.go). Adopt makes
// somebody's SQLite file one of ours: it is surveyed (survey.go), then its rows are
// taken in as versions of ours (rowtake.go). Eject takes all that is ours out again
// (eject.go, pack.go). Each of them holds the lock of a node (offline.go).
//
// # Rules that keep it honest
//
// Nothing in the process opens the database, its -wal or its -shm but SQLite
// (a plain open and close drops SQLite's POSIX locks). Everything that must
// agree commits in one transaction: rows, clocks, log, bookkeeping. Nothing is
// shown to peers before its fsync returned. Nothing is acknowledged into files that
// somebody replaced, removed or cut short (files.go): the store stops.
//
// # Tests
//
// `go test -args -long` runs the counts of minutes: 400 random histories of real
// stores against an oracle, every small world, long campaigns of faults.
package store
