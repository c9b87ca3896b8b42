package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/patinadb/patina/api/internal/wire"
	"github.com/patinadb/patina/changeset/sqlite"
)

// Behaviours by which errors of lower layers say what they are; the sentinel or
// type stays where it belongs.
type (
	// unavailable: nothing ran, and a later attempt may succeed (stopped,
	// overloaded, writes refused for now).
	unavailable interface{ Unavailable() bool }
	// timeout: as net.Error and context.DeadlineExceeded have it.
	timeout interface{ Timeout() bool }
)

// errStopping ends what still runs when the server stops.
var errStopping = errors.New("the node is shutting down")

var errCrossOrigin = &requestError{http.StatusForbidden, "a web page of another origin may not use this API"}

// requestError refuses a request before it reached the database.
type requestError struct {
	status int
	reason string
}

func (e *requestError) Error() string { return e.reason }

// busyError refuses a request for want of a slot.
type busyError struct {
	class string
	limit int64
}

func (e *busyError) Error() string {
	return fmt.Sprintf("too many requests at once: %s is limited to %d", e.class, e.limit)
}

func (e *busyError) Unavailable() bool { return true }

func notFound(r *http.Request) error {
	return &requestError{http.StatusNotFound, fmt.Sprintf("no such endpoint: %s", r.URL.Path)}
}

func wrongMethod(r *http.Request, allow string) error {
	return &requestError{http.StatusMethodNotAllowed, fmt.Sprintf("%s does not take %s, only %s", r.URL.Path, r.Method, allow)}
}

// blamed is an error whose status, when nothing more is known of it, is not 500:
// a query's is the statement's fault.
type blamed struct {
	status int
	error
}

func (b blamed) Unwrap() error { return b.error }

// statusOf is the one map from error to HTTP status. The first match decides.
func statusOf(err error) int {
	var request *requestError
	var form *wire.Error
	var many *wire.TooManyError
	var away unavailable
	var late timeout
	var fault blamed
	switch {
	case errors.As(err, &request):
		return request.status
	case errors.As(err, &form):
		return http.StatusBadRequest
	case errors.As(err, &many):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, sqlite.ErrFull):
		return http.StatusInsufficientStorage
	case errors.As(err, &away) && away.Unavailable(),
		errors.Is(err, errStopping),
		errors.Is(err, context.Canceled),
		errors.Is(err, sqlite.ErrBusy):
		return http.StatusServiceUnavailable
	case errors.As(err, &late) && late.Timeout(),
		errors.Is(err, sqlite.ErrInterrupt):
		return http.StatusGatewayTimeout
	case errors.Is(err, sqlite.ErrIOErr),
		errors.Is(err, sqlite.ErrCorrupt),
		errors.Is(err, sqlite.ErrNotADB),
		errors.Is(err, sqlite.ErrCantOpen):
		return http.StatusInternalServerError
	case errors.As(err, &fault):
		return fault.status
	}
	return http.StatusInternalServerError
}

// causeOf prefers the reason for which ctx ended to what came of it.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && cause != ctx.Err() {
		return cause
	}
	return err
}

// fail answers with err: {"error": text}.
func (a *api) fail(w http.ResponseWriter, r *http.Request, err error) {
	err = causeOf(r.Context(), err)
	status := statusOf(err)
	switch status {
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "1")
	case http.StatusInternalServerError, http.StatusInsufficientStorage:
		a.Log.Error("request failed", "component", "api", "err", err)
	}
	var fault blamed
	if errors.As(err, &fault) {
		err = fault.error
	}
	a.reply(w, status, append(wire.AppendError(nil, err), '\n'))
}
