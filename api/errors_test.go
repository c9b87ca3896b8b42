package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

type stoppedError struct{}

func (stoppedError) Error() string     { return "the store is stopped" }
func (stoppedError) Unavailable() bool { return true }

func TestErrorsMapToStatuses(t *testing.T) {
	for _, tt := range []struct {
		desc         string
		err          error
		write, query int
		retry        string
	}{
		{"disk full", fmt.Errorf("commit: %w", &sqlite.Error{Code: sqlite.ErrFull, Message: "database or disk is full"}), 507, 507, ""},
		{"stopped", fmt.Errorf("queue: %w", stoppedError{}), 503, 503, "1"},
		{"cancelled", context.Canceled, 503, 503, "1"},
		{"busy", &sqlite.Error{Code: sqlite.ErrBusySnapshot, Message: "database is locked"}, 503, 503, "1"},
		{"deadline", context.DeadlineExceeded, 504, 504, ""},
		{"interrupted", &sqlite.Error{Code: sqlite.ErrInterrupt, Message: "statement time limit exceeded"}, 504, 504, ""},
		{"I/O error", &sqlite.Error{Code: sqlite.ErrIOErr | 1<<8, Message: "disk I/O error"}, 500, 500, ""},
		{"corrupt", &sqlite.Error{Code: sqlite.ErrCorrupt, Message: "database disk image is malformed"}, 500, 500, ""},
		{"not authorized", &sqlite.Error{Code: sqlite.ErrAuth, Message: "not authorized"}, 500, 400, ""},
		{"unknown", errors.New("strange"), 500, 400, ""},
	} {
		h := newHandler(Config{Database: failing(tt.err)})
		for path, want := range map[string]int{"/v1/transactions": tt.write, "/v1/migrations": tt.write, "/v1/queries": tt.query} {
			w := do(h, "POST", path, `["x"]`)
			if w.Code != want || w.Header().Get("Retry-After") != tt.retry {
				t.Errorf("%s at %s: %d, Retry-After %q, want %d, %q", tt.desc, path, w.Code, w.Header().Get("Retry-After"), want, tt.retry)
			}
			if !strings.Contains(w.Body.String(), tt.err.Error()) {
				t.Errorf("%s at %s: %s does not give the reason", tt.desc, path, w.Body)
			}
		}
	}
}

func TestRefusedRequestsRunNothing(t *testing.T) {
	ran := 0
	db := failing(nil)
	db.transact = func(context.Context, []sqlite.Statement) ([]sqlite.Result, changeset.ID, error) {
		ran++
		return nil, changeset.ID{}, nil
	}
	h := newHandler(Config{Database: db, MaxStatements: 2, MaxBodyBytes: 64})
	for _, body := range []string{``, `{`, `{}`, `[]`, `[1]`, `["a","b",3]`, `["a","b"] x`, `["` + strings.Repeat("a", 64) + `"]`} {
		if w := do(h, "POST", "/v1/transactions", body); w.Code != 400 && w.Code != 413 {
			t.Errorf("%s: %d", body, w.Code)
		}
	}
	if ran != 0 {
		t.Errorf("%d ran", ran)
	}
}

func TestOtherMethodsAreToldWhatIsAllowed(t *testing.T) {
	h := newHandler(Config{})
	for path, allow := range map[string]string{
		"/v1/transactions": "POST", "/v1/migrations": "POST", "/v1/queries": "POST", "/v1/reload": "POST",
		"/v1/status": "GET, HEAD", "/readyz": "GET, HEAD",
	} {
		w := do(h, "DELETE", path, "")
		if w.Code != 405 || w.Header().Get("Allow") != allow {
			t.Errorf("%s: %d, Allow %q", path, w.Code, w.Header().Get("Allow"))
		}
	}
	if w := do(h, "HEAD", "/readyz", ""); w.Code != 200 {
		t.Errorf("HEAD /readyz: %d", w.Code)
	}
}

func TestPagesOfOtherOriginsAreRefused(t *testing.T) {
	h := newHandler(Config{Database: echoDB})
	for _, tt := range []struct {
		desc, host, header, value string
		want                      int
	}{
		{"no browser", "db.example", "", "", 200},
		{"same origin", "127.0.0.1:8080", "Origin", "http://127.0.0.1:8080", 200},
		{"same origin by name", "localhost:8080", "Origin", "http://localhost:8080", 200},
		{"same origin, IPv6", "[::1]:8080", "Origin", "http://[::1]:8080", 200},
		{"other origin", "127.0.0.1:8080", "Origin", "http://evil.example", 403},
		{"cross-site fetch", "127.0.0.1:8080", "Sec-Fetch-Site", "cross-site", 403},
		{"a name that leads here", "evil.example:8080", "Origin", "http://evil.example:8080", 403},
		{"a name that leads here, by fetch", "evil.example:8080", "Sec-Fetch-Site", "same-origin", 403},
	} {
		r := httptest.NewRequest("POST", "/v1/transactions", strings.NewReader(`["nothing"]`))
		r.Host = tt.host
		if tt.header != "" {
			r.Header.Set(tt.header, tt.value)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != tt.want {
			t.Errorf("%s: %d, want %d", tt.desc, w.Code, tt.want)
		}
	}
}

func TestNotReadySaysWhy(t *testing.T) {
	h := newHandler(Config{Ready: func() error { return errors.New("no other member was met yet") }})
	if w := do(h, "GET", "/readyz", ""); w.Code != 503 || w.Body.String() != "no other member was met yet\n" || w.Header().Get("Retry-After") == "" {
		t.Errorf("readyz: %d %s", w.Code, w.Body)
	}
	w := do(h, "GET", "/v1/status", "")
	if w.Code != 200 || !strings.Contains(w.Body.String(), `"ready":false,"not_ready":"no other member was met yet"`) {
		t.Errorf("status: %d %s", w.Code, w.Body)
	}
	for _, empty := range []string{`"heads":{}`, `"members":[]`, `"parked":[]`, `"forked":[]`} {
		if !strings.Contains(w.Body.String(), empty) {
			t.Errorf("status lacks %s: %s", empty, w.Body)
		}
	}
}

func TestReload(t *testing.T) {
	var result error
	h := newHandler(Config{Reload: func(context.Context) ([]string, error) { return []string{"api.addr needs a restart"}, result }})
	from := func(peer string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", "/v1/reload", nil)
		r.RemoteAddr = peer
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	if w := from("[::1]:5"); w.Code != 200 || w.Body.String() != `{"notes":["api.addr needs a restart"]}`+"\n" {
		t.Errorf("loopback: %d %s", w.Code, w.Body)
	}
	for _, peer := range []string{"192.0.2.1:5", "pipe", ""} {
		if w := from(peer); w.Code != 403 {
			t.Errorf("%q: %d", peer, w.Code)
		}
	}
	result = errors.New(`schema/a.sql:3: near "TABEL": syntax error`)
	if w := from("127.0.0.1:5"); w.Code != 422 || !strings.Contains(w.Body.String(), "a.sql:3") {
		t.Errorf("broken schema: %d %s", w.Code, w.Body)
	}
	h = newHandler(Config{})
	if w := from("127.0.0.1:5"); w.Code != http.StatusNotImplemented {
		t.Errorf("no reload: %d", w.Code)
	}
}
