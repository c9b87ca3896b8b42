package broadcast

import "github.com/patinadb/patina/changeset"

// seenKey holds the hash beside the id: two changesets under one id are a forked
// history, and both must get through so that it is noticed.
type seenKey struct {
	id   changeset.ID
	hash changeset.Hash
}

// seenSet remembers the last keys that were added, oldest out first.
type seenSet struct {
	keys map[seenKey]struct{}
	ids  map[changeset.ID]int // hashes of each in keys
	ring []seenKey            // in order of arrival
	most int                  // entries of ring
	next int                  // the ring's oldest entry, when it is full
}

func newSeenSet(capacity int) seenSet {
	return seenSet{keys: make(map[seenKey]struct{}), ids: make(map[changeset.ID]int), most: capacity}
}

// add reports whether the key is new, and remembers it.
func (s *seenSet) add(id changeset.ID, hash changeset.Hash) bool {
	k := seenKey{id, hash}
	if _, ok := s.keys[k]; ok {
		return false
	}
	s.keys[k] = struct{}{}
	s.ids[id]++
	if len(s.ring) < s.most {
		s.ring = append(s.ring, k)
		return true
	}
	old := s.ring[s.next]
	delete(s.keys, old)
	if s.ids[old.id]--; s.ids[old.id] == 0 {
		delete(s.ids, old.id)
	}
	s.ring[s.next] = k
	s.next = (s.next + 1) % len(s.ring)
	return true
}

// has reports whether something under the id is remembered.
func (s *seenSet) has(id changeset.ID) bool { return s.ids[id] > 0 }
