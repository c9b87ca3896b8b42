package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/patinadb/patina/api"
	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var actor = changeset.NewActorID()

// mirror is a Database that gives back what it was sent: a transaction's
// parameters are its RETURNING row, a query's are its rows.
type mirror struct{}

func (mirror) Actor() changeset.ActorID { return actor }

func (mirror) Transact(_ context.Context, list []sqlite.Statement) (results []sqlite.Result, id changeset.ID, err error) {
	for _, st := range list {
		switch st.SQL {
		case "fail":
			return append(results, sqlite.Result{Err: errors.New("UNIQUE constraint failed: t.a")}), id, nil
		case "full":
			return nil, id, sqlite.ErrFull
		case "write":
			results = append(results, sqlite.Result{LastInsertID: 5, RowsAffected: 2, Time: time.Second})
			continue
		}
		results = append(results, sqlite.Result{HasRows: true, Columns: make([]string, len(st.Params)), Rows: [][]sqlite.Value{st.Params}})
	}
	return results, changeset.ID{Actor: actor, Version: 7}, nil
}

func (m mirror) Migrate(ctx context.Context, list []sqlite.Statement) ([]sqlite.Result, changeset.ID, error) {
	return m.Transact(ctx, list)
}

func (mirror) Query(ctx context.Context, st sqlite.Statement, rows sqlite.RowSink) error {
	if st.SQL == "syntax" {
		return errors.New("near \"syntax\": syntax error")
	}
	if err := rows.Columns([]string{"v"}); err != nil {
		return err
	}
	for _, v := range st.Params {
		if err := rows.Row([]sqlite.Value{v}); err != nil {
			return err
		}
	}
	switch st.SQL {
	case "fail":
		return errors.New("integer overflow")
	case "wait":
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

// node returns a client of a handler that runs until the end of the test.
func node(t *testing.T, h http.Handler) *Client {
	t.Helper()
	s := httptest.NewServer(h)
	c, err := New(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); s.Close() })
	return c
}

func mirrorNode(t *testing.T, cfg api.Config) *Client {
	cfg.Database = mirror{}
	cfg.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	return node(t, api.New(cfg))
}

var everyKind = []Value{
	changeset.NullValue(), changeset.IntegerValue(-1 << 63), changeset.RealValue(1), changeset.RealValue(1e-300),
	changeset.TextValue("é\x00\"<"), changeset.TextValue("[1]"), changeset.BlobValue([]byte{0, 255}), changeset.BlobValue([]byte{}),
}

func TestAddressForms(t *testing.T) {
	for _, tt := range []struct{ addr, want string }{
		{"127.0.0.1:8080", "127.0.0.1:8080"}, {"http://127.0.0.1:8080", "127.0.0.1:8080"}, {"http://h:1/", "h:1"},
		{"[::1]:8080", "[::1]:8080"}, {"node-1:80", "node-1:80"},
		{"", ""}, {"https://h:1", ""}, {"http://h:1/v1", ""}, {"a b:1", ""}, {"h:1?x", ""},
	} {
		c, err := New(tt.addr)
		if (err != nil) != (tt.want == "") || err == nil && c.Addr() != tt.want {
			t.Errorf("%q: %v", tt.addr, err)
		}
	}
}

func TestTransactKeepsStorageClasses(t *testing.T) {
	c := mirrorNode(t, api.Config{})
	a, err := c.Transact(t.Context(), []Statement{{SQL: "write"}, {SQL: "mirror", Params: everyKind}})
	if err != nil || a.Err() != nil {
		t.Fatal(err, a.Err())
	}
	if a.Version != 7 || a.Actor != actor || !json.Valid(a.JSON) {
		t.Errorf("version %d, actor %v, %s", a.Version, a.Actor, a.JSON)
	}
	if r := a.Results[0]; r.LastInsertID != 5 || r.RowsAffected != 2 || r.HasRows || r.Time != time.Second {
		t.Errorf("write: %+v", r)
	}
	r := a.Results[1]
	if !r.HasRows || len(r.Rows) != 1 || !slices.EqualFunc(r.Rows[0], everyKind, Value.Equal) {
		t.Errorf("rows: %+v", r)
	}
}

