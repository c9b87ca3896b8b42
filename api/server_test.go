package api

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// start serves cfg on loopback and returns the address. stop ends it and returns
// what Run returned; it is called at the end of the test if not before.
func start(t *testing.T, cfg Config, grace time.Duration) (addr string, stop func() error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(ServerConfig{Handler: newHandler(cfg), Listener: l, Grace: grace})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-ended
	}
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return s.Addr().String(), stop
}

// blockingDB's queries send one row and then wait for their context; its
// transactions wait for release and report that they began.
type blockingDB struct {
	fakeDB
	begun   chan string
	release chan struct{}
}

func newBlockingDB() blockingDB {
	b := blockingDB{begun: make(chan string, 10), release: make(chan struct{})}
	b.query = func(ctx context.Context, st sqlite.Statement, rows sqlite.RowSink) error {
		rows.Columns([]string{"n"})
		if err := rows.Row([]sqlite.Value{changeset.IntegerValue(1)}); err != nil {
			return err
		}
		b.begun <- "query"
		<-ctx.Done()
		return ctx.Err()
	}
	b.transact = func(ctx context.Context, list []sqlite.Statement) ([]sqlite.Result, changeset.ID, error) {
		b.begun <- "transaction"
		<-b.release
		return []sqlite.Result{{RowsAffected: 1}}, changeset.ID{Actor: testActor, Version: 1}, nil
	}
	return b
}

func post(t *testing.T, addr, path, body string) (int, string) {
	t.Helper()
	res, err := http.Post("http://"+addr+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// plain sends a request as a simple client does: all of it, and only then does
// it read.
func plain(t *testing.T, addr, head string, body func(w io.Writer) error) (*http.Response, string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, "POST /v1/transactions HTTP/1.1\r\nHost: x\r\n"+head+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := body(conn); err != nil {
		t.Fatalf("send: %v", err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("receive: %v", err)
	}
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("receive: %v", err)
	}
	return res, string(b)
}

func TestPlainClientsSeeThatTheirBodyIsTooLarge(t *testing.T) {
	addr, _ := start(t, Config{Database: echoDB, MaxBodyBytes: 1000}, 0)
	zeros := func(n int64) func(io.Writer) error {
		return func(w io.Writer) error {
			block := make([]byte, 1<<20)
			for n > 0 {
				m, err := w.Write(block[:min(n, int64(len(block)))])
				if err != nil {
					return err
				}
				n -= int64(m)
			}
			return nil
		}
	}
	chunked := func(n int) func(io.Writer) error {
		return func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "%x\r\n%s\r\n0\r\n\r\n", n, bytes.Repeat([]byte(" "), n))
			return err
		}
	}
	for _, tt := range []struct {
		desc, head string
		body       func(io.Writer) error
		status     int
		want       string
	}{
		{"at the limit", "Content-Length: 1000", func(w io.Writer) error {
			_, err := io.WriteString(w, `["nothing"]`+strings.Repeat(" ", 989))
			return err
		}, 200, `"version":null`},
		{"one over", "Content-Length: 1001", zeros(1001), 413, "the body has 1001 bytes, the limit is 1000 (api.max_body_bytes)"},
		{"much over", "Content-Length: 33554432", zeros(32 << 20), 413, "the body has 33554432 bytes, the limit is 1000"},
		{"length unknown", "Transfer-Encoding: chunked", chunked(3 << 20), 413, "the body has 3145728 bytes, the limit is 1000"},
		{"asks before it sends", "Content-Length: 99999999999\r\nExpect: 100-continue", zeros(0), 413, "the body has 99999999999 bytes"},
		{"compressed", "Content-Encoding: gzip\r\nContent-Length: 3", zeros(3), 415, "gzip is not supported"},
	} {
		res, body := plain(t, addr, tt.head, tt.body)
		if res.StatusCode != tt.status || !strings.Contains(body, tt.want) {
			t.Errorf("%s: %d %s", tt.desc, res.StatusCode, body)
		}
	}
}

func TestSlowBodiesEnd(t *testing.T) {
	addr, _ := start(t, Config{Database: echoDB, StallTimeout: 50 * time.Millisecond}, 0)
	nothing := func(io.Writer) error { return nil }
	if res, body := plain(t, addr, "Content-Length: 100", nothing); res.StatusCode != http.StatusRequestTimeout {
		t.Errorf("read: %d %s", res.StatusCode, body)
	}
	if res, body := plain(t, addr, "Content-Length: 100\r\nOrigin: http://evil.example", nothing); res.StatusCode != http.StatusForbidden {
		t.Errorf("not read: %d %s", res.StatusCode, body)
	}
}

func TestFirstRowComesAtOnce(t *testing.T) {
	db := newBlockingDB()
	addr, _ := start(t, Config{Database: db}, 0)
	ctx, cancel := context.WithCancel(context.Background())
	req, _ := http.NewRequestWithContext(ctx, "POST", "http://"+addr+"/v1/queries", strings.NewReader(`"x"`))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for _, want := range []string{`{"columns":["n"]}`, `{"row":[1,[1]]}`} {
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("got %q, %v", lines.Text(), lines.Err())
		}
	}
	// The query still runs; a client that leaves ends it (else the server would
	// not stop).
	cancel()
}

