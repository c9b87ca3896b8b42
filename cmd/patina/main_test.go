package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if programDir != "" {
			os.RemoveAll(programDir)
		}
		os.Exit(code)
	}))
}

const testActor = "11223344-5566-4777-8899-aabbccddeeff"

// patina runs a command line and returns what it printed.
func patina(t *testing.T, stdin string, args ...string) (status int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	status = run(t.Context(), append([]string{"patina"}, args...), strings.NewReader(stdin), &o, &e)
	return status, o.String(), e.String()
}

// canned is a node that gives fixed answers and notes the bodies it gets.
type canned struct {
	answers map[string]string // by path; a leading "400 " or the like is the status
	bodies  []string
}

func (n *canned) start(t *testing.T) (addr string) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		n.bodies = append(n.bodies, r.URL.RequestURI()+" "+string(b))
		answer := n.answers[r.URL.Path]
		if strings.HasPrefix(answer, "400 ") {
			w.WriteHeader(400)
			answer = answer[4:]
		}
		io.WriteString(w, answer)
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

const statusText = `{"actor_id":"` + testActor + `","cluster":"default","version":"v1","uptime_s":61.2,"heads":{"` + testActor + `":7},` +
	`"vector_digest":"0000000000000000000000000000000000000000000000000000000000000001","schema_digest":"0000000000000000000000000000000000000000000000000000000000000002",` +
	`"members":[{"actor_id":"` + testActor + `","addr":"127.0.0.1:8787","api_addr":"127.0.0.1:8080","state":"alive","rtt_ms":0},` +
	`{"actor_id":"21223344-5566-4777-8899-aabbccddeeff","addr":"127.0.0.1:8788","api_addr":"127.0.0.1:8081","state":"suspect","rtt_ms":0.4,"link":{"loss":0.0125,"bytes_in":1023,"bytes_out":1572864}}],` +
	`"queues":[{"name":"api.reads","depth":0,"capacity":1024,"dropped":2}],"parked":[],"forked":[{"actor":"` + testActor + `","reason":"version 2 differs"}],"wal":{"bytes":268435456,"outside_read_s":90.4,"writes_refused":"writes are refused for now","failure":"disk I/O error"},"ready":false,"not_ready":"no member met"}`

