package node_test

import (
	"fmt"
	"strings"
	"testing"
)

// numbered returns n lines made by format, for sources that are too long.
func numbered(n int, line string) string { return strings.Repeat(line+"\n", n) }

// sources are files by path; mod begins the imports of ours.
type sources = map[string]string

const mod = "github.com/patinadb/patina/"

// brokenRules holds, for every rule, the smallest source that breaks it and the
// nearest one that does not.
var brokenRules = []struct {
	desc, rule string
	good, bad  sources
	want       string // begins the finding, or is in it
}{
	{"601 lines", "file length",
		sources{"api/a.go": "package api\n" + numbered(599, "//")}, sources{"api/a.go": "package api\n" + numbered(600, "//")},
		"api/a.go: 601 lines, allowed are 600"},
	{"801 lines of test", "file length",
		sources{"api/a_test.go": "package api\n" + numbered(799, "//")}, sources{"api/a_test.go": "package api\n" + numbered(800, "//")},
		"api/a_test.go: 801 lines, allowed are 800"},
	{"81 lines", "function length",
		sources{"api/a.go": "package api\n" + numbered(9, "// long comment") + "func f() {\n" + numbered(78, "_ = 1") + "}"},
		sources{"api/a.go": "package api\nfunc f() {\n" + numbered(79, "_ = 1") + "}"},
		"api/a.go:2: api.f has 81 lines, allowed are 80"},
	{"81 lines in a variable", "function length",
		sources{"api/a.go": "package api\nvar f = func() {\n" + numbered(78, "_ = 1") + "}"},
		sources{"api/a.go": "package api\nvar f = func() {\n" + numbered(79, "_ = 1") + "}"},
		"api/a.go:2: api.f has 81 lines, allowed are 80"},
	{"six parameters", "parameters",
		sources{"api/a.go": "package api\nfunc (s S) f(a, b, c, d, e int) {}\nfunc g(t *libc.TLS, a, b, c, d, e int) {}"},
		sources{"api/a.go": "package api\nfunc f(a, b int, c string, d, e, f bool) {}"},
		"api/a.go:2: 6 parameters, allowed are 5"},
	{"six parameters of a callback", "parameters",
		sources{"api/a.go": "package api\ntype F func(int, int, int, int, int)"},
		sources{"api/a.go": "package api\ntype I interface{ F(int, int, int, int, int, int) }"},
		"api/a.go:2: 6 parameters, allowed are 5"},
	{"five levels", "nesting",
		sources{"api/a.go": "package api\nfunc f() {\nif a {\nfor {\nswitch {\ncase b:\nif c {\n} else if d {\n} else if e {\n} else {\n}\n}\n}\n}\n}"},
		sources{"api/a.go": "package api\nfunc f() {\nif a {\nfor range x {\nselect {\ncase <-b:\ngo func() {\nif c {\n} else if d {\nif e {\n}\n}\n}()\n}\n}\n}\n}"},
		"api/a.go:10: api.f nests deeper than 4"},
	{"package without a comment", "package docs",
		sources{"api/a.go": "// Package api serves.\npackage api", "api/b.go": "package api", "api/b_test.go": "package api"},
		sources{"api/a.go": "package api", "api/b.go": "package api"},
		"api/a.go:1: package api has no comment"},
	{"function without a comment", "docs on exported names",
		sources{"api/a.go": "package api\n// F fs.\nfunc F() {}\nfunc (s *hidden) G() {}\nfunc g() {}"},
		sources{"api/a.go": "package api\nfunc (s *S[T]) F() {}"},
		"api/a.go:2: api.S.F has no comment"},
	{"type without a comment", "docs on exported names",
		sources{"api/a.go": "package api\n// T ts.\ntype T int\ntype (\n// U us.\nU int\n)"},
		sources{"api/a.go": "package api\n// These.\ntype (\nT int\n)"},
		"api/a.go:4: type T has no comment"},
	{"constant without a comment", "docs on exported names",
		sources{"api/a.go": "package api\n// All.\nconst (\nA = 1\nB = 2\n)\nconst c = 3\nvar D = 1 // d"},
		sources{"api/a.go": "package api\nconst (\na = 1\nB = 2\n)"},
		"api/a.go:4: B has no comment"},
	{"long receiver", "receivers",
		sources{"api/a.go": "package api\nfunc (s S) f() {}\nfunc (S) g() {}"}, sources{"api/a.go": "package api\nfunc (this *S) f() {}"},
		"api/a.go:2: receiver this of api.S.f has more than one letter"},
	{"package of nothing", "names",
		sources{"api/a.go": "package api"}, sources{"api/util/a.go": "package util"},
		"api/util/a.go:1: package util says nothing"},
	{"file of nothing", "names",
		sources{"api/typeset.go": "package api"}, sources{"api/test_helpers_test.go": "package api"},
		"api/test_helpers_test.go: the name says nothing about what is in it: helpers"},
	{"type of nothing", "names",
		sources{"api/a.go": "package api\ntype subtypes int"}, sources{"api/a.go": "package api\ntype ConnManager struct{}"},
		"api/a.go:2: type ConnManager says nothing"},
	{"getter", "names",
		sources{"api/a.go": "package api\nfunc getaway() {}"}, sources{"api/a.go": "package api\nfunc (a A) GetName() {}"},
		"api/a.go:2: GetName: no Get in names"},
	{"library in another's tree", "libraries have one importer",
		sources{"api/a.go": `package api; import "github.com/gorilla/websocket"`, "api/a_test.go": `package api; import "go.uber.org/goleak"`},
		sources{"api/a.go": `package api; import "github.com/quic-go/quic-go/http3"`},
		"api/a.go:1: github.com/quic-go/quic-go belongs to transport, node/nodetest"},
	{"library without an owner", "libraries have one importer",
		sources{"api/a.go": `package api; import "net/http"`}, sources{"api/a.go": `package api; import "github.com/x/y"`},
		"api/a.go:1: github.com/x/y has no owner"},
	{"test library in code", "libraries have one importer",
		sources{"node/nodetest/a.go": `package nodetest; import "go.uber.org/goleak"`}, sources{"api/a.go": `package api; import "go.uber.org/goleak"`},
		"api/a.go:1: go.uber.org/goleak is for tests"},
	{"library wrapped twice", "libraries have one importer",
		sources{"node/nodetest/a.go": `package nodetest; import ("github.com/quic-go/quic-go"; "github.com/quic-go/quic-go/testutils/simnet")`},
		sources{"node/nodetest/a.go": `package nodetest; import "github.com/quic-go/quic-go"`, "node/nodetest/b.go": `package nodetest; import "github.com/quic-go/quic-go"`},
		"node/nodetest/b.go:1: github.com/quic-go/quic-go is wrapped once in node/nodetest, by node/nodetest/a.go"},
	{"upward", "layers",
		sources{"node/a.go": `package node; import "` + mod + `api"`}, sources{"api/a.go": `package api; import "` + mod + `node"`},
		"api/a.go:1: api imports node: it lies above, in layer 3 of 2"},
	{"sideways", "layers",
		sources{"api/internal/x/a.go": `package x; import "` + mod + `api/live"`}, sources{"api/a.go": `package api; import "` + mod + `changeset/store"`},
		"api/a.go:1: api imports changeset/store: it lies beside, in column store"},
	{"tests in code", "layers",
		sources{"node/a_test.go": `package node; import "` + mod + `node/nodetest"`}, sources{"node/a.go": `package node; import "` + mod + `node/nodetest"`},
		"node/a.go:1: node imports node/nodetest: it is for tests"},
	{"example that reaches in", "layers",
		sources{"examples/a/a.go": `package main; import ("` + mod + `api/client"; "` + mod + `changeset")`}, sources{"examples/a/a.go": `package main; import "` + mod + `node"`},
		"examples/a/a.go:1: examples/a imports node: examples use the API"},
	{"transport that knows sync", "layers",
		sources{"transport/a.go": `package transport; import "` + mod + `changeset"`}, sources{"transport/a.go": `package transport; import "` + mod + `changeset/sqlite"`},
		"transport/a.go:1: transport imports changeset/sqlite: transport carries bytes"},
	{"package without a place", "layers",
		sources{"api/live/a.go": `package live; import "` + mod + `changeset"`}, sources{"api/dead/a.go": `package dead; import "` + mod + `changeset"`},
		"api/dead/a.go:1: package api/dead has no place in layers"},
	{"machine with a socket", "pure machines",
		sources{"sync/broadcast/loop.go": `package broadcast; import "net"`, "sync/broadcast/m_test.go": `package broadcast; import "os"`, "sync/broadcast/a.go": `package broadcast; import "net/netip"`},
		sources{"sync/broadcast/machine.go": `package broadcast; import "net/http"`},
		"sync/broadcast/machine.go:1: net/http in pure code"},
	{"machine with a log", "pure machines",
		sources{"sync/members/a.go": `package members; import "log/slog"`}, sources{"sync/antientropy/a.go": `package antientropy; import "log/slog"`},
		"sync/antientropy/a.go:1: log/slog in pure code"},
	{"machine with SQL", "pure machines",
		sources{"sync/broadcast/a.go": `package broadcast; import "` + mod + `changeset"`}, sources{"sync/broadcast/a.go": `package broadcast; import "` + mod + `changeset/store"`},
		"changeset/store in pure code"},
	{"machine with a clock", "pure machines",
		sources{"sync/broadcast/a.go": `package broadcast; import "time"; var d = time.Second`}, sources{"sync/broadcast/a.go": `package broadcast; import clock "time"; var now = clock.Now`},
		"sync/broadcast/a.go:1: time.Now in pure code"},
	{"machine with chance", "pure machines",
		sources{"sync/broadcast/a.go": `package broadcast; import "math/rand/v2"; var r = rand.New(rand.NewPCG(1, 2)).IntN(3)`}, sources{"sync/broadcast/a.go": `package broadcast; import "math/rand/v2"; var r = rand.IntN(3)`},
		"sync/broadcast/a.go:1: global rand.IntN in pure code"},
	{"machine with chance of the system's", "pure machines",
		sources{"changeset/a.go": `package changeset; import "crypto/rand"`}, sources{"sync/broadcast/a.go": `package broadcast; import "crypto/rand"`},
		"sync/broadcast/a.go:1: crypto/rand in pure code"},
	{"vocabulary with files", "pure machines",
		sources{"changeset/sqlite/a.go": `package sqlite; import "os"`}, sources{"changeset/loop.go": `package changeset; import "os"`},
		"changeset/loop.go:1: os in pure code"},
	{"package sync", "no package in sync/",
		sources{"sync/members/a.go": "package members"}, sources{"sync/a.go": "package sync"},
		"sync/a.go: sync is a namespace"},
	{"Go in the root", "the root is fixed",
		sources{"api/a.go": "package api"}, sources{"a.go": "package patina"},
		"a.go: no Go file in the root"},
	{"open", "only SQLite opens the database",
		sources{"cmd/patina/a.go": `package main; import "os"; var f = os.Open`, "api/a_test.go": `package api; import "os"; var f = os.Open`,
			"api/a.go": `package api; import "os"; var f = os.Stat`, "node/c.go": `package node; import "os"; func readBounded() { os.Open("x") }`},
		sources{"api/a.go": `package api; import "os"; func (s *S) f() { os.ReadFile("x") }`},
		"api/a.go:1: api.S.f uses os.ReadFile"},
	{"open by another name", "only SQLite opens the database",
		sources{"api/a.go": `package api; import system "os"; var f = system.Stat`}, sources{"api/a.go": `package api; import system "os"; var open = system.Open`},
		"api/a.go:1: api.open uses os.Open"},
	{"go", "goroutines have an owner",
		sources{"api/a.go": "package api\nfunc f() { defer g() }", "api/a_test.go": "package api\nfunc f() { go g() }"}, sources{"api/a.go": "package api\nfunc f() {\ngo g() }"},
		"api/a.go:3: api.f starts a goroutine (go)"},
	{"wait group", "goroutines have an owner",
		sources{"api/a.go": "package api\nfunc f() { w.Wait() }"}, sources{"api/a.go": "package api\nfunc (s *S) f() { s.group.Go(g) }"},
		"api/a.go:2: api.S.f starts a goroutine (Go method)"},
	{"timer", "goroutines have an owner",
		sources{"api/a.go": `package api; import "time"; var t = time.NewTimer(1)`}, sources{"api/a.go": `package api; import "context"; var stop = context.AfterFunc(c, f)`},
		"api/a.go:1: api.stop starts a goroutine (context.AfterFunc)"},
	{"skip", "skips say why",
		sources{"api/a_test.go": "package api\nfunc f(t *testing.T) { t.Skip(`no root`); t.Skipf(`no %s`, x) }"}, sources{"api/a_test.go": "package api\nfunc f(t *testing.T) { t.Skip() }"},
		"api/a_test.go:2: Skip gives no reason"},
	{"skip with nothing", "skips say why",
		sources{"api/a_test.go": "package api\nfunc f(t *testing.T) { t.Skip(reason) }"}, sources{"api/a_test.go": "package api\nfunc f(t *testing.T) { t.Skip(\" \") }"},
		"api/a_test.go:2: Skip gives no reason"},
	{"skip now", "skips say why",
		sources{"api/a.go": "package api\nfunc f() { t.SkipNow() }"}, sources{"api/a_test.go": "package api\nfunc f() { t.SkipNow() }"},
		"api/a_test.go:2: SkipNow gives no reason"},
	{"sleep", "no sleeping in tests",
		sources{"api/a_test.go": `package api; import ("time"; "testing/synctest"); func f() { synctest.Wait(); time.Sleep(1) }`, "api/a.go": `package api; import "time"; func f() { time.Sleep(1) }`},
		sources{"api/a_test.go": `package api; import "time"; func f() { time.Sleep(1) }`},
		"api/a_test.go:1: api.f sleeps"},
	{"sleep beside bubbles", "no sleeping in tests",
		sources{"api/a_test.go": `package api; import "time"; func TestA() { bubble(func() { time.Sleep(1) }) }; func (f *fake) f() { time.Sleep(1) }`,
			"api/b_test.go": `package api; import "testing/synctest"; func bubble(f func()) { synctest.Test(f) }`},
		sources{"api/a_test.go": `package api; import "time"; func TestA() { time.Sleep(1) }`,
			"api/b_test.go": `package api; import "testing/synctest"; func bubble(f func()) { synctest.Test(f) }`},
		"api/a_test.go:1: api.TestA sleeps"},
	{"sleep in a package for tests", "no sleeping in tests",
		sources{"node/nodetest/a.go": `package nodetest; import "time"; var t = time.Second`}, sources{"node/nodetest/a.go": `package nodetest; import "time"; var s = time.Sleep`},
		"node/nodetest/a.go:1: node/nodetest.s sleeps"},
	{"mark", "nothing is left open",
		sources{"api/a.go": "package api\n// MAS" + openMarks[0] + "NS, " + openMarks[3] + "ATHON", "api/API.md": "fine"}, sources{"api/API.md": "\n\n<!-- " + openMarks[1] + ": more -->"},
		"api/API.md:3: " + openMarks[1] + " is left"},
	{"few tests", "enough tests",
		sources{"api/a.go": "package api\n" + numbered(9, "//"), "api/a_test.go": "package api\n" + numbered(7, "//")},
		sources{"api/a.go": "package api\n" + numbered(9, "//"), "api/a_test.go": "package api\n" + numbered(6, "//")},
		".: 7 lines of test for 10 of code: 0.70, wanted is 0.8 or more"},
}

