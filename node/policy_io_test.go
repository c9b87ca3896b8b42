package node_test

import (
	"go/ast"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// fileOpeners lists the functions of the node's process that open, replace or
// remove files themselves, with what they touch. A plain open and close of the
// database, its -wal or its -shm would drop SQLite's locks, and with them
// acknowledged writes (DESIGN section 3): none of these may be led to one of
// those three.
var fileOpeners = map[string]string{
	"changeset/store.openLock":            "the lock file beside the database",
	"changeset/store.databaseLock.remove": "the lock file beside the database",
	"changeset/store.machineIdentity":     "/etc/machine-id",
	"changeset/store.removeBeside":        "the identity file beside the database",
	"changeset/store.readSidecar":         "the identity file beside the database",
	"changeset/store.writeSidecar":        "the identity file beside the database, replaced by rename",
	"node.readBounded":                    "the configuration and, after readBeside compared inodes, schema files and certificates",
}

// nodePackages are the trees linked into a node.
var nodePackages = []string{"changeset", "node", "transport", "sync", "api"}

// fileCalls are the functions that open, replace or remove files.
var fileCalls = map[string][]string{
	"os": {"Open", "OpenFile", "OpenInRoot", "OpenRoot", "Create", "CreateTemp", "ReadFile", "WriteFile", "NewFile",
		"Rename", "Remove", "RemoveAll", "Truncate", "Link", "Symlink", "DirFS", "CopyFS"},
	"io/ioutil":             {"ReadFile", "WriteFile", "TempFile"},
	"syscall":               {"Open", "Openat", "Creat", "Rename", "Unlink", "Truncate", "Mmap"},
	"golang.org/x/sys/unix": {"Open", "Openat", "Openat2", "Creat", "Rename", "Unlink", "Truncate", "Mmap"},
	"net/http":              {"Dir", "ServeFile", "FileServer"},
	"crypto/tls":            {"LoadX509KeyPair"},
	"os/exec":               {"Command", "CommandContext"},
}

func checkFileOpeners(t *policyTree) (found []policyFinding) {
	used := map[string]bool{}
	for _, f := range t.code() {
		if !slices.ContainsFunc(nodePackages, func(tree string) bool { return inTree(f.dir, tree) }) {
			continue
		}
		eachUse(f, func(d ast.Decl, n ast.Node, pkg, name string) {
			if !slices.Contains(fileCalls[pkg], name) {
				return
			}
			if where := declName(f, d); fileOpeners[where] != "" {
				used[where] = true
			} else {
				found = append(found, t.find(n, "%s uses %s.%s: only SQLite opens the database; other files are opened in functions that fileOpeners lists",
					where, pkg[strings.LastIndexByte(pkg, '/')+1:], name))
			}
		})
	}
	return append(found, t.stale("fileOpeners", fileOpeners, used)...)
}

// goroutineOwners lists the functions that start goroutines, with who waits for
// them to end.
var goroutineOwners = map[string]string{
	"api.Server.Run":                     "Run waits for Serve to return",
	"changeset/sqlite.Conn.InterruptOn":  "stop waits for the interrupt that began",
	"changeset/store.Store.Query":        "Query itself, before it returns: it ends its sink's waits",
	"changeset/store.Store.Run":          "Run waits for the WAL's keeper",
	"cmd/patina.devnode.start":           "runDevcluster waits for the process to end",
	"cmd/patina.runAgent":                "runAgent waits for the node; the reader of standard input ends with the process",
	"cmd/patina.serve":                   "serve waits for the reloads",
	"cmd/patina.watch":                   "each ends with its process, which runDevcluster waits for",
	"examples/packages.load":             "load waits for its writers",
	"node.Node.Run":                      "Run waits for store, mesh and API, in the order of the stop",
	"node.mesh.SendBatch":                "SendBatch waits for the cancel that began",
	"node.mesh.keepLinks":                "keepLinks waits for its dials; at most dialsAtOnce",
	"node.mesh.run":                      "run waits for the protocols, then for the links",
	"sync/antientropy.Loop.do":           "stop waits for them, at the end of Run",
	"sync/antientropy.Loop.Run":          "stop waits for it, at the end of Run",
	"sync/antientropy.link.run":          "run waits for its two",
	"sync/broadcast.Loop.Run":            "Run waits for the senders, MaxFlights per peer",
	"sync/members.Members.Run":           "Run waits for the pump and the seeker",
	"sync/members.dialer.call":           "at most dialGoroutines; close waits for them",
	"sync/transfer.guard":                "guarded.end waits for it",
	"sync/verify.watch":                  "the function that it returns waits for it",
	"transport.Transport.Run":            "Run waits for the notifier",
	"transport.Transport.attach":         "attach waits for the link's two",
	"transport.Transport.shareDial":      "Run waits, in shut; at most maxDials",
	"transport.Transport.spawn":          "Run waits, in shut",
	"transport.Transport.watchHandshake": "ends at once; does nothing after Run's ctx",
	"transport.prod":                     "the returned stop waits; 30 probes at most",
	"transport.link.accept":              "accept waits for its handlers; at most workers",
	"transport.link.serve":               "serve waits for the three classes",
}

// checkGoroutines finds go statements, the Go method of groups, and timers that
// run a function on a goroutine of their own.
func checkGoroutines(t *policyTree) (found []policyFinding) {
	used := map[string]bool{}
	for _, f := range t.code() {
		imports := importNames(f)
		for _, d := range f.ast.Decls {
			ast.Inspect(d, func(n ast.Node) bool {
				what := startsGoroutine(n, imports)
				if what == "" {
					return true
				}
				if where := declName(f, d); goroutineOwners[where] != "" {
					used[where] = true
				} else {
					found = append(found, t.find(n, "%s starts a goroutine (%s): name who joins it in goroutineOwners", where, what))
				}
				return true
			})
		}
	}
	return append(found, t.stale("goroutineOwners", goroutineOwners, used)...)
}

// startsGoroutine names how n starts a goroutine, if it does.
func startsGoroutine(n ast.Node, imports map[string]string) string {
	if _, ok := n.(*ast.GoStmt); ok {
		return "go"
	}
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return ""
	}
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	if sel.Sel.Name == "Go" && len(call.Args) == 1 {
		return "Go method"
	}
	x, ok := sel.X.(*ast.Ident)
	if ok && sel.Sel.Name == "AfterFunc" && (imports[x.Name] == "time" || imports[x.Name] == "context") {
		return x.Name + ".AfterFunc"
	}
	return ""
}

