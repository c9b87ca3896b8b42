package sqlite

import lib "modernc.org/sqlite/lib"

// cacheSize bounds the statements that a connection keeps prepared.
const cacheSize = 256

// cache keeps prepared statements by mode and text, the most recently used at
// the front of a ring. Statements that stand on a row are never evicted.
type cache struct {
	byKey map[key]*Stmt
	root  entry // sentinel of the ring
	limit int
}

type key struct {
	mode Mode
	sql  string
}

type entry struct {
	key        key
	stmt       *Stmt // nil while the statement is not in the cache
	prev, next *entry
}

func (k *cache) init(limit int) {
	k.byKey, k.limit = map[key]*Stmt{}, limit
	k.root.prev, k.root.next = &k.root, &k.root
}

// ErrMultipleStatements is the error of [Conn.Cached] for text with more than
// one statement.
var ErrMultipleStatements error = &Error{Code: ErrGeneric, Message: "only one statement is allowed", Offset: -1}

// Cached returns the prepared statement for sql under the connection's mode,
// reset and without bindings. The cache owns it: do not finalize it, and do not
// keep it beyond the current piece of work, since it goes when 256 others have
// been used. Text with more than one statement is an error; of blank text the
// statement is nil.
func (c *Conn) Cached(sql string) (*Stmt, error) {
	k := key{c.mode, sql}
	if s := c.cache.byKey[k]; s != nil {
		if s.active {
			return nil, misuse("statement is in use: %s", sql)
		}
		c.cache.use(s)
		s.Reset()
		s.ClearBindings()
		return s, nil
	}
	s, tail, err := c.prepare(sql, lib.SQLITE_PREPARE_PERSISTENT)
	if err != nil || s == nil {
		return nil, err
	}
	if !c.blank(tail) {
		s.Finalize()
		return nil, ErrMultipleStatements
	}
	c.cache.add(k, s)
	return s, nil
}

// blank reports that text holds nothing but blanks and comments.
func (c *Conn) blank(text string) bool {
	if text == "" {
		return true
	}
	s, _, err := c.Prepare(text)
	if s != nil {
		s.Finalize()
	}
	return err == nil && s == nil
}

// ClearCache finalizes the cached statements. Worth a call after the schema
// changed: [Stmt.Access] of a statement prepared before is only ever added to.
func (c *Conn) ClearCache() { c.cache.clear() }

func (k *cache) add(id key, s *Stmt) {
	for e := k.root.prev; len(k.byKey) >= k.limit && e != &k.root; {
		prev := e.prev
		if !e.stmt.active {
			e.stmt.Finalize()
		}
		e = prev
	}
	s.entry.key, s.entry.stmt = id, s
	k.byKey[id] = s
	k.front(&s.entry)
}

func (k *cache) use(s *Stmt) {
	unlink(&s.entry)
	k.front(&s.entry)
}

func (k *cache) front(e *entry) {
	e.prev, e.next = &k.root, k.root.next
	e.prev.next, e.next.prev = e, e
}

func (k *cache) remove(s *Stmt) {
	if s.entry.stmt == nil {
		return
	}
	unlink(&s.entry)
	delete(k.byKey, s.entry.key)
	s.entry = entry{}
}

func (k *cache) clear() {
	for _, s := range k.byKey {
		s.Finalize()
	}
}

func unlink(e *entry) { e.prev.next, e.next.prev = e.next, e.prev }
