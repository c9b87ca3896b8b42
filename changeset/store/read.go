package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/patinadb/patina/changeset/sqlite"
)

// readerPool hands out read connections, one user at a time each. No use is older
// than maxAge.
type readerPool struct {
	idle   chan *sqlite.Conn
	size   int
	maxAge time.Duration
	closed chan struct{}

	mu      sync.Mutex // guards reading
	reading map[*reading]struct{}
}

// reading is one use of a connection.
type reading struct {
	since time.Time // before its snapshot was taken
	end   context.CancelCauseFunc
	done  chan struct{} // closed when it has no snapshot any more
	ended bool          // by the writer, who alone looks
}

func newReaderPool(cfg Config, size, cache int) (*readerPool, error) {
	p := &readerPool{idle: make(chan *sqlite.Conn, size), maxAge: cfg.QueryMaxAge, closed: make(chan struct{}), reading: map[*reading]struct{}{}}
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
	for r := range p.reading {
		r.end(ErrStopped)
	}
	p.mu.Unlock()
	for ; p.size > 0; p.size-- {
		c := <-p.idle
		c.Close()
	}
}

// use runs f with a connection in the given mode.
func (p *readerPool) use(ctx context.Context, mode sqlite.Mode, f func(*sqlite.Conn) error) error {
	return p.read(ctx, mode, func(_ context.Context, c *sqlite.Conn) error { return f(c) })
}

// read runs f with a connection in the given mode, and with a context that ends
// with ctx, at maxAge, which counts the wait for a connection too, or when the
// read must end for another reason. That is the error then.
func (p *readerPool) read(ctx context.Context, mode sqlite.Mode, f func(context.Context, *sqlite.Conn) error) error {
	inner, cancel := context.WithTimeoutCause(ctx, p.maxAge, agedError(p.maxAge))
	defer cancel()
	c, err := p.take(inner)
	if err == nil {
		err = p.readOn(inner, c, mode, f)
	}
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		return ctx.Err()
	}
	return err
}

func (p *readerPool) readOn(ctx context.Context, c *sqlite.Conn, mode sqlite.Mode, f func(context.Context, *sqlite.Conn) error) error {
	defer func() { p.idle <- c }()
	c.SetMode(mode)
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	defer p.begin(end)()
	stop := c.InterruptOn(ctx)
	defer stop()
	err := f(ctx, c)
	if errors.Is(err, sqlite.ErrInterrupt) && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// agedError ends a read that is too old.
type agedError time.Duration

func (e agedError) Error() string {
	return fmt.Sprintf("the query ran longer than %v", time.Duration(e))
}

func (agedError) Unwrap() error { return context.DeadlineExceeded }

// Timeout reports true.
func (agedError) Timeout() bool { return true }

// begin notes a read and how to end it, until finish is called.
func (p *readerPool) begin(end context.CancelCauseFunc) (finish func()) {
	r := &reading{since: time.Now(), end: end, done: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reading[r] = struct{}{}
	if p.isClosed() {
		end(ErrStopped) // close has been through the list
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.reading, r)
		close(r.done)
	}
}

// oldestRead returns the oldest read of any pool that began before a time, nil if
// there is none.
func (s *Store) oldestRead(before time.Time) (oldest *reading) {
	for _, p := range []*readerPool{s.readers, s.serving} {
		p.mu.Lock()
		for r := range p.reading {
			if r.since.Before(before) {
				oldest, before = r, r.since
			}
		}
		p.mu.Unlock()
	}
	return oldest
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
		return nil, context.Cause(ctx)
	case <-p.closed:
		return nil, ErrStopped
	}
}

// Query runs one read-only statement of a client and hands its rows to sink. An
// error before sink.Columns was called means that the statement did not compile
// or is not a read. A read that is older than Config.QueryMaxAge, or that keeps
// the WAL at its bound, ends with an error. It is a sink's to end its own waits
// then: see Aborter.
func (s *Store) Query(ctx context.Context, st sqlite.Statement, sink sqlite.RowSink) error {
	return s.readers.read(ctx, sqlite.ModeRead, func(ctx context.Context, c *sqlite.Conn) error {
		a, ok := sink.(Aborter)
		if !ok {
			return query(c, st, sink)
		}
		fired := make(chan struct{})
		stop := context.AfterFunc(ctx, func() { defer close(fired); a.Abort() })
		defer func() {
			if !stop() {
				<-fired
			}
		}()
		err := query(c, st, sink)
		if err != nil && ctx.Err() != nil {
			return context.Cause(ctx) // and not what the sink made of it
		}
		return err
	})
}

// Aborter is a sink that waits for somebody. Abort ends that wait, with an error
// of Row, because the read must end now. It is called from another goroutine, at
// most once, and never after Query has returned.
type Aborter interface{ Abort() }

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
