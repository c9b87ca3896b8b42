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
// # Limits
//
// All connections to a disk are in one process. Shared memory is lost with the
// power. Temporary files belong on no disk: SQLite keeps them in memory
// (temp_store).
package faultdisk