// A check that cannot fail would pass the tree whatever it holds.
func TestPolicyRulesCanFail(t *testing.T) {
	for _, c := range brokenRules {
		t.Run(strings.ReplaceAll(c.desc, " ", "-"), func(t *testing.T) {
			if got := runRule(t, c.rule, c.good); got != "" {
				t.Errorf("good source: %s", got)
			}
			if got := runRule(t, c.rule, c.bad); !strings.Contains(got, c.want) || strings.Contains(got, "\n") {
				t.Errorf("bad source: got %q, want %q", got, c.want)
			}
		})
	}
}

// runRule applies one rule to a made-up tree and returns its findings, one to a
// line.
func runRule(t *testing.T, name string, sources map[string]string) string {
	t.Helper()
	tree, err := newPolicyTree("github.com/patinadb/patina", sources)
	if err != nil {
		t.Fatal(err)
	}
	tree.partial = true
	var lines []string
	for _, rule := range policyRules {
		if rule.name == name {
			for _, f := range rule.check(tree) {
				lines = append(lines, f.place+": "+f.text)
			}
			return strings.Join(lines, "\n")
		}
	}
	t.Fatalf("no rule %q", name)
	return ""
}

// What a real tree must have, and tables that outlived their reason.
func TestPolicyOfTheWholeTreeCanFail(t *testing.T) {
	tree, err := newPolicyTree("github.com/patinadb/patina", map[string]string{"api/a.go": "package api"})
	if err != nil {
		t.Fatal(err)
	}
	tree.root = []string{".git", "api", "notes"}
	got := fmt.Sprint(checkRoot(tree))
	for _, want := range []string{"{notes the root is fixed", "{README.md missing from the root"} {
		if !strings.Contains(got, want) {
			t.Errorf("root: no %q in %s", want, got)
		}
	}
	if strings.Contains(got, "{.git") || strings.Contains(got, "{api") {
		t.Errorf("root: %s", got)
	}
	if got := fmt.Sprint(checkFileOpeners(tree)); !strings.Contains(got, "fileOpeners lists node.readBounded, which does not need it") {
		t.Errorf("stale entry: %s", got)
	}
	if !ignoredInRoot("# c\n\n/patina\n/*.db\n/schema/\n", "x.db") || ignoredInRoot("# c\n\n/patina\n", "x.db") || !ignoredInRoot("/schema/\n", "schema") {
		t.Error(".gitignore is read wrong")
	}
}

// Every rule appears in the tables above.
func TestPolicyRulesAreAllShownToFail(t *testing.T) {
	tree, err := readPolicyTree("..")
	if err != nil {
		t.Fatal(err)
	}
	broken := tree.texts["node/policy_broken_test.go"]
	for _, rule := range policyRules {
		if !strings.Contains(broken, `"`+rule.name+`"`) {
			t.Errorf("no source breaks the rule %q", rule.name)
		}
	}
}