// checkSkips finds skips without a reason.
func checkSkips(t *policyTree) (found []policyFinding) {
	for _, f := range t.files {
		if !f.test {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			switch sel.Sel.Name {
			case "SkipNow":
				found = append(found, t.find(n, "SkipNow gives no reason"))
			case "Skip", "Skipf":
				if len(call.Args) == 0 || isBlankText(call.Args[0]) {
					found = append(found, t.find(n, "%s gives no reason", sel.Sel.Name))
				}
			}
			return true
		})
	}
	return found
}

func isBlankText(e ast.Expr) bool {
	lit, ok := e.(*ast.BasicLit)
	return ok && strings.Trim(lit.Value, "\"` ") == ""
}

// checkSleeps finds tests that sleep outside virtual time: in functions that
// neither enter a testing/synctest bubble nor are called from tests of a package
// that does.
func checkSleeps(t *policyTree) (found []policyFinding) {
	bubbles := map[string]map[string]bool{} // by folder: the functions that enter one
	for _, f := range t.files {
		if !f.test {
			continue
		}
		if bubbles[f.dir] == nil {
			bubbles[f.dir] = entersBubble(t, f.dir)
		}
		eachUse(f, func(d ast.Decl, n ast.Node, pkg, name string) {
			where := declName(f, d)
			if pkg == "time" && name == "Sleep" && !bubbles[f.dir][where] && (isTest(d) || len(bubbles[f.dir]) == 0) {
				found = append(found, t.find(n, "%s sleeps: wait for the condition", where))
			}
		})
	}
	return found
}

func isTest(d ast.Decl) bool {
	fn, ok := d.(*ast.FuncDecl)
	return ok && fn.Recv == nil && testName.MatchString(fn.Name.Name)
}

var testName = regexp.MustCompile(`^(Test|Benchmark|Fuzz|Example)`)

// entersBubble returns the functions of dir that use testing/synctest, or that
// mention one which does.
func entersBubble(t *policyTree, dir string) map[string]bool {
	enters, mentioned := map[string]bool{}, map[string]bool{}
	for again := true; again; {
		again = false
		for _, f := range t.files {
			if f.dir != dir || !f.test {
				continue
			}
			for _, d := range f.ast.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if ok && !enters[declName(f, d)] && mentionsBubble(f, fn, mentioned) {
					enters[declName(f, d)], mentioned[fn.Name.Name], again = true, true, true
				}
			}
		}
	}
	return enters
}

// mentionsBubble reports whether fn uses testing/synctest or a function of names.
func mentionsBubble(f *policyFile, fn *ast.FuncDecl, names map[string]bool) (yes bool) {
	imports := importNames(f)
	ast.Inspect(fn, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && (names[id.Name] || imports[id.Name] == "testing/synctest") {
			yes = true
		}
		return !yes
	})
	return yes
}

// openMarks are words that authors leave where work is left; split, so that this
// file does not hold them.
var openMarks = []string{"TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"}

func checkMarks(t *policyTree) (found []policyFinding) {
	for name, text := range t.texts {
		number := 0
		for line := range strings.Lines(text) {
			number++
			for _, mark := range openMarks {
				if containsWord(line, mark) {
					found = append(found, policyFinding{lineOf(name, number), mark + " is left"})
				}
			}
		}
	}
	return found
}

// containsWord reports whether word stands in line with no letter or digit
// beside it.
func containsWord(line, word string) bool {
	for i := 0; ; {
		j := strings.Index(line[i:], word)
		if j < 0 {
			return false
		}
		start, end := i+j, i+j+len(word)
		if (start == 0 || !isWordByte(line[start-1])) && (end == len(line) || !isWordByte(line[end])) {
			return true
		}
		i = end
	}
}

func isWordByte(b byte) bool {
	return b == '_' || '0' <= b && b <= '9' || 'A' <= b && b <= 'Z' || 'a' <= b && b <= 'z'
}

func lineOf(name string, number int) string { return name + ":" + strconv.Itoa(number) }
