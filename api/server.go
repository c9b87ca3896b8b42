package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// ServerConfig is what NewServer needs; zero means default.
type ServerConfig struct {
	Handler  http.Handler
	Listener net.Listener  // Run closes it
	Grace    time.Duration // for requests that run when the server stops; default 2 s
	Log      *slog.Logger  // default slog.Default
}

// Times and sizes of a connection, before and between requests. The handler
// bounds the time of a body and of an answer itself, since a query's rows may
// take long.
const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 64 << 10
	maxStreams    = 250 // requests at once on one h2c connection
	defaultGrace  = 2 * time.Second
	// abortTime is what requests have after their context ended, and what is
	// waited for them after their connections were closed.
	abortTime = 500 * time.Millisecond
)

// Server serves a handler on a listener, as HTTP/1.1 and as HTTP/2 without TLS.
type Server struct {
	http    *http.Server
	l       net.Listener
	grace   time.Duration
	stop    context.CancelCauseFunc // ends the context of every request
	running tally
}

// NewServer prepares a server; Run starts it. The listener may queue
// connections meanwhile.
func NewServer(cfg ServerConfig) *Server {
	if cfg.Grace == 0 {
		cfg.Grace = defaultGrace
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	base, stop := context.WithCancelCause(context.Background())
	s := &Server{l: cfg.Listener, grace: cfg.Grace, stop: stop}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	s.http = &http.Server{
		Handler:           s.count(cfg.Handler),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		Protocols:         &protocols,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		BaseContext:       func(net.Listener) context.Context { return base },
		ErrorLog:          slog.NewLogLogger(cfg.Log.With("component", "api").Handler(), slog.LevelDebug),
	}
	return s
}

// Addr returns the listener's address.
func (s *Server) Addr() net.Addr { return s.l.Addr() }

// Run serves until ctx ends or the listener fails, then stops: no new requests,
// Grace for those that run, then the end of their contexts, then of their
// connections. It returns when every request has ended. nil follows the end of
// ctx; requests that would not end are an error.
func (s *Server) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.l) }()
	select {
	case err := <-served:
		s.stop(errStopping)
		return errors.Join(fmt.Errorf("serve the API: %w", err), s.end())
	case <-ctx.Done():
	}
	if !s.shutdown(s.grace) {
		s.stop(errStopping)
		s.shutdown(abortTime)
	}
	s.stop(errStopping)
	err := s.end()
	<-served // closed above, so this is ErrServerClosed
	return err
}

// shutdown reports whether all connections were idle within d.
func (s *Server) shutdown(d time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return s.http.Shutdown(ctx) == nil
}

// end closes what is left and waits for the handlers.
func (s *Server) end() error {
	s.http.Close()
	select {
	case <-s.running.close():
		return nil
	case <-time.After(abortTime):
		return errors.New("stop the API: requests still run")
	}
}

func (s *Server) count(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.running.enter() {
			panic(http.ErrAbortHandler)
		}
		defer s.running.leave()
		h.ServeHTTP(w, r)
	})
}

// tally counts handlers. Unlike a WaitGroup it may be entered while its end is
// awaited: a request can come in just before its connection is closed.
type tally struct {
	mu     sync.Mutex
	n      int
	closed bool
	empty  chan struct{} // made by close, closed once n is 0
}

// enter reports false after close.
func (t *tally) enter() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.n++
	}
	return !t.closed
}

func (t *tally) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n--; t.n == 0 && t.closed {
		close(t.empty)
	}
}

// close is called once. The channel it returns closes when all have left.
func (t *tally) close() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed, t.empty = true, make(chan struct{})
	if t.n == 0 {
		close(t.empty)
	}
	return t.empty
}