func TestQueryTimeout(t *testing.T) {
	db := newBlockingDB()
	addr, _ := start(t, Config{Database: db}, 0)
	status, body := post(t, addr, "/v1/queries?timeout=0.05", `"x"`)
	if status != 200 || !strings.HasSuffix(body, `{"error":"the query's timeout of 50ms passed"}`+"\n") {
		t.Errorf("after rows: %d %s", status, body)
	}
	db.query = func(ctx context.Context, st sqlite.Statement, rows sqlite.RowSink) error {
		<-ctx.Done()
		return &sqlite.Error{Code: sqlite.ErrInterrupt, Message: "interrupted"}
	}
	addr, _ = start(t, Config{Database: db}, 0)
	status, body = post(t, addr, "/v1/queries?timeout=50ms", `"x"`)
	if status != 504 || body != `{"error":"the query's timeout of 50ms passed"}`+"\n" {
		t.Errorf("before rows: %d %s", status, body)
	}
}

func TestClientThatDoesNotReadIsCutOff(t *testing.T) {
	var result error
	ended := make(chan struct{})
	db := fakeDB{query: func(ctx context.Context, st sqlite.Statement, rows sqlite.RowSink) error {
		defer close(ended)
		rows.Columns([]string{"b"})
		row := []sqlite.Value{changeset.TextBytes(bytes.Repeat([]byte("x"), 1<<16))}
		for result == nil {
			result = rows.Row(row)
		}
		return result
	}}
	addr, _ := start(t, Config{Database: db, StallTimeout: 100 * time.Millisecond}, 0)
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "POST /v1/queries HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n\"x\"")
	<-ended
	if !errors.Is(result, context.Canceled) && !strings.Contains(result.Error(), "timeout") {
		t.Errorf("ended with %v", result)
	}
	// What was sent must not look like a whole answer.
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("a clean end after %d bytes", len(b))
	}
}

func TestStreamHoldsLittleMemory(t *testing.T) {
	largest := 0
	db := fakeDB{query: func(ctx context.Context, st sqlite.Statement, rows sqlite.RowSink) error {
		rows.Columns([]string{"n"})
		for i := range int64(200_000) {
			if err := rows.Row([]sqlite.Value{changeset.IntegerValue(i)}); err != nil {
				return err
			}
			largest = max(largest, cap(rows.(*rowWriter).buffer))
		}
		return nil
	}}
	addr, stop := start(t, Config{Database: db}, 0)
	_, body := post(t, addr, "/v1/queries", `"x"`)
	if n := strings.Count(body, "\n"); n != 200_002 {
		t.Errorf("%d lines", n)
	}
	if !strings.Contains(body, "\n"+`{"row":[200000,[199999]]}`+"\n"+`{"eoq"`) {
		t.Errorf("ends with %s", body[len(body)-100:])
	}
	stop()
	if largest > 4*flushBytes {
		t.Errorf("the buffer grew to %d bytes", largest)
	}
}

func TestOverloadIsRefusedPerClass(t *testing.T) {
	db := newBlockingDB()
	addr, _ := start(t, Config{Database: db, MaxInFlight: 1}, 0)
	first := make(chan int, 1)
	go func() {
		res, err := http.Post("http://"+addr+"/v1/transactions", "", strings.NewReader(`["x"]`))
		if err != nil {
			first <- 0
			return
		}
		res.Body.Close()
		first <- res.StatusCode
	}()
	<-db.begun
	res, err := http.Post("http://"+addr+"/v1/transactions", "", strings.NewReader(`["x"]`))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 503 || res.Header.Get("Retry-After") != "1" {
		t.Errorf("second write: %d", res.StatusCode)
	}
	if status, _ := post(t, addr, "/v1/queries?timeout=10ms", `"x"`); status != 200 {
		t.Errorf("a read beside it: %d", status)
	}
	res, err = http.Get("http://" + addr + "/v1/status")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if want := `{"name":"api.writes","depth":1,"capacity":1,"dropped":1}`; !strings.Contains(string(b), want) {
		t.Errorf("status lacks %s: %s", want, b)
	}
	close(db.release)
	if status := <-first; status != 200 {
		t.Errorf("first write: %d", status)
	}
	if status, _ := post(t, addr, "/v1/transactions", `["x"]`); status != 200 {
		t.Errorf("write after it: %d", status)
	}
}