func TestFailuresAreToldApart(t *testing.T) {
	c := mirrorNode(t, api.Config{})
	a, err := c.Transact(t.Context(), []Statement{{SQL: "write"}, {SQL: "fail"}, {SQL: "write"}})
	if err != nil || a.Version != 0 || len(a.Results) != 2 || a.Err() == nil || a.Err().Error() != "statement 2: UNIQUE constraint failed: t.a" {
		t.Errorf("failing statement: %v, %v, %+v", err, a.Err(), a)
	}
	for _, tt := range []struct {
		desc    string
		call    func() error
		code    int
		message string
	}{
		{"refused migration", func() error { _, err := c.Migrate(t.Context(), []Statement{{SQL: "fail"}}); return err }, 400, "UNIQUE constraint failed: t.a"},
		{"refused second", func() error { _, err := c.Migrate(t.Context(), []Statement{{SQL: "write"}, {SQL: "fail"}}); return err }, 400, "statement 2: UNIQUE constraint failed: t.a"},
		{"disk full", func() error { _, err := c.Transact(t.Context(), []Statement{{SQL: "full"}}); return err }, 507, "database or disk is full"},
		{"no statements", func() error { _, err := c.Transact(t.Context(), nil); return err }, 400, "at least one statement is required (byte 0)"},
		{"prepare error", func() error { _, err := c.Query(t.Context(), Statement{SQL: "syntax"}, 0); return err }, 400, `near "syntax": syntax error`},
		{"no reload", func() error { _, err := c.Reload(t.Context()); return err }, 501, "this node has nothing to reload"},
	} {
		var refusal *StatusError
		if err := tt.call(); !errors.As(err, &refusal) || refusal.Code != tt.code || refusal.Message != tt.message {
			t.Errorf("%s: %v", tt.desc, err)
		}
	}
}

func TestQueryStreamsRows(t *testing.T) {
	c := mirrorNode(t, api.Config{})
	rows, err := c.Query(t.Context(), Statement{SQL: "mirror", Params: everyKind}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	if !slices.Equal(rows.Columns(), []string{"v"}) || string(rows.Line()) != `{"columns":["v"]}` {
		t.Errorf("columns %v, line %s", rows.Columns(), rows.Line())
	}
	var got []Value
	for rows.Next() {
		got = append(got, rows.Values()[0])
	}
	if rows.Err() != nil || rows.Time() <= 0 || !slices.EqualFunc(got, everyKind, Value.Equal) {
		t.Errorf("%v, %v, %v", got, rows.Err(), rows.Time())
	}
	if !bytes.HasPrefix(rows.Line(), []byte(`{"eoq"`)) {
		t.Errorf("last line %s", rows.Line())
	}
}

func TestRowsThatEndEarlySayWhy(t *testing.T) {
	c := mirrorNode(t, api.Config{})
	one := []Value{changeset.IntegerValue(1)}
	all := func(c *Client, st Statement, timeout time.Duration) (int, error) {
		rows, err := c.Query(t.Context(), st, timeout)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		n := 0
		for rows.Next() {
			n++
		}
		return n, rows.Err()
	}
	if n, err := all(c, Statement{SQL: "fail", Params: one}, 0); n != 1 || err == nil || err.Error() != "integer overflow" {
		t.Errorf("error line: %d rows, %v", n, err)
	}
	if n, err := all(c, Statement{SQL: "wait", Params: one}, 20*time.Millisecond); n != 1 || err == nil || err.Error() != "the query's timeout of 20ms passed" {
		t.Errorf("timeout: %d rows, %v", n, err)
	}
	for desc, text := range map[string]string{
		"at a line's end": "{\"columns\":[\"v\"]}\n{\"row\":[1,[1]]}\n",
		"within a line":   "{\"columns\":[\"v\"]}\n{\"row\":[1,[1]]}\n{\"row\":[2,[",
	} {
		cut := node(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, text) }))
		if n, err := all(cut, Statement{}, 0); n != 1 || !errors.Is(err, ErrCut) {
			t.Errorf("cut %s: %d rows, %v", desc, n, err)
		}
	}
}

func TestClosingRowsEndsTheQuery(t *testing.T) {
	c := mirrorNode(t, api.Config{}) // its server waits for the handler at the end
	rows, err := c.Query(t.Context(), Statement{SQL: "wait", Params: []Value{changeset.IntegerValue(1)}}, 0)
	if err != nil || !rows.Next() {
		t.Fatal(err)
	}
	rows.Close()
	if rows.Next() {
		t.Error("a row after Close")
	}
}

