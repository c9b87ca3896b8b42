package store

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/patinadb/patina/changeset/sqlite"
)

// readerPool hands out read connections, one user at a time each.
type readerPool struct {
	idle   chan *sqlite.Conn
	size   int
	closed chan struct{}

	mu      sync.Mutex                          // guards reading
	reading map[*sqlite.Conn]context.CancelFunc // who is at work
}

func newReaderPool(cfg Config, size, cache int) (*readerPool, error) {
	p := &readerPool{idle: make(chan *sqlite.Conn, size), closed: make(chan struct{}), reading: map[*sqlite.Conn]context.CancelFunc{}}
	for range size {
		c, err := sqlite.Open(sqlite.Config{Path: cfg.Path, VFS: cfg.VFS, ReadOnly: true, CacheBytes: cache})
		if err != nil {
			p.close()
			return nil, err
		}
		c.SetLimit(sqlite.LimitLength, maxValueSize)
		p.idle <- c
		p.size++
	}
	return p, nil
}

// close interrupts who reads, waits for every connection to come back and closes
// it. Later users get ErrStopped.
func (p *readerPool) close() {
	close(p.closed)
	p.mu.Lock()
	for _, cancel := range p.reading {
		cancel()
	}
	p.mu.Unlock()
	for ; p.size > 0; p.size-- {
		c := <-p.idle
		c.Close()
	}
}

// use runs f with a connection in the given mode. It waits for one as long as
// ctx lasts.
func (p *readerPool) use(ctx context.Context, mode sqlite.Mode, f func(*sqlite.Conn) error) error {
	c, err := p.take(ctx)
	if err != nil {
		return err
	}
	defer func() { p.idle <- c }()
	c.SetMode(mode)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p.note(c, cancel)
	defer p.note(c, nil)
	stop := c.InterruptOn(ctx)
	defer stop()
	if err = f(c); p.isClosed() && errors.Is(err, sqlite.ErrInterrupt) {
		return ErrStopped
	}
	return err
}

// note keeps how to interrupt who reads on c, nil for nobody.
func (p *readerPool) note(c *sqlite.Conn, cancel context.CancelFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reading[c] = cancel
	switch {
	case cancel == nil:
		delete(p.reading, c)
	case p.isClosed():
		cancel() // close has been through the list
	}
}

func (p *readerPool) isClosed() bool {
	select {
	case <-p.closed:
		return true
	default:
		return false
	}
}

func (p *readerPool) take(ctx context.Context) (*sqlite.Conn, error) {
	if p.isClosed() {
		return nil, ErrStopped // and not at random, while connections are left
	}
	select {
	case c := <-p.idle:
		return c, nil
	default:
	}
	select {
	case c := <-p.idle:
		return c, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-p.closed:
		return nil, ErrStopped
	}
}

// Query runs one read-only statement of a client and hands its rows to sink. An
// error before sink.Columns was called means that the statement did not compile
// or is not a read. A read that is older than Config.QueryMaxAge ends with an
// error, since it pins the WAL.
func (s *Store) Query(ctx context.Context, st sqlite.Statement, sink sqlite.RowSink) error {
	aged, cancel := context.WithTimeout(ctx, s.cfg.QueryMaxAge)
	defer cancel()
	err := s.readers.use(aged, sqlite.ModeRead, func(c *sqlite.Conn) error { return query(c, st, sink) })
	if errors.Is(err, sqlite.ErrInterrupt) || errors.Is(err, context.DeadlineExceeded) {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case aged.Err() != nil:
			return fmt.Errorf("the query ran longer than %v: %w", s.cfg.QueryMaxAge, aged.Err())
		}
	}
	return err
}

var errNoStatement = errors.New("no statement")

func query(c *sqlite.Conn, st sqlite.Statement, sink sqlite.RowSink) error {
	q, err := c.Cached(st.SQL)
	switch {
	case err != nil:
		return err
	case q == nil:
		return errNoStatement
	}
	defer q.Reset()
	if err := q.BindStatement(st); err != nil {
		return err
	}
	// The first step compiles again if the schema has moved: what the columns
	// are is known after it.
	row, err := q.Step()
	if err != nil {
		return err
	}
	names := make([]string, q.ColumnCount())
	for i := range names {
		names[i] = q.ColumnName(i)
	}
	if err := sink.Columns(names); err != nil {
		return err
	}
	values := make([]sqlite.Value, len(names))
	for ; row; row, err = q.Step() {
		for i := range values {
			values[i] = q.Column(i)
		}
		if err := sink.Row(values); err != nil {
			return err
		}
	}
	return err
}
