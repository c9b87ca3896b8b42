package sqlite

import (
	"sync"
	"sync/atomic"
)

// C callbacks find their connection by a small integer, never by a Go pointer:
// a pointer hidden in a uintptr does not keep its object alive. Handle h is
// slot h-1; 0 is none. Readers take the current table without a lock, since the
// preupdate hook asks once per row.
var registry struct {
	mu    sync.Mutex // held to change the table, which is replaced and never altered
	table atomic.Pointer[[]*Conn]
}

func register(c *Conn) {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	var next []*Conn
	if t := registry.table.Load(); t != nil {
		next = append(next, *t...)
	}
	for i := range next {
		if next[i] == nil {
			next[i], c.handle = c, uintptr(i+1)
			registry.table.Store(&next)
			return
		}
	}
	next = append(next, c)
	c.handle = uintptr(len(next))
	registry.table.Store(&next)
}

func unregister(c *Conn) {
	if c.handle == 0 {
		return
	}
	registry.mu.Lock()
	defer registry.mu.Unlock()
	next := append([]*Conn(nil), *registry.table.Load()...)
	next[c.handle-1] = nil
	c.handle = 0
	registry.table.Store(&next)
}

// connection returns the connection of a handle that C gave back; nil if it is
// closed.
func connection(handle uintptr) *Conn {
	t := registry.table.Load()
	if t == nil || handle == 0 || handle > uintptr(len(*t)) {
		return nil
	}
	return (*t)[handle-1]
}
