package api

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/patinadb/patina/api/internal/wire"
	"github.com/patinadb/patina/changeset"
)

const (
	// flushBytes and flushEvery say when gathered rows are sent: at whichever
	// comes first, looked at as each row comes.
	flushBytes = 32 << 10
	flushEvery = 50 * time.Millisecond
	// keepBytes bounds the buffer that is kept after a row larger than the rest.
	keepBytes = 1 << 20
)

// timeoutError ends a query whose ?timeout passed.
type timeoutError struct{ after time.Duration }

func (e *timeoutError) Error() string {
	return fmt.Sprintf("the query's timeout of %v passed", e.after)
}

func (e *timeoutError) Timeout() bool { return true }

// queries streams the rows of one statement. Until the first row is there an
// error is an answer of its own; from then on it is the last line.
func (a *api) queries(w http.ResponseWriter, r *http.Request) error {
	values, err := query(r)
	if err != nil {
		return err
	}
	ctx, cancel, err := withTimeout(r.Context(), values.Get("timeout"))
	if err != nil {
		return err
	}
	defer cancel()
	text, err := a.body(w, r)
	if err != nil {
		return err
	}
	st, err := wire.Statement(text)
	if err != nil {
		return err
	}
	rows := &rowWriter{w: w, control: http.NewResponseController(w), stall: a.StallTimeout}
	start := time.Now()
	err = a.Database.Query(ctx, st, rows)
	switch {
	case rows.broken:
		// Not a clean end: a reader must see that rows are missing.
		panic(http.ErrAbortHandler)
	case err != nil && !rows.begun:
		return blamed{http.StatusBadRequest, causeOf(ctx, err)}
	case err != nil:
		rows.finish(append(wire.AppendError(nil, causeOf(ctx, err)), '\n'))
	default:
		line := wire.AppendSeconds([]byte(`{"eoq":{"time":`), time.Since(start))
		rows.finish(append(line, '}', '}', '\n'))
	}
	return nil
}

// withTimeout applies ?timeout=: seconds, or a Go duration.
func withTimeout(ctx context.Context, s string) (context.Context, context.CancelFunc, error) {
	if s == "" {
		return ctx, func() {}, nil
	}
	d, err := time.ParseDuration(s)
	if seconds, e := strconv.ParseFloat(s, 64); e == nil {
		d, err = time.Duration(min(seconds*float64(time.Second), math.MaxInt64/2)), nil
	}
	if err != nil || d <= 0 {
		return nil, nil, &requestError{http.StatusBadRequest,
			fmt.Sprintf("timeout must be a positive number of seconds or a duration such as 500ms, not %q", s)}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, d, &timeoutError{d})
	return ctx, cancel, nil
}

// rowWriter writes rows as lines. It is a sqlite.RowSink. It holds at most
// flushBytes and one row.
type rowWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	stall   time.Duration

	buffer []byte
	named  bool // the line with the columns was made
	begun  bool // the answer has its status
	broken bool // the client does not take any more
	row    uint64
	sent   time.Time // zero before the first row, which is always due

	mu      sync.Mutex // guards aborted, and the deadline until it is set
	aborted bool
}

// Abort ends the wait for a client to take rows, and all later ones but that of
// finish. It is the store's to call, when the read must end now.
func (s *rowWriter) Abort() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.aborted = true
	s.control.SetWriteDeadline(time.Now())
}

// Columns makes the first line, which goes out with the first row.
func (s *rowWriter) Columns(names []string) error {
	s.named = true
	s.buffer = wire.AppendStrings(append(s.buffer, `{"columns":`...), names)
	s.buffer = append(s.buffer, '}', '\n')
	return nil
}

// Row adds a line and sends what is due.
func (s *rowWriter) Row(values []changeset.Value) error {
	s.row++
	b := append(s.buffer, `{"row":[`...)
	b = append(strconv.AppendUint(b, s.row, 10), ',')
	b = wire.AppendValues(b, values)
	s.buffer = append(b, ']', '}', '\n')
	if len(s.buffer) >= flushBytes || time.Since(s.sent) >= flushEvery {
		return s.flush()
	}
	return nil
}

// finish sends the last line; nobody is left to tell of a failure.
func (s *rowWriter) finish(line []byte) {
	if !s.named {
		_ = s.Columns(nil)
	}
	s.buffer = append(s.buffer, line...)
	s.mu.Lock()
	s.aborted = false
	s.mu.Unlock()
	_ = s.flush()
}

var errAborted = errors.New("the read has ended")

// extend gives the client time to take what is flushed now.
func (s *rowWriter) extend() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.aborted {
		return errAborted // nothing was sent, so that the reason can be
	}
	s.control.SetWriteDeadline(s.sent.Add(s.stall))
	return nil
}

func (s *rowWriter) flush() error {
	s.sent = time.Now()
	if err := s.extend(); err != nil {
		return err
	}
	if !s.begun {
		s.begun = true
		s.w.Header().Set("Content-Type", typeNDJSON)
		s.w.Header().Set("X-Content-Type-Options", "nosniff")
	}
	_, err := s.w.Write(s.buffer)
	if err == nil {
		err = s.control.Flush()
	}
	if s.buffer = s.buffer[:0]; cap(s.buffer) > keepBytes {
		s.buffer = nil
	}
	if err != nil {
		s.broken = true
		return fmt.Errorf("send rows: %w", err)
	}
	return nil
}