func TestStatusReadyReload(t *testing.T) {
	want := api.Status{
		Actor: actor, Cluster: "c", Version: "v1", Heads: map[changeset.ActorID]changeset.Version{actor: 3},
		VectorDigest: api.Digest{1}, Members: []api.Member{{Actor: actor, State: "alive", RTT: 0.5}}, Parked: []api.Parked{}, Forked: []api.Forked{}, Missing: []api.Missing{}, Unequal: []api.Unequal{},
	}
	var notReady error
	c := mirrorNode(t, api.Config{
		Status: func() api.Status { return want },
		Ready:  func() error { return notReady },
		Reload: func(context.Context) ([]string, error) { return []string{"db.path needs a restart"}, nil },
	})
	got, err := c.Status(t.Context())
	if err != nil || !got.Ready || len(got.Queues) != 2 {
		t.Fatalf("%v: %+v", err, got)
	}
	got.Ready, got.Queues = false, nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if err := c.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	notReady = errors.New("waiting for a member")
	var refusal *StatusError
	if err := c.Ready(t.Context()); !errors.As(err, &refusal) || refusal.Code != 503 || refusal.Message != "waiting for a member" {
		t.Error(err)
	}
	if notes, err := c.Reload(t.Context()); err != nil || len(notes) != 1 {
		t.Error(notes, err)
	}
}

func TestWhatCannotBeSentIsNotSent(t *testing.T) {
	c := node(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("sent") }))
	bad := Statement{SQL: "x", Params: []Value{changeset.TextValue("\xff")}}
	if _, err := c.Transact(t.Context(), []Statement{bad}); err == nil || !strings.Contains(err.Error(), "parameter 1") {
		t.Error(err)
	}
	if _, err := c.Query(t.Context(), bad, 0); err == nil {
		t.Error("no error")
	}
}

func TestParseParam(t *testing.T) {
	for text, want := range map[string]Value{
		"1": changeset.IntegerValue(1), "1.0": changeset.RealValue(1), "null": changeset.NullValue(), "true": changeset.IntegerValue(1),
		`"1"`: changeset.TextValue("1"), "abc": changeset.TextValue("abc"), "": changeset.TextValue(""), "[1,2]": changeset.BlobValue([]byte{1, 2}),
		"it's": changeset.TextValue("it's"), "1 2": changeset.TextValue("1 2"), "1e999": changeset.TextValue("1e999"),
	} {
		if got := ParseParam(text); !got.Equal(want) {
			t.Errorf("%q: %v %v", text, got.Kind(), got)
		}
	}
}

func TestSplitStatements(t *testing.T) {
	for _, tt := range []struct {
		desc, script string
		want         []string
	}{
		{"empty", " \n; ; -- c\n /* d */", nil},
		{"one without end", " SELECT 1 ", []string{"SELECT 1"}},
		{"two", "a; b;", []string{"a", "b"}},
		{"quotes", `SELECT ';', "a;b", [c;d], ` + "`e;f`" + `, 'it''s;'; b`, []string{`SELECT ';', "a;b", [c;d], ` + "`e;f`" + `, 'it''s;'`, "b"}},
		{"comments", "a -- ; x\n; /* ; */ b; -- end;", []string{"a -- ; x", "/* ; */ b"}},
		{"open quote", "a; 'b;", []string{"a", "'b;"}},
		{"open comment", "a; b /* ;", []string{"a", "b /* ;"}},
		{"trigger", "CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; SELECT CASE 1 WHEN 1 THEN 2 END; END; b;",
			[]string{"CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; SELECT CASE 1 WHEN 1 THEN 2 END; END", "b"}},
		{"temp trigger", "create temp /* x */ trigger t begin x; end; b", []string{"create temp /* x */ trigger t begin x; end", "b"}},
		{"a table called trigger", "CREATE TABLE trigger (a); b", []string{"CREATE TABLE trigger (a)", "b"}},
		{"words that contain END", "CREATE TRIGGER t BEGIN x; ENDING; END; b", []string{"CREATE TRIGGER t BEGIN x; ENDING; END", "b"}},
	} {
		if got := SplitStatements(tt.script); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q", tt.desc, got)
		}
	}
}
