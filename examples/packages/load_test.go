package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patinadb/patina/api/client"
)

func TestBatchesKeepPackagesWhole(t *testing.T) {
	s := openThousand(t)
	work := batches(s, 200)
	total := 0
	for i, b := range work {
		total += len(b)
		if len(b) > maxRequest || len(b) < 200 && i < len(work)-1 {
			t.Errorf("batch %d has %d rows", i, len(b))
		}
		if !strings.HasPrefix(b[0].SQL, "INSERT INTO packages ") {
			t.Errorf("batch %d begins inside a package: %s", i, b[0].SQL)
		}
	}
	if total != s.rows {
		t.Errorf("%d rows in batches, %d in the source", total, s.rows)
	}
	huge := &source{packages: []pkg{{Name: "a", Dependencies: make([]dependency, 2*maxRequest)}}}
	var sizes []int
	for _, b := range batches(huge, 10) {
		sizes = append(sizes, len(b))
	}
	if fmt.Sprint(sizes) != "[1000 1000 1]" {
		t.Errorf("a package too large for one request is cut into %v", sizes)
	}
}

// standIn is a node as far as writing and status go.
type standIn struct {
	*httptest.Server
	actor string

	mu       sync.Mutex
	busy     int // requests to refuse with 503
	version  int
	rows     int
	failures int // requests to break
}

func newStandIn(t *testing.T, number int) *standIn {
	t.Helper()
	n := &standIn{actor: fmt.Sprintf("00000000-0000-4000-8000-%012d", number)}
	n.Server = httptest.NewServer(http.HandlerFunc(n.serve))
	t.Cleanup(n.Close)
	return n
}

func (n *standIn) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case r.URL.Path == "/v1/status":
		fmt.Fprintf(w, `{"actor_id":%q,"heads":{%q:%d},"vector_digest":"%064d","schema_digest":"%064d"}`, n.actor, n.actor, n.version, 0, 0)
	case n.busy > 0:
		n.busy--
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, `{"error":"busy"}`)
	case n.failures > 0:
		n.failures--
		w.WriteHeader(http.StatusInsufficientStorage)
		io.WriteString(w, `{"error":"disk full"}`)
	default:
		var list []json.RawMessage
		if err := json.Unmarshal(body, &list); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		n.rows += len(list)
		n.version++
		results := strings.TrimSuffix(strings.Repeat(`{"rows_affected":1},`, len(list)), ",")
		fmt.Fprintf(w, `{"results":[%s],"version":%d,"actor_id":%q}`, results, n.version, n.actor)
	}
}

func (n *standIn) client(t *testing.T) *client.Client {
	t.Helper()
	c, err := client.New(n.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestWritersAreSpreadAndRetryOnlyRefusals(t *testing.T) {
	s := openThousand(t)
	var stands []*standIn
	var nodes []*client.Client
	for i := range 3 {
		stands = append(stands, newStandIn(t, i))
		nodes = append(nodes, stands[i].client(t))
	}
	stands[1].busy = 2
	work := batches(s, 50)
	got, err := load(t.Context(), nodes, 8, work)
	if err != nil {
		t.Fatal(err)
	}
	total, versions := 0, 0
	for _, n := range stands {
		if n.rows == 0 {
			t.Errorf("%s got nothing", n.actor)
		}
		total, versions = total+n.rows, versions+n.version
	}
	if total != s.rows || versions != len(work) {
		t.Errorf("%d rows in %d requests, want %d in %d", total, versions, s.rows, len(work))
	}
	for actor, version := range got {
		for _, n := range stands {
			if n.actor == actor.String() && int(version) != n.version {
				t.Errorf("acknowledged %d of %s, it is at %d", version, actor, n.version)
			}
		}
	}
	if len(got) != 3 {
		t.Errorf("acknowledged by %v", got)
	}

	stands[2].failures = 1
	_, err = load(t.Context(), nodes, 8, work)
	if err == nil || !strings.HasSuffix(err.Error(), "disk full") || stands[2].failures != 0 {
		t.Errorf("another failure: %v", err)
	}
}

func TestEqualMeansEverythingAcknowledged(t *testing.T) {
	n := newStandIn(t, 1)
	nodes := []*client.Client{n.client(t)}
	acknowledged, err := load(t.Context(), nodes, 1, [][]client.Statement{{{SQL: "x"}}})
	if err != nil {
		t.Fatal(err)
	}
	if behind, err := firstDifference(t.Context(), nodes, acknowledged); behind != "" || err != nil {
		t.Errorf("got %q, %v", behind, err)
	}
	n.mu.Lock()
	n.version = 0
	n.mu.Unlock()
	behind, err := firstDifference(t.Context(), nodes, acknowledged)
	if err != nil || !strings.HasSuffix(behind, "has version 0 of actor "+n.actor+", acknowledged is 1") {
		t.Errorf("got %q, %v", behind, err)
	}
}

func TestOptionsOutOfRangeAreRefused(t *testing.T) {
	o, err := parseOptions([]string{"--nodes", "a:1,b:2", "--files", "x.db", "--writers", "3", "--wait", "5s", "index"})
	if err != nil || len(o.nodes) != 2 || o.files[0] != "x.db" || o.writers != 3 || o.wait != 5*time.Second || o.index != "index" || o.rows != 200 {
		t.Errorf("got %+v, %v", o, err)
	}
	for _, args := range [][]string{{"--writers", "0"}, {"--rows", "1001"}, {"a", "b"}} {
		if _, err := parseOptions(args); err == nil {
			t.Errorf("%q passed", args)
		}
	}
}
