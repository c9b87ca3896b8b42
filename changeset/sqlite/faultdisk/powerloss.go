package faultdisk

import (
	"math/rand/v2"
	"slices"
)

// sector is what a disk writes at once, in bytes.
const sector = 512

// Image is the contents of a disk. It is never changed.
type Image struct {
	files map[string]uint64
	data  map[uint64][]byte
	next  uint64
}

// History walks over what happened to a disk, forward only.
type History struct {
	events  []event
	at      int
	data    map[uint64][]byte // what is durable, by inode
	pending map[uint64][]event
	names   map[string]uint64 // durable
	moves   []event           // of names, not durable yet
	next    uint64
}

// History returns the history of the disk until now. A disk that was made from
// an image begins with that image, durable.
func (d *Disk) History() *History {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &History{events: slices.Clone(d.events), data: map[uint64][]byte{}, pending: map[uint64][]event{}, names: map[string]uint64{}}
}

// Forward goes on to a point, which is not before the present one.
func (h *History) Forward(point int) {
	for ; h.at < point; h.at++ {
		h.step(h.events[h.at])
	}
}

func (h *History) step(e event) {
	h.next = max(h.next, e.inode)
	switch e.kind {
	case created, removed:
		h.moves = append(h.moves, e)
	case removedDurably:
		h.moves = append(h.moves, e)
		h.settle(len(h.moves))
	case written, truncated:
		h.pending[e.inode] = append(h.pending[e.inode], e)
	case synced:
		b := h.data[e.inode]
		for _, p := range h.pending[e.inode] {
			b = p.apply(b)
		}
		h.data[e.inode] = b
		delete(h.pending, e.inode)
		last := 0
		for i, m := range h.moves {
			if m.kind == created && m.inode == e.inode {
				last = i + 1
			}
		}
		h.settle(last)
	case syncFailed:
		r := rand.New(rand.NewPCG(uint64(h.at), 1))
		h.data[e.inode] = scatter(r, h.data[e.inode], h.pending[e.inode])
		delete(h.pending, e.inode)
	}
}

// settle makes the first n of the moves durable.
func (h *History) settle(n int) {
	for _, m := range h.moves[:n] {
		m.rename(h.names)
	}
	h.moves = append([]event(nil), h.moves[n:]...)
}

func (e *event) rename(names map[string]uint64) {
	if e.kind == created {
		names[e.name] = e.inode
	} else {
		delete(names, e.name)
	}
}

func (e *event) apply(b []byte) []byte {
	if e.kind == truncated {
		return resize(b, e.offset)
	}
	return writeAt(b, e.data, e.offset)
}

// PowerLoss returns what the disk may hold if the power fails at the present
// point; each seed is one possibility.
func (h *History) PowerLoss(seed uint64) Image {
	r := rand.New(rand.NewPCG(seed, uint64(h.at)))
	out := Image{files: map[string]uint64{}, data: map[uint64][]byte{}, next: h.next}
	for name, inode := range h.names {
		out.files[name] = inode
	}
	for _, m := range h.moves[:r.IntN(len(h.moves)+1)] {
		m.rename(out.files)
	}
	inodes := make([]uint64, 0, len(out.files))
	for _, inode := range out.files {
		inodes = append(inodes, inode)
	}
	slices.Sort(inodes) // the seed decides, not the order of the map
	for _, inode := range inodes {
		out.data[inode] = scatter(r, slices.Clone(h.data[inode]), h.pending[inode])
	}
	return out
}

// scatter applies an arbitrary part of the changes, in an arbitrary order of the
// sectors.
func scatter(r *rand.Rand, b []byte, changes []event) []byte {
	var parts []event
	for i := range changes {
		e := &changes[i]
		if e.kind == truncated {
			parts = append(parts, *e)
			continue
		}
		for from := int64(0); from < int64(len(e.data)); {
			to := min(int64(len(e.data)), (e.offset+from)/sector*sector+sector-e.offset)
			parts = append(parts, event{kind: written, offset: e.offset + from, data: e.data[from:to]})
			from = to
		}
	}
	keep := r.IntN(5) // quarters: of 0 and 4 none and all
	if r.IntN(2) == 0 {
		r.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
	}
	for i := range parts {
		p := &parts[i]
		if r.IntN(4) >= keep {
			continue
		}
		if p.kind == written && keep < 4 && r.IntN(8) == 0 {
			p.data = p.data[:r.IntN(len(p.data)+1)] // torn
		}
		b = p.apply(b)
	}
	return b
}