func TestShutdownLetsWritesEndAndCutsQueries(t *testing.T) {
	db := newBlockingDB()
	addr, stop := start(t, Config{Database: db}, 100*time.Millisecond)
	answers := make(chan string, 2)
	for _, path := range []string{"/v1/transactions", "/v1/queries"} {
		go func() {
			body := `["x"]`
			res, err := http.Post("http://"+addr+path, "", strings.NewReader(body))
			if err != nil {
				answers <- err.Error()
				return
			}
			defer res.Body.Close()
			b, err := io.ReadAll(res.Body)
			answers <- fmt.Sprint(path, res.StatusCode, string(b), err)
		}()
		<-db.begun
	}
	ended := make(chan error, 1)
	go func() { ended <- stop() }()
	// The query has no end of its own: its answer shows that the grace is over.
	if got := <-answers; !strings.HasPrefix(got, "/v1/queries200") || !strings.Contains(got, `{"error":"the node is shutting down"}`) {
		t.Errorf("query: %s", got)
	}
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("still takes connections")
	}
	close(db.release)
	if got := <-answers; !strings.HasPrefix(got, `/v1/transactions200{"results":[{"last_insert_id":0,"rows_affected":1}],"version":1,`) {
		t.Errorf("transaction: %s", got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestShutdownTellsWhoWaits(t *testing.T) {
	begun := make(chan struct{})
	db := fakeDB{transact: func(ctx context.Context, _ []sqlite.Statement) ([]sqlite.Result, changeset.ID, error) {
		close(begun)
		<-ctx.Done() // as a write that is still queued
		return nil, changeset.ID{}, ctx.Err()
	}}
	addr, stop := start(t, Config{Database: db}, time.Millisecond)
	answer := make(chan string, 1)
	go func() {
		res, err := http.Post("http://"+addr+"/v1/transactions", "", strings.NewReader(`["x"]`))
		if err != nil {
			answer <- err.Error()
			return
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		answer <- fmt.Sprint(res.StatusCode, res.Header.Get("Retry-After"), string(b))
	}()
	<-begun
	if err := stop(); err != nil {
		t.Error(err)
	}
	if got, want := <-answer, `503`+`1`+`{"error":"the node is shutting down"}`+"\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// deafWriter is a connection that takes nothing.
type deafWriter struct{ header http.Header }

func (d deafWriter) Header() http.Header       { return d.header }
func (d deafWriter) WriteHeader(int)           {}
func (d deafWriter) Write([]byte) (int, error) { return 0, errors.New("gone") }

func TestRowsThatCannotBeSentAbortTheAnswer(t *testing.T) {
	defer func() {
		if got := recover(); got != http.ErrAbortHandler {
			t.Errorf("recovered %v", got)
		}
	}()
	h := newHandler(Config{Database: echoDB})
	h.ServeHTTP(deafWriter{http.Header{}}, httptest.NewRequest("POST", "/v1/queries", strings.NewReader(`["rows", 1]`)))
	t.Error("the handler returned")
}

func TestRequestThatWillNotEndIsReported(t *testing.T) {
	db := newBlockingDB()
	addr, stop := start(t, Config{Database: db}, time.Millisecond)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		res, err := http.Post("http://"+addr+"/v1/transactions", "", strings.NewReader(`["x"]`))
		if err == nil {
			res.Body.Close()
		}
	}()
	<-db.begun
	if err := stop(); err == nil {
		t.Error("no error")
	}
	close(db.release)
	<-sent
}

func TestServesHTTP2WithoutTLS(t *testing.T) {
	addr, _ := start(t, Config{Database: echoDB}, 0)
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: &protocols}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	res, err := client.Post("http://"+addr+"/v1/queries", "", strings.NewReader(`["rows", 2]`))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.ProtoMajor != 2 || strings.Count(string(b), "\n") != 4 {
		t.Errorf("HTTP/%d %s %v", res.ProtoMajor, b, err)
	}
}

func TestRunReportsAListenerThatFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := NewServer(ServerConfig{Handler: newHandler(Config{}), Listener: l}).Run(context.Background()); err == nil {
		t.Error("no error")
	}
}

// TestAbortedStreamEndsAtOnce although its client takes nothing and may take its
// time; one whose client does take the rows gets the reason.
func TestAbortedStreamEndsAtOnce(t *testing.T) {
	errTooOld := errors.New("the read is too old")
	row := []sqlite.Value{changeset.TextBytes(bytes.Repeat([]byte("x"), 1<<16))}
	stuck := make(chan struct{}, 1)
	db := fakeDB{query: func(_ context.Context, st sqlite.Statement, rows sqlite.RowSink) error {
		rows.Columns([]string{"b"})
		if st.SQL == "taken" {
			rows.Row(row)
			rows.(*rowWriter).Abort()
			if err := rows.Row(row); err == nil {
				t.Error("a row after Abort was sent")
			}
			return errTooOld
		}
		timer := time.AfterFunc(200*time.Millisecond, rows.(*rowWriter).Abort)
		defer timer.Stop()
		var err error
		for err == nil {
			err = rows.Row(row)
		}
		stuck <- struct{}{}
		return err
	}}
	addr, _ := start(t, Config{Database: db, StallTimeout: 10 * time.Second}, 0)
	begin := time.Now()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "POST /v1/queries HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n\"x\"")
	<-stuck
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("the stuck one ended after %v", d)
	}
	if _, body := post(t, addr, "/v1/queries", `"taken"`); !strings.HasSuffix(body, "\n"+`{"error":"the read is too old"}`+"\n") {
		t.Errorf("ends with %q", body[max(0, len(body)-100):])
	}
}
