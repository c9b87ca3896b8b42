package api

import (
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	typeJSON   = "application/json"
	typeNDJSON = "application/x-ndjson"
	typeText   = "text/plain; charset=utf-8"
)

// maxPooled bounds the answers whose memory is kept for the next one.
const maxPooled = 64 << 10

// answers holds buffers for answers. Bodies are never pooled: a writer may hold
// on to parameters, which share the body's memory, after the handler returned.
var answers = sync.Pool{New: func() any { return new([]byte) }}

func answerBuffer() *[]byte { return answers.Get().(*[]byte) }

func releaseBuffer(b *[]byte, used []byte) {
	if cap(used) <= maxPooled {
		*b = used[:0]
		answers.Put(b)
	}
}

// reply sends a whole JSON answer. A client that does not take it in time loses
// its connection.
func (a *api) reply(w http.ResponseWriter, status int, b []byte) {
	a.replyAs(w, status, typeJSON, b)
}

func (a *api) replyAs(w http.ResponseWriter, status int, contentType string, b []byte) {
	// Twice: before it writes, net/http may wait for what is left of the body, up
	// to the limit that limitBody set.
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(2 * a.StallTimeout))
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	// A failure is the client's: it is gone, and what it asked for is done.
	_, _ = w.Write(b)
}
