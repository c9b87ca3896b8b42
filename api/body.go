package api

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// maxDiscard bounds what is read of a body that is refused for its size. Up to
// here a plain client, which sends all before it reads, sees the answer instead
// of a connection reset.
const maxDiscard = 64 << 20

// limitBody gives a request's body StallTimeout to arrive. The limit stands until
// body has read all: net/http itself reads what a handler left, without end.
func (a *api) limitBody(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			http.NewResponseController(w).SetReadDeadline(time.Now().Add(a.StallTimeout))
		}
		h.ServeHTTP(w, r)
	})
}

// body reads the whole body.
func (a *api) body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if e := r.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return nil, &requestError{http.StatusUnsupportedMediaType, fmt.Sprintf("Content-Encoding %s is not supported", e)}
	}
	if r.ContentLength > a.MaxBodyBytes && expectsContinue(r) {
		// The client waits for leave to send: nothing to discard.
		w.Header().Set("Connection", "close")
		return nil, a.tooLarge(fmt.Sprintf("%d bytes", r.ContentLength))
	}
	if r.ContentLength > a.MaxBodyBytes {
		return nil, a.discard(w, r, 0)
	}
	b := make([]byte, 0, max(r.ContentLength+1, 512))
	for {
		n, err := r.Body.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case int64(len(b)) > a.MaxBodyBytes:
			return nil, a.discard(w, r, int64(len(b)))
		case err == io.EOF:
			http.NewResponseController(w).SetReadDeadline(time.Time{})
			return b, nil
		case err != nil:
			return nil, bodyError(err)
		case len(b) == cap(b):
			b = append(b, 0)[:len(b)]
		}
	}
}

// discard reads the rest of a body of which size bytes were read, and returns
// the refusal with what it learned of the whole.
func (a *api) discard(w http.ResponseWriter, r *http.Request, size int64) error {
	n, err := io.CopyN(io.Discard, r.Body, maxDiscard-size)
	size += n
	if err != io.EOF {
		w.Header().Set("Connection", "close")
	}
	switch {
	case r.ContentLength >= 0:
		return a.tooLarge(fmt.Sprintf("%d bytes", r.ContentLength))
	case err == io.EOF:
		return a.tooLarge(fmt.Sprintf("%d bytes", size))
	case err != nil:
		return bodyError(err)
	}
	return a.tooLarge(fmt.Sprintf("more than %d bytes", size))
}

func (a *api) tooLarge(size string) error {
	return &requestError{http.StatusRequestEntityTooLarge,
		fmt.Sprintf("the body has %s, the limit is %d (api.max_body_bytes)", size, a.MaxBodyBytes)}
}

func expectsContinue(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Expect"), "100-continue")
}

func bodyError(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &requestError{http.StatusRequestTimeout, "the body did not arrive in time"}
	}
	return &requestError{http.StatusBadRequest, "the body could not be read: " + err.Error()}
}

// query parses the URL's query, strictly; of a repeated key the first counts.
func query(r *http.Request) (url.Values, error) {
	if r.URL.RawQuery == "" {
		return nil, nil
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, &requestError{http.StatusBadRequest, "bad query string: " + err.Error()}
	}
	return values, nil
}