func TestVerbs(t *testing.T) {
	answers := map[string]string{
		"/v1/transactions": `{"results":[{"last_insert_id":5,"rows_affected":1,"time":0},{"columns":["id","name"],"types":["",""],"values":[[1,"a\nb"],[10,null]],"time":0}],"time":0,"version":7,"actor_id":"` + testActor + `"}` + "\n",
		"/v1/migrations":   `{"results":[{"last_insert_id":0,"rows_affected":0}],"version":null,"actor_id":"` + testActor + `"}` + "\n",
		"/v1/queries":      `{"columns":["id","name"]}` + "\n" + `{"row":[1,[1,"it's"]]}` + "\n" + `{"row":[2,[100,[1,255]]]}` + "\n" + `{"eoq":{"time":8e-8}}` + "\n",
		"/v1/status":       statusText,
		"/v1/reload":       `{"notes":["api.addr needs a restart"]}`,
	}
	for _, tt := range []struct {
		desc, stdin, args string // args are separated by |
		want, sent        string
	}{
		{"exec", "", "exec|INSERT 1; UPDATE 2|DELETE 3",
			"1 row affected, last insert id 5\nid  name\n1   a\\nb\n10  NULL\nversion 7 of " + testActor + "\n",
			`/v1/transactions?timings ["INSERT 1","UPDATE 2","DELETE 3"]`},
		{"exec from stdin", "INSERT ';';\n-- done\n", "exec|--json", answers["/v1/transactions"], `/v1/transactions?timings ["INSERT ';'"]`},
		{"exec with parameters", "", "exec|--json|-p|1|-p|a,b|-p|null|INSERT", answers["/v1/transactions"], `/v1/transactions?timings [["INSERT",[1,"a,b",null]]]`},
		{"exec of a comment", "", "exec|--json|--json is no flag here\nINSERT", "", ""},
		{"query", "", "query|SELECT 1", "id   name\n1    it's\n100  x'01ff'\n", `/v1/queries "SELECT 1"`},
		{"query as JSON with timeout", "", "query|--json|--timeout|5s|SELECT 1", answers["/v1/queries"], `/v1/queries?timeout=5s "SELECT 1"`},
		{"migrate", "CREATE TABLE a(b);", "migrate|-", "statements applied: 1\n", `/v1/migrations?timings ["CREATE TABLE a(b)"]`},
		{"migrate SQL", "", "migrate|CREATE 1; CREATE 2", "statements applied: 1\n", `/v1/migrations?timings ["CREATE 1","CREATE 2"]`},
		{"reload", "", "reload", "api.addr needs a restart\nreloaded\n", "/v1/reload "},
		{"members", "", "members",
			"MEMBER                                ADDR            API             STATE    RTT    LOSS  IN      OUT\n" +
				testActor + "  127.0.0.1:8787  127.0.0.1:8080  alive    self   -     -       -\n" +
				"21223344-5566-4777-8899-aabbccddeeff  127.0.0.1:8788  127.0.0.1:8081  suspect  400µs  1.2%  1023 B  1.5 MiB\n", "/v1/status "},
	} {
		n := canned{answers: answers}
		args := strings.Split(tt.args, "|")
		args = append([]string{args[0], "--api", n.start(t)}, args[1:]...)
		status, out, errs := patina(t, tt.stdin, args...)
		if tt.sent == "" { // refused before it was sent
			if status != 1 || len(n.bodies) != 0 {
				t.Errorf("%s: status %d, sent %q", tt.desc, status, n.bodies)
			}
			continue
		}
		if status != 0 || out != tt.want || errs != "" {
			t.Errorf("%s: status %d, printed\n%swant\n%s%s", tt.desc, status, out, tt.want, errs)
		}
		if len(n.bodies) != 1 || n.bodies[0] != tt.sent {
			t.Errorf("%s: sent %q, want %q", tt.desc, n.bodies, tt.sent)
		}
	}
}

func TestStatus(t *testing.T) {
	n := canned{answers: map[string]string{"/v1/status": statusText}}
	t.Setenv("PATINA_API", n.start(t))
	status, out, errs := patina(t, "", "status")
	if status != 0 || errs != "" {
		t.Fatal(status, errs)
	}
	for _, want := range []string{
		"actor    " + testActor, "uptime   1m1s", "ready    no: no member met", "vector   00000", "suspect",
		"HEADS OF                              VERSION\n" + testActor + "  7\n", "api.reads  0      1024      2\n",
		"FORKED ACTOR                          REASON\n" + testActor + "  version 2 differs\n",
		"\nanother process has been reading for 1m30s or more and keeps the write-ahead log, 268435456 bytes, from being reset\n",
		"\nthe write-ahead log cannot be moved into the database file: disk I/O error\n\nwrites are refused for now\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("lacks %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "PARKED") {
		t.Errorf("an empty table:\n%s", out)
	}
	if _, out, _ = patina(t, "", "status", "--json"); !strings.Contains(out, `"heads": {`) || !strings.Contains(out, `"not_ready": "no member met"`) {
		t.Errorf("JSON: %s", out)
	}
}

