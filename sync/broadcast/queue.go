package broadcast

// queue is what waits for one peer: first in, first out, within QueueItems and
// QueueBytes. When it is full the oldest items go: the newest are the ones that
// nobody else has brought yet.
type queue struct {
	items []Item
	bytes int
}

func (q *queue) len() int { return len(q.items) }

// push appends an item and returns how many older ones it displaced.
func (q *queue) push(item Item) (lost int) {
	n := len(item.Packed)
	for len(q.items) > 0 && (len(q.items) >= QueueItems || q.bytes+n > QueueBytes) {
		q.pop()
		lost++
	}
	q.items = append(q.items, item)
	q.bytes += n
	return lost
}

// take removes the head of the queue: as many items as fit in limit bytes, but
// at least one. The result is the caller's.
func (q *queue) take(limit int) []Item {
	n, size := 0, 0
	for n < len(q.items) {
		size += len(q.items[n].Packed)
		if n > 0 && size > limit {
			break
		}
		n++
	}
	batch := make([]Item, n)
	for i := range batch {
		batch[i] = q.pop()
	}
	return batch
}

func (q *queue) pop() Item {
	item := q.items[0]
	q.items[0] = Item{} // the backing array must not keep the payload alive
	q.items = q.items[1:]
	q.bytes -= len(item.Packed)
	if len(q.items) == 0 {
		q.items = nil
	}
	return item
}
