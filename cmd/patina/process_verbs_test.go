package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset/sqlite"
)

// verb runs the program as a user does who set PATINA_API.
func (a *agent) verb(stdin string, args ...string) (out, errs string, status int) {
	a.t.Helper()
	var o, e bytes.Buffer
	c := exec.Command(program(a.t), args...)
	c.Env, c.Stdin, c.Stdout, c.Stderr = append(os.Environ(), "PATINA_API="+a.facts["api"]), strings.NewReader(stdin), &o, &e
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		a.t.Fatal(err)
	}
	return o.String(), e.String(), c.ProcessState.ExitCode()
}

// newestChangeset returns the packed changeset that the log got last.
func (a *agent) newestChangeset() (data []byte) {
	a.t.Helper()
	c, err := sqlite.Open(sqlite.Config{Path: a.file(), ReadOnly: true})
	if err != nil {
		a.t.Fatal(err)
	}
	defer c.Close()
	c.SetMode(sqlite.ModeInternal)
	err = c.Each("SELECT data FROM __patina_log ORDER BY k DESC LIMIT 1", nil, func(s *sqlite.Stmt) error {
		data = bytes.Clone(s.View(0))
		return nil
	})
	if err != nil || data == nil {
		a.t.Fatal("no changeset in the log", err)
	}
	return data
}

// TestVerbsAgainstALiveNode runs every verb that talks to a node, with --json as
// well where it exists.
func TestVerbsAgainstALiveNode(t *testing.T) {
	program(t)
	a := newAgent(t)
	a.write("schema/s.sql", apiSchema)
	a.start()
	actor := a.facts["actor"]
	notes := filepath.Join(a.dir, "notes.sql")
	a.write("notes.sql", "CREATE TABLE notes(id TEXT NOT NULL PRIMARY KEY, text TEXT);\n-- by text\nCREATE INDEX notes_by_text ON notes(text);\n")
	for _, test := range []struct {
		desc, stdin string
		args        []string
		want        string // all of the output; in JSON the exact fields
	}{
		{"exec", "", []string{"exec", "INSERT INTO t VALUES(1, 'it''s; one'); INSERT INTO t VALUES(2, 'two')"},
			"1 row affected, last insert id 1\n1 row affected, last insert id 2\nversion 1 of " + actor + "\n"},
		{"exec with parameters", "", []string{"exec", "-p", "3", "-p", "a,b", "INSERT INTO t VALUES(?, ?) RETURNING id, a"}, "id  a\n3   a,b\nversion 2 of " + actor + "\n"},
		{"exec of nothing new", "UPDATE t SET a = a;", []string{"exec"}, "3 rows affected, last insert id 0\nnothing replicated changed\n"},
		{"exec --json", "", []string{"exec", "--json", "DELETE FROM t WHERE id = 2"}, `"version":3,"actor_id":"` + actor + `"`},
		{"query", "", []string{"query", "SELECT * FROM t ORDER BY id"}, "id  a\n1   it's; one\n3   a,b\n"},
		{"query --json", "", []string{"query", "--json", "SELECT id, a FROM t WHERE id = 3"}, "{\"columns\":[\"id\",\"a\"]}\n{\"row\":[1,[3,\"a,b\"]]}\n{\"eoq\":{\"time\":"},
		{"migrate FILE", "", []string{"migrate", notes}, "statements applied: 2\n"},
		{"migrate --json again", "", []string{"migrate", "--json", notes}, `"version":null,"actor_id":"` + actor + `"`},
		{"exec on it", "", []string{"exec", "INSERT INTO notes VALUES('n', 'x')"}, "1 row affected, last insert id 1\nversion 4 of " + actor + "\n"},
		{"reload", "", []string{"reload"}, "reloaded\n"},
		{"reload --json", "", []string{"reload", "--json"}, `"notes":`},
		{"members", "", []string{"members"}, actor + "  " + a.facts["gossip"] + "  " + a.facts["api"] + "  alive  self  -     -   -\n"},
		{"status", "", []string{"status"}, "actor    " + actor + "\ncluster  default\n"},
		{"version", "", []string{"version"}, "patina "},
	} {
		out, errs, status := a.verb(test.stdin, test.args...)
		if status != 0 || errs != "" || !strings.Contains(out, test.want) {
			t.Errorf("%s: status %d, printed %q and %q, want %q", test.desc, status, out, errs, test.want)
		}
	}
	a.checkJSONVerbs()
	packed := a.newestChangeset()
	for _, input := range []string{string(packed), hex.EncodeToString(packed) + "\n"} {
		out, errs, status := a.verb(input, "inspect", "-")
		if status != 0 || !strings.Contains(out, actor) || !strings.Contains(out, "notes") {
			t.Errorf("inspect: status %d, %s%s", status, out, errs)
		}
	}
	for _, test := range []struct{ args, want string }{
		{"exec|INSERT INTO t VALUES(1, 'x')", "UNIQUE constraint failed: t.id"},
		{"query|DELETE FROM t", ""},
		{"migrate|DROP TABLE t", "DROP"},
		{"migrate|CREATE TABLE u(a TEXT)", "table u"},
		{"inspect|" + a.file(), "not"},
	} {
		out, errs, status := a.verb("", strings.Split(test.args, "|")...)
		if status != 1 || out != "" || strings.Count(errs, "\n") != 1 || !strings.HasPrefix(errs, "patina: ") || !strings.Contains(errs, test.want) {
			t.Errorf("%s: status %d, %q, %q", test.args, status, out, errs)
		}
	}
	a.write("schema/s.sql", apiSchema+"\nCREATE TABLE broken(\n")
	if _, errs, status := a.verb("", "reload"); status != 1 || !strings.Contains(errs, "s.sql:2") {
		t.Errorf("reload of a broken schema: %d %s", status, errs)
	}
	a.waitLog("level=ERROR", "s.sql:2")
	a.exec("INSERT INTO notes VALUES('still', 'here')")
}

// checkJSONVerbs decodes what scripts decode.
func (a *agent) checkJSONVerbs() {
	a.t.Helper()
	var status struct {
		Actor   string            `json:"actor_id"`
		Heads   map[string]uint64 `json:"heads"`
		Digest  string            `json:"vector_digest"`
		Ready   bool              `json:"ready"`
		Members []struct {
			Actor string `json:"actor_id"`
			State string `json:"state"`
		} `json:"members"`
	}
	decode := func(into any, args ...string) {
		out, errs, code := a.verb("", args...)
		if err := json.Unmarshal([]byte(out), into); err != nil || code != 0 {
			a.t.Errorf("%v: %d %v: %s%s", args, code, err, out, errs)
		}
	}
	decode(&status, "status", "--json")
	actor := a.facts["actor"]
	if status.Actor != actor || status.Heads[actor] != 4 || len(status.Digest) != 64 || !status.Ready || len(status.Members) != 1 {
		a.t.Errorf("status: %+v", status)
	}
	status.Members = nil
	decode(&status.Members, "members", "--json")
	if fmt.Sprint(status.Members) != fmt.Sprintf("[{%s alive}]", actor) {
		a.t.Errorf("members: %+v", status.Members)
	}
}
