// Package client calls a node's HTTP API. The command line is made of it.
//
// A write is sent once: the client never repeats one by itself, since in a
// leaderless cluster that is a second write. When a call fails without a
// *StatusError, the node may have done what was asked.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/patinadb/patina/api"
	"github.com/patinadb/patina/changeset/sqlite"
)

type (
	// Statement is SQL with its parameters.
	Statement = sqlite.Statement
	// Result is what became of one statement.
	Result = sqlite.Result
	// Value is a parameter or a cell.
	Value = sqlite.Value
	// Status is what a node says of itself.
	Status = api.Status
)

// maxAnswer bounds an answer that is read whole.
const maxAnswer = 256 << 20

// StatusError is a refusal by the node: it did nothing.
type StatusError struct {
	Code    int    // HTTP status
	Message string // the node's
}

// Error returns the node's message.
func (e *StatusError) Error() string { return e.Message }

// Client calls one node. Its methods may be used concurrently.
type Client struct {
	base string
	http *http.Client
}

// New makes a client of the node whose API is at addr: host:port, or the same
// with http:// before it. It does not connect.
func New(addr string) (*Client, error) {
	base := addr
	if !strings.Contains(addr, "://") {
		base = "http://" + addr
	}
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return nil, fmt.Errorf("API address %q is neither host:port nor http://host:port", addr)
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	return &Client{
		base: "http://" + u.Host,
		http: &http.Client{Transport: &http.Transport{
			DialContext:         dialer.DialContext,
			MaxIdleConnsPerHost: 64,
			IdleConnTimeout:     30 * time.Second,
		}},
	}, nil
}

// Addr returns the address as host:port.
func (c *Client) Addr() string { return strings.TrimPrefix(c.base, "http://") }

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status asks for the node's status.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	b, err := c.whole(ctx, http.MethodGet, "/v1/status", nil)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("read status: %w", err)
	}
	return s, nil
}

// Ready returns nil if the node is ready, a *StatusError with the reason if not.
func (c *Client) Ready(ctx context.Context) error {
	_, err := c.whole(ctx, http.MethodGet, "/readyz", nil)
	return err
}

// Reload makes the node read its configuration and schema files again. The
// notes are remarks such as "api.addr needs a restart".
func (c *Client) Reload(ctx context.Context) (notes []string, err error) {
	b, err := c.whole(ctx, http.MethodPost, "/v1/reload", nil)
	if err != nil {
		return nil, err
	}
	var answer api.Reloaded
	if err := json.Unmarshal(b, &answer); err != nil {
		return nil, fmt.Errorf("read answer to reload: %w", err)
	}
	return answer.Notes, nil
}

// whole returns the body of a 200 answer.
func (c *Client) whole(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	res, err := c.send(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read answer: %w", err)
	case len(b) > maxAnswer:
		return nil, fmt.Errorf("the answer has more than %d bytes", maxAnswer)
	}
	return b, nil
}

// send returns an answer whose status is 200, or an error.
func (c *Client) send(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode == http.StatusOK {
		return res, nil
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	return nil, &StatusError{res.StatusCode, message(b, res.Status)}
}

// message finds the reason in a refusal: {"error":…}, the refused statement of a
// migration, or plain text.
func message(b []byte, status string) string {
	var e struct {
		Error   string
		Results []struct{ Error string }
	}
	text := strings.TrimSpace(string(b))
	switch err := json.Unmarshal(b, &e); {
	case err == nil && e.Error != "":
		return e.Error
	case err == nil && len(e.Results) > 0:
		last := len(e.Results) - 1
		if last == 0 {
			return e.Results[0].Error
		}
		return fmt.Sprintf("statement %d: %s", last+1, e.Results[last].Error)
	case text == "":
		return status
	}
	return text
}
