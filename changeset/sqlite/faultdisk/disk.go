package faultdisk

import (
	"io/fs"
	"sync"
)

// Op is a kind of call that can be counted and made to fail.
type Op int

// The kinds of calls.
const (
	Open Op = iota
	Read
	Write
	Truncate
	Sync
	Delete
	Size
	Access
	Lock // taken or raised
	ShmMap
	ShmLock // taken
	opCount

	Any Op = -1 // any of them
)

// String names the kind.
func (o Op) String() string {
	if o == Any {
		return "any"
	}
	return [...]string{"open", "read", "write", "truncate", "sync", "delete", "size", "access", "lock", "shm map", "shm lock"}[o]
}

// Fault makes a call fail.
type Fault struct {
	Op      Op     // or Any
	Name    string // of the file; "" is any
	Nth     int    // the first to fail, 1 is the next call of the kind
	Full    bool   // an open, write or sync with SQLITE_FULL; else an I/O error
	Lasting bool   // all calls of the kind from then on, until Clear
}

// event is a change of the disk, in the order of the calls.
type event struct {
	kind   eventKind
	inode  uint64
	name   string // of a creation or removal
	offset int64  // of a write; the size of a truncate
	data   []byte
}

type eventKind int

const (
	created eventKind = iota
	removed
	removedDurably // with a sync of the folder
	written
	truncated
	synced
	syncFailed
)

// node is a file without its name.
type node struct {
	number uint64
	data   []byte
	locks  locks
	shm    *shm
}

// Disk is a whole disk. Its methods may be called from any goroutine.
type Disk struct {
	name string // of the VFS
	c    registration

	mu     sync.Mutex // guards all below, and the nodes
	files  map[string]*node
	next   uint64
	events []event
	counts [opCount]int
	fault  *Fault
	seen   int // calls that the fault is about since it was set
	hits   int
	open   int // files
}

// VFS returns the name under which SQLite finds the disk.
func (d *Disk) VFS() string { return d.name }

// Point numbers the moment: the changes so far.
func (d *Disk) Point() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.events)
}

// Count returns the calls of a kind so far, failed ones included.
func (d *Disk) Count(o Op) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if o != Any {
		return d.counts[o]
	}
	all := 0
	for _, n := range d.counts {
		all += n
	}
	return all
}

// Hits returns how many calls the fault has failed; 0 if there is none.
func (d *Disk) Hits() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hits
}

// Stat returns the number and the size of the file of a name, or fails with
// fs.ErrNotExist.
func (d *Disk) Stat(name string) (inode uint64, size int64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := d.files[name]; n != nil {
		return n.number, int64(len(n.data)), nil
	}
	return 0, 0, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
}

// Fail sets the fault, in place of any before it.
func (d *Disk) Fail(f Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault, d.seen, d.hits = &f, 0, 0
}

// Clear takes the fault away and returns how many calls it failed.
func (d *Disk) Clear() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	hits := d.hits
	d.fault, d.hits = nil, 0
	return hits
}

// fails counts a call and reports whether it fails, and with a full disk. d.mu is
// held.
func (d *Disk) fails(o Op, name string) (failed, full bool) {
	d.counts[o]++
	f := d.fault
	if f == nil || f.Op != o && f.Op != Any || f.Name != "" && f.Name != name {
		return false, false
	}
	d.seen++
	if d.seen < f.Nth || d.seen > f.Nth && !f.Lasting {
		return false, false
	}
	d.hits++
	return true, f.Full
}

// create returns the file of a name, making it if it is absent. d.mu is held.
func (d *Disk) create(name string) *node {
	n := d.files[name]
	if n == nil {
		d.next++
		n = &node{number: d.next}
		d.files[name] = n
		d.record(event{kind: created, inode: n.number, name: name})
	}
	return n
}

func (d *Disk) record(e event) { d.events = append(d.events, e) }

func (d *Disk) write(n *node, data []byte, offset int64) {
	n.data = writeAt(n.data, data, offset)
	d.record(event{kind: written, inode: n.number, offset: offset, data: append([]byte(nil), data...)})
}

func (d *Disk) truncate(n *node, size int64) {
	n.data = resize(n.data, size)
	d.record(event{kind: truncated, inode: n.number, offset: size})
}

func writeAt(to, data []byte, offset int64) []byte {
	if end := offset + int64(len(data)); end > int64(len(to)) {
		to = resize(to, end)
	}
	copy(to[offset:], data)
	return to
}

// resize cuts b or fills it up with zeros.
func resize(b []byte, size int64) []byte {
	if size <= int64(len(b)) {
		return b[:size:size]
	}
	return append(b, make([]byte, size-int64(len(b)))...)
}
