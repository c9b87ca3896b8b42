// Package faultdisk is a disk in memory for tests: an SQLite VFS that remembers
// every write, truncate, sync, creation and removal in order, gives the disk as a
// power loss at any of these points may leave it, and fails calls on demand.
//
// # What a power loss keeps
//
// What was synced is kept. Of the writes after a file's last sync each sector of
// 512 bytes is kept whole, in part or not at all, by seed; a sector that was
// written twice may hold either. Names are kept as a journalling file system
// does: a prefix of the creations and removals, at least up to the creation of
// any file that was synced since (SQLite syncs the folder with a new file). A
// sync that fails loses the writes it was for, or not, by seed, and no later sync
// brings them back, though reads see them until then.
//
// # What fails
//
// A Fault names a kind of call, or any, by its number: that call fails, or all from
// it on. Opens, reads, writes, truncates, syncs, removals, sizes, look-ups, locks and
// shared memory can fail; what gives back (close, unlock, unmap) cannot, since SQLite
// does not ask. A write that fails leaves the first half of its data. The calls of
// connections that run at the same time are numbered as they come.
//
// # Limits
//
// All connections to a disk are in one process. Shared memory is lost with the
// power. Temporary files belong on no disk: SQLite keeps them in memory
// (temp_store).
package faultdisk
