package api

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testActor = changeset.ActorID{0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x47, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}

// fakeDB is a Database of functions. A call of one that is nil fails the test
// by its panic.
type fakeDB struct {
	transact func(ctx context.Context, list []sqlite.Statement) ([]sqlite.Result, changeset.ID, error)
	migrate  func(ctx context.Context, list []sqlite.Statement) ([]sqlite.Result, changeset.ID, error)
	query    func(ctx context.Context, st sqlite.Statement, rows sqlite.RowSink) error
}

func (f fakeDB) Transact(ctx context.Context, list []sqlite.Statement) ([]sqlite.Result, changeset.ID, error) {
	return f.transact(ctx, list)
}

func (f fakeDB) Migrate(ctx context.Context, list []sqlite.Statement) ([]sqlite.Result, changeset.ID, error) {
	return f.migrate(ctx, list)
}

func (f fakeDB) Query(ctx context.Context, st sqlite.Statement, rows sqlite.RowSink) error {
	return f.query(ctx, st, rows)
}

func (f fakeDB) Actor() changeset.ActorID { return testActor }

// failing answers everything with err.
func failing(err error) fakeDB {
	return fakeDB{
		transact: func(context.Context, []sqlite.Statement) ([]sqlite.Result, changeset.ID, error) {
			return nil, changeset.ID{}, err
		},
		migrate: func(context.Context, []sqlite.Statement) ([]sqlite.Result, changeset.ID, error) {
			return nil, changeset.ID{}, err
		},
		query: func(context.Context, sqlite.Statement, sqlite.RowSink) error { return err },
	}
}

func newHandler(cfg Config) http.Handler {
	cfg.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	return New(cfg)
}

// do sends one request without a network.
func do(h http.Handler, method, target, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, target, strings.NewReader(body)))
	return w
}
