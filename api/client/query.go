package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/patinadb/patina/api/internal/wire"
)

// ErrCut ends rows whose stream broke off: neither an end nor an error came.
var ErrCut = errors.New("the answer broke off in the middle of the rows")

// Rows is the result of a query as it comes. It is used by one goroutine:
//
//	for rows.Next() { use(rows.Values()) }
//	if err := rows.Err(); err != nil { … }
type Rows struct {
	columns []string
	values  []Value
	line    json.RawMessage
	time    time.Duration
	err     error
	ended   bool
	body    io.ReadCloser
	decoder *json.Decoder
}

// event is one line of the stream.
type event struct {
	Columns []string
	Row     []json.RawMessage
	EOQ     *struct{ Time float64 }
	Error   *string
}

// Query runs one statement that reads. A timeout of 0 is none but the node's.
// The caller closes the rows.
func (c *Client) Query(ctx context.Context, st Statement, timeout time.Duration) (*Rows, error) {
	body, err := wire.AppendStatement(nil, st)
	if err != nil {
		return nil, err
	}
	path := "/v1/queries"
	if timeout > 0 {
		path += "?timeout=" + url.QueryEscape(timeout.String())
	}
	res, err := c.send(ctx, http.MethodPost, path, body)
	if err != nil {
		return nil, err
	}
	r := &Rows{body: res.Body, decoder: json.NewDecoder(res.Body)}
	first, err := r.read()
	if err == nil && first.Columns == nil {
		err = errors.New("read rows: the first line has no columns")
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	r.columns = first.Columns
	return r, nil
}

// Columns returns the columns' names.
func (r *Rows) Columns() []string { return r.columns }

// Next moves to the next row. false: the end, or an error that Err returns.
func (r *Rows) Next() bool {
	if r.ended {
		return false
	}
	e, err := r.read()
	switch {
	case err != nil:
		r.err = err
	case e.Error != nil:
		r.err = errors.New(*e.Error)
	case e.EOQ != nil:
		r.time = time.Duration(e.EOQ.Time * float64(time.Second))
	case len(e.Row) == 2:
		r.values, r.err = wire.Values(e.Row[1])
		r.ended = r.err != nil
		return r.err == nil
	default:
		r.err = fmt.Errorf("read rows: unknown line %s", r.line)
	}
	r.ended = true
	return false
}

// Values returns the row that Next moved to. It stays valid.
func (r *Rows) Values() []Value { return r.values }

// Line returns the line of JSON read last, without its end: the columns before
// the first Next, a row after a Next that was true, the last line at the end. It
// is valid until the next call of Next.
func (r *Rows) Line() []byte { return r.line }

// Time is what the query took at the node, known at the end.
func (r *Rows) Time() time.Duration { return r.time }

// Err returns why the rows ended early, nil if they did not.
func (r *Rows) Err() error { return r.err }

// Close ends the query if it still runs.
func (r *Rows) Close() error {
	r.ended = true
	return r.body.Close()
}

func (r *Rows) read() (event, error) {
	var e event
	err := r.decoder.Decode(&r.line)
	switch {
	case err == io.EOF, errors.Is(err, io.ErrUnexpectedEOF):
		return e, ErrCut
	case err != nil:
		return e, fmt.Errorf("read rows: %w", err)
	}
	if err := json.Unmarshal(r.line, &e); err != nil {
		return e, fmt.Errorf("read rows: %w", err)
	}
	return e, nil
}
