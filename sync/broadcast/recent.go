package broadcast

import (
	"time"

	"github.com/patinadb/patina/changeset"
)

// recent keeps changesets for peers that ask for them, the oldest first, within
// RecentItems, RecentBytes and RecentFor. While more come, these let the old ones go;
// it takes a tick only to let go of the last.
type recent struct {
	byID  map[changeset.ID]Item
	list  []recentItem
	bytes int
}

type recentItem struct {
	id     changeset.ID
	size   int
	until  time.Time
	rounds int // digests in which it is to be yet
}

func newRecent() recent { return recent{byID: map[changeset.ID]Item{}} }

func (r *recent) add(now time.Time, item Item) {
	r.expire(now)
	id := item.ID()
	if _, ok := r.byID[id]; ok {
		return // a forked history: the first serves
	}
	r.byID[id] = item
	r.list = append(r.list, recentItem{id, len(item.Packed), now.Add(RecentFor), digestRounds})
	r.bytes += len(item.Packed)
	for len(r.list) > 1 && (len(r.list) > RecentItems || r.bytes > RecentBytes) {
		r.pop()
	}
}

func (r *recent) pop() {
	delete(r.byID, r.list[0].id)
	r.bytes -= r.list[0].size
	if r.list = r.list[1:]; len(r.list) == 0 {
		r.list = nil
	}
}

func (r *recent) get(id changeset.ID) (Item, bool) {
	item, ok := r.byID[id]
	return item, ok
}

// expire lets go of what is old.
func (r *recent) expire(now time.Time) {
	for len(r.list) > 0 && !now.Before(r.list[0].until) {
		r.pop()
	}
}

// next returns when all have expired.
func (r *recent) next() time.Time {
	if len(r.list) == 0 {
		return time.Time{}
	}
	return r.list[len(r.list)-1].until
}

// announce returns what the next digest has, the oldest first, and whether there will
// be more for another one.
func (r *recent) announce() (ids []changeset.ID, more bool) {
	first := len(r.list)
	for first > 0 && r.list[first-1].rounds > 0 {
		first-- // the older ones were announced as often
	}
	for i := first; i < len(r.list); i++ {
		item := &r.list[i]
		ids = append(ids, item.id)
		item.rounds--
		more = more || item.rounds > 0
	}
	return ids, more
}
