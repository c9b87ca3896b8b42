// Package versions is the arithmetic of who has what: sets of versions as
// ranges, vectors of such sets per actor, and what one vector has that another
// lacks (DESIGN section 6). It is pure: no I/O, no clock, no goroutine.
//
// # Sets
//
// A [Set] holds versions 1 … changeset.MaxVersion as sorted ranges that neither
// touch nor overlap, so that equal sets have equal ranges and equal bytes.
//
// # Vectors
//
// A [Vector] says of each actor which versions are applied (merged into the
// tables), which are parked (kept durably, not yet merged), and the hash of the
// highest applied changeset. The two sets have no version in common. What others
// rely on is the applied set alone; it is what [Vector.Digest] covers. What need
// not be fetched again is both ([Vector.Holds], [Missing]).
//
// # Encoding
//
// "uvarint" is the shortest little-endian base-128 form (encoding/binary); a
// longer form of the same number is refused as corrupt.
//
//	set       uvarint n        number of ranges, 0 … MaxRanges
//	          n times
//	            uvarint gap    first range: First-1
//	                           others: First - (Last of the one before) - 2
//	            uvarint span   Last - First
//
//	vector    1 byte           format version, 1
//	          uvarint n        number of actors, 0 … MaxActors
//	          n times, actors strictly ascending, none zero
//	            16 bytes       actor id
//	            set            applied
//	            set            parked; the two disjoint, not both empty
//	            32 bytes       hash of the highest applied changeset;
//	                           absent if applied is empty
//
// In the usual case (one applied range from version 1, nothing parked) an actor
// costs 51 bytes and the length of its highest version as uvarint. The digest
// hashes the same bytes without actors whose applied set is empty, without the
// number of actors and with every parked set left out. The full digest hashes
// all actors and both sets, without the number of actors and with a zero head
// where there is none.
//
// A reader raises four different errors, those of package changeset: truncated,
// corrupt, too large, unsupported. It allocates at most a small multiple of its
// input's length.
package versions
