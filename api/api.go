package api

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// Defaults of Config.
const (
	DefaultMaxStatements = 1000
	DefaultMaxBodyBytes  = 4 << 20
	DefaultMaxInFlight   = 1024
	DefaultStallTimeout  = 30 * time.Second
)

// Database is the replicated database as requests use it. The methods may be
// called concurrently.
//
// An error of Transact or Migrate says that nothing of the request was or will
// be committed; what concerns one statement is not such an error but the Err of
// the last result, whose text is shown as it is. Transact and Migrate may keep the statements
// after they returned.
//
// Errors are classified by sqlite's sentinels, the context's errors and the
// behaviours that errors.go lists. Any other error of Query is taken to be the
// statement's fault.
type Database interface {
	// Transact runs the statements all or nothing. A version of 0 says that
	// nothing replicated changed.
	Transact(ctx context.Context, list []sqlite.Statement) ([]sqlite.Result, changeset.ID, error)
	// Migrate changes the schema. A last result with an Err is a refusal.
	Migrate(ctx context.Context, list []sqlite.Statement) ([]sqlite.Result, changeset.ID, error)
	// Query calls Columns once, then Row for each row, and returns the sink's
	// error as soon as it gives one. Rows are the sink's only until it returns.
	Query(ctx context.Context, st sqlite.Statement, rows sqlite.RowSink) error
	// Actor is this database's current actor id.
	Actor() changeset.ActorID
}

// Config is what New needs; zero means default.
type Config struct {
	Database Database
	// Status tells of the node; the handler adds its readiness and its own queues.
	Status func() Status
	// Ready returns nil, or why the node is not ready.
	Ready func() error
	// Reload reads the configuration and the schema files again. The notes are
	// for who asked, such as the keys that need a restart. nil: there is none.
	Reload func(ctx context.Context) (notes []string, err error)

	MaxStatements int           // in one request; default DefaultMaxStatements
	MaxBodyBytes  int64         // default DefaultMaxBodyBytes
	MaxInFlight   int           // requests at once, of reads and of writes each; default DefaultMaxInFlight
	StallTimeout  time.Duration // how long a client may accept or send nothing; default DefaultStallTimeout

	Log *slog.Logger // default slog.Default
}

func (c Config) withDefaults() Config {
	if c.MaxStatements == 0 {
		c.MaxStatements = DefaultMaxStatements
	}
	if c.MaxBodyBytes == 0 {
		c.MaxBodyBytes = DefaultMaxBodyBytes
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = DefaultMaxInFlight
	}
	if c.StallTimeout == 0 {
		c.StallTimeout = DefaultStallTimeout
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Ready == nil {
		c.Ready = func() error { return nil }
	}
	return c
}

type api struct {
	Config
	writes, reads *limiter
}

// New returns the handler of all endpoints. It starts nothing.
func New(cfg Config) http.Handler {
	cfg = cfg.withDefaults()
	a := &api{
		Config: cfg,
		writes: newLimiter("api.writes", cfg.MaxInFlight),
		reads:  newLimiter("api.reads", cfg.MaxInFlight),
	}
	mux := http.NewServeMux()
	a.route(mux, "POST /v1/transactions", a.writes, a.transactions)
	a.route(mux, "POST /v1/migrations", a.writes, a.migrations)
	a.route(mux, "POST /v1/queries", a.reads, a.queries)
	a.route(mux, "POST /v1/reload", a.writes, a.reload)
	a.route(mux, "GET /v1/status", nil, a.status)
	a.route(mux, "GET /readyz", nil, a.readyz)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		a.fail(w, r, notFound(r))
	})
	// A page that a browser loaded from elsewhere must not write through the
	// user's loopback interface.
	origin := http.NewCrossOriginProtection()
	origin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.fail(w, r, errCrossOrigin)
	}))
	return a.limitBody(a.knownHost(origin.Handler(mux)))
}

// knownHost refuses what a browser sends to a name that is neither an address
// nor localhost: a page can point its own name at the loopback interface (DNS
// rebinding), and then it is of no other origin.
func (a *api) knownHost(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "" {
			host := r.Host
			if name, _, err := net.SplitHostPort(host); err == nil {
				host = name
			}
			if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err != nil && host != "localhost" {
				a.fail(w, r, errCrossOrigin)
				return
			}
		}
		h.ServeHTTP(w, r)
	})
}

// route serves "METHOD /path" and answers other methods on that path. The
// requests take a slot of l if it is not nil.
func (a *api) route(mux *http.ServeMux, pattern string, l *limiter, serve func(http.ResponseWriter, *http.Request) error) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if !l.enter() {
			a.fail(w, r, l.refusal())
			return
		}
		defer l.leave()
		if err := serve(w, r); err != nil {
			a.fail(w, r, err)
		}
	})
	method, path, _ := strings.Cut(pattern, " ")
	allow := method
	if method == http.MethodGet {
		allow = "GET, HEAD"
	}
	mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", allow)
		a.fail(w, r, wrongMethod(r, allow))
	})
}