func TestFailuresAreOneLine(t *testing.T) {
	n := canned{answers: map[string]string{
		"/v1/transactions": `{"results":[{"last_insert_id":5,"rows_affected":1},{"error":"UNIQUE constraint\n failed: t.a"}],"version":null,"actor_id":"` + testActor + `"}`,
		"/v1/migrations":   `400 {"results":[{"error":"table t has no primary key"}]}`,
		"/v1/queries":      `{"columns":["a"]}` + "\n" + `{"row":[1,[7]]}` + "\n" + `{"error":"integer overflow"}` + "\n",
		"/v1/reload":       `400 {"error":"schema/a.sql:3: syntax error"}`,
	}}
	addr := n.start(t)
	gone := httptest.NewServer(nil)
	gone.Close()
	goneAddr := strings.TrimPrefix(gone.URL, "http://")
	for _, tt := range []struct{ desc, args, want string }{
		{"failing statement", "exec|--api|" + addr + "|a;b;c", "patina: statement 2: UNIQUE constraint failed: t.a\n"},
		{"refused migration", "migrate|--api|" + addr + "|a", "patina: table t has no primary key\n"},
		{"error in the middle", "query|--api|" + addr + "|a", "patina: integer overflow\n"},
		{"broken schema", "reload|--api|" + addr, "patina: schema/a.sql:3: syntax error\n"},
		{"no node", "exec|--api|" + goneAddr + "|a", "patina: no node answers at " + goneAddr + ` (connection refused); start one with "patina agent" or name another with --api` + "\n"},
		{"bad address", "status|--api|https://x", "patina: API address \"https://x\" is neither host:port nor http://host:port\n"},
		{"no SQL", "exec|--api|" + addr, "patina: no SQL given: patina exec 'SQL', or SQL on standard input\n"},
		{"two queries", "query|--api|" + addr + "|a;b", "patina: query takes one statement, there are 2\n"},
		{"parameters for two", "exec|--api|" + addr + "|-p|1|a;b", "patina: --param needs exactly one statement, there are 2\n"},
		{"flag behind", "exec|a|--api|" + addr, "patina: --api comes after an argument; flags come first: patina exec --api …\n"},
		{"unknown flag", "exec|--ape|x", "patina: flag provided but not defined: -ape\n"},
		{"unknown verb", "exce", "patina: unknown verb \"exce\"; did you mean \"exec\"?\n"},
		{"missing file", "migrate|--api|" + addr + "|no/such.sql", "patina: read migration: open no/such.sql: no such file or directory\n"},
		{"argument too many", "members|--api|" + addr + "|x", "patina: members takes no arguments\n"},
	} {
		status, _, errs := patina(t, "", strings.Split(tt.args, "|")...)
		if status != 1 || errs != tt.want {
			t.Errorf("%s: status %d, %q, want %q", tt.desc, status, errs, tt.want)
		}
	}
}

func TestAnUnansweredWriteIsCalledUncertain(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer s.Close()
	status, _, errs := patina(t, "", "exec", "--api", s.URL, "a")
	if status != 1 || !strings.Contains(errs, "may have been done") {
		t.Errorf("%d %s", status, errs)
	}
}

func TestVersionAndHelp(t *testing.T) {
	if status, out, _ := patina(t, "", "version"); status != 0 || !strings.HasPrefix(out, "patina ") || strings.Count(out, "\n") != 1 {
		t.Errorf("%d %q", status, out)
	}
	if status, out, _ := patina(t, ""); status != 0 || !strings.Contains(out, "inspect") {
		t.Errorf("%d %q", status, out)
	}
}

func TestLongResultsAreNotGathered(t *testing.T) {
	var out bytes.Buffer
	g := newGrid(&out, "n", "x")
	for range gridRows {
		if err := g.add("1", "2"); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Count(out.String(), "\n"); got != gridRows+1 || g.rows != nil {
		t.Errorf("%d lines printed after %d rows", got, gridRows)
	}
	g.add("longer than before", "2")
	if !strings.HasSuffix(out.String(), "longer than before  2\n") {
		t.Error("a later row is not printed as it comes")
	}
}

func TestTerminalIsNotCommanded(t *testing.T) {
	for in, want := range map[string]string{"a\x1b[31m": `a\x1b[31m`, "é😀 x": "é😀 x", "a\tb\\": `a\tb\`, "\xff": `\xff`, `"q"`: `"q"`} {
		if got := printable(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
