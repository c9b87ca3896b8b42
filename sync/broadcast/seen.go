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
	ring []seenKey // in order of arrival; full once it has the capacity
	next int       // the ring's oldest entry, when it is full
}

func newSeenSet(capacity int) seenSet {
	return seenSet{keys: make(map[seenKey]struct{}), ring: make([]seenKey, 0, capacity)}
}

// add reports whether the key is new, and remembers it.
func (s *seenSet) add(id changeset.ID, hash changeset.Hash) bool {
	k := seenKey{id, hash}
	if _, ok := s.keys[k]; ok {
		return false
	}
	s.keys[k] = struct{}{}
	if len(s.ring) < cap(s.ring) {
		s.ring = append(s.ring, k)
		return true
	}
	delete(s.keys, s.ring[s.next])
	s.ring[s.next] = k
	s.next = (s.next + 1) % len(s.ring)
	return true
}
