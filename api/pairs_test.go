package api

import (
	"bufio"
	"context"
	"encoding/json"
	"math"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// echoDB gives the answers that testdata/pairs.jsonl was recorded with: its
// statements are words.
var echoDB = fakeDB{transact: echoWrite, migrate: echoWrite, query: echoRows}

var errUnique = &sqlite.Error{Code: sqlite.ErrConstraintUnique, Message: "UNIQUE constraint failed: t.a"}

func echoWrite(_ context.Context, list []sqlite.Statement) (results []sqlite.Result, id changeset.ID, err error) {
	for _, st := range list {
		r := sqlite.Result{Time: 1}
		switch {
		case st.SQL == "fail":
			return append(results, sqlite.Result{Err: errUnique}), id, nil
		case st.SQL == "returning":
			id = changeset.ID{Actor: testActor, Version: 7}
			r.HasRows = true
			r.Columns = []string{"a", "b", "c", "d", "e", "f"}
			r.Types = []string{"INTEGER", "", "", "", "ANY", "REAL"}
			r.Rows = [][]sqlite.Value{{
				changeset.IntegerValue(math.MaxInt64), changeset.RealValue(1), changeset.TextValue("<ä>\x00"),
				changeset.BlobValue([]byte{0, 255}), changeset.NullValue(), changeset.RealValue(math.Inf(-1)),
			}}
		case strings.HasPrefix(st.SQL, "INSERT"):
			id = changeset.ID{Actor: testActor, Version: 7}
			r.LastInsertID, r.RowsAffected = int64(len(results)+1), 1
		}
		results = append(results, r)
	}
	return results, id, nil
}

func echoRows(_ context.Context, st sqlite.Statement, rows sqlite.RowSink) error {
	if !strings.HasPrefix(st.SQL, "rows") {
		return &sqlite.Error{Code: sqlite.ErrGeneric, Message: `near "` + st.SQL + `": syntax error`}
	}
	if err := rows.Columns([]string{"n", "v"}); err != nil {
		return err
	}
	var n int64
	if len(st.Params) > 0 {
		n = st.Params[0].Integer()
	}
	for i := int64(1); i <= n; i++ {
		if err := rows.Row([]sqlite.Value{changeset.IntegerValue(i), changeset.TextValue("x")}); err != nil {
			return err
		}
	}
	if st.SQL == "rows then fail" {
		return &sqlite.Error{Code: sqlite.ErrGeneric, Message: "integer overflow"}
	}
	return nil
}

func echoStatus() Status {
	return Status{
		Actor: testActor, Cluster: "default", Version: "v0", Uptime: 1.5,
		Heads:        map[changeset.ActorID]changeset.Version{testActor: 7},
		VectorDigest: Digest{31: 1}, SchemaDigest: Digest{31: 2},
		Members: []Member{{Actor: testActor, Addr: netip.MustParseAddrPort("127.0.0.1:8787"), APIAddr: "127.0.0.1:8080", State: "alive"}},
		Queues:  []Queue{{"q", 1, 2, 3}},
		Parked:  []Parked{{testActor, 9, "unknown table t"}},
		Forked:  []Forked{{testActor, "version 2 differs"}},
		Missing: []Missing{{testActor, "1-4,6", 5}},
		Unequal: []Unequal{{testActor, []string{"item"}, "2026-11-28T09:00:00Z"}},
		WAL:     WAL{Bytes: 4120, OutsideRead: 2.5, Refused: "full", Failure: "disk I/O error"},
		Log:     Log{Bytes: 9, Pruned: 8, Held: "peer"},
	}
}

func TestRecordedPairs(t *testing.T) {
	f, err := os.Open("testdata/pairs.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	seconds := regexp.MustCompile(`"time":[0-9.e-]+`)
	h := newHandler(Config{Database: echoDB, Status: echoStatus, MaxStatements: 4})
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var pair struct {
			Desc, Method, Path, Body, Answer string
			Status                           int
		}
		if err := json.Unmarshal(lines.Bytes(), &pair); err != nil {
			t.Fatalf("%v in %s", err, lines.Text())
		}
		w := do(h, pair.Method, pair.Path, pair.Body)
		got := seconds.ReplaceAllString(w.Body.String(), `"time":T`)
		if w.Code != pair.Status || got != pair.Answer {
			t.Errorf("%s: got %d\n%swant %d\n%s", pair.Desc, w.Code, got, pair.Status, pair.Answer)
		}
		want := typeJSON
		switch {
		case pair.Path == "/readyz":
			want = typeText
		case pair.Status == 200 && strings.HasPrefix(pair.Path, "/v1/queries"):
			want = typeNDJSON
		}
		if ct := w.Header().Get("Content-Type"); ct != want {
			t.Errorf("%s: Content-Type %s, want %s", pair.Desc, ct, want)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}
