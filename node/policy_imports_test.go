package node_test

import (
	"fmt"
	"go/ast"
	"path"
	"slices"
	"strings"
)

// testOnlyPackages are linked into tests alone. They may import their column,
// and tests above them may import them.
var testOnlyPackages = []string{"node/nodetest", "sync/simtest", "changeset/sqlite/faultdisk"}

// libraryOwners names, for each module that is not ours, the trees that may
// import it. A module without an entry is not used.
var libraryOwners = map[string][]string{
	"github.com/gorilla":            {"api"},
	"github.com/quic-go/quic-go":    {"transport", "node/nodetest"},
	"github.com/hashicorp":          {"sync/members"},
	"modernc.org":                   {"changeset/sqlite"},
	"github.com/zeebo/blake3":       {"changeset", "sync/versions"},
	"github.com/zeebo/xxh3":         {"changeset"},
	"github.com/klauspost/compress": {"changeset"},
	"gopkg.in/yaml.v3":              {"node"},
	"github.com/prometheus":         {"node"},
	"github.com/urfave/cli/v2":      {"cmd"},
	"github.com/sqlc-dev/meyer":     {"api/live"},
	"go.uber.org/goleak":            testsOnly,
}

// testsOnly stands for every tree, in tests.
var testsOnly = []string{"*"}

// wrappedOnce lists the trees in which one file alone may import a library.
var wrappedOnce = map[string]string{"node/nodetest": "github.com/quic-go/quic-go"}

// place is where a package stands in STYLE's picture of layers.
type place struct {
	layer  int
	column string
}

// layers lists every package; an internal package stands where its parent does.
var layers = map[string]place{
	"changeset/hlc":              {0, "changeset"},
	"changeset":                  {0, "changeset"},
	"changeset/sqlite":           {1, "sqlite"},
	"changeset/sqlite/faultdisk": {1, "sqlite"},
	"sync/versions":              {1, "versions"},
	"changeset/store":            {2, "store"},
	"transport":                  {2, "transport"},
	"sync/members":               {2, "sync"},
	"sync/broadcast":             {2, "sync"},
	"sync/antientropy":           {2, "sync"},
	"sync/transfer":              {2, "sync"},
	"sync/verify":                {2, "sync"},
	"sync/simtest":               {2, "sync"},
	"api":                        {2, "api"},
	"api/live":                   {2, "api"},
	"api/client":                 {2, "api"},
	"node":                       {3, "node"},
	"node/nodetest":              {3, "node"},
	"cmd/patina":                 {4, "cmd"},
}

// forbiddenImports are pairs that the layers would allow.
var forbiddenImports = []struct{ from, to, reason string }{
	{"transport", "sync", "transport knows nothing of sync"},
	{"transport", "changeset/sqlite", "transport carries bytes"},
	{"sync", "changeset/sqlite", "replication reaches the database through the store's column"},
}

// placeOf returns where dir stands; examples stand above everything.
func placeOf(dir string) (place, bool) {
	if inTree(dir, "examples") {
		return place{4, dir}, true
	}
	if i := strings.Index(dir, "/internal"); i >= 0 {
		dir = dir[:i]
	}
	p, ok := layers[dir]
	return p, ok
}

// eachImport calls fn for every import of every file.
func eachImport(t *policyTree, fn func(f *policyFile, spec *ast.ImportSpec, p string)) {
	for _, f := range t.files {
		for _, spec := range f.ast.Imports {
			fn(f, spec, importPath(spec))
		}
	}
}

// isStandard reports whether p is a package of Go's own library.
func isStandard(p string) bool {
	first, _, _ := strings.Cut(p, "/")
	return !strings.Contains(first, ".")
}

func checkLibraryOwners(t *policyTree) (found []policyFinding) {
	wrappers := map[string]string{}
	eachImport(t, func(f *policyFile, spec *ast.ImportSpec, p string) {
		if isStandard(p) || inTree(p, t.module) {
			return
		}
		library, owners := libraryOf(p)
		if owners == nil {
			found = append(found, t.find(spec, "%s has no owner: name one tree in libraryOwners", p))
			return
		}
		if slices.Equal(owners, testsOnly) {
			if !f.test {
				found = append(found, t.find(spec, "%s is for tests", p))
			}
			return
		}
		owner := slices.IndexFunc(owners, func(tree string) bool { return inTree(f.dir, tree) })
		if owner < 0 {
			found = append(found, t.find(spec, "%s belongs to %s", library, strings.Join(owners, ", ")))
			return
		}
		if tree := owners[owner]; wrappedOnce[tree] == library {
			if other := wrappers[tree]; other != "" && other != f.path {
				found = append(found, t.find(spec, "%s is wrapped once in %s, by %s", library, tree, other))
			}
			wrappers[tree] = f.path
		}
	})
	return found
}

// libraryOf returns the longest entry of libraryOwners that covers p.
func libraryOf(p string) (library string, owners []string) {
	for l, o := range libraryOwners {
		if inTree(p, l) && len(l) > len(library) {
			library, owners = l, o
		}
	}
	return library, owners
}

func checkLayers(t *policyTree) (found []policyFinding) {
	unknown := map[string]bool{}
	eachImport(t, func(f *policyFile, spec *ast.ImportSpec, p string) {
		to, ok := strings.CutPrefix(p, t.module+"/")
		if !ok {
			return
		}
		from, ok := placeOf(f.dir)
		if !ok {
			if !unknown[f.dir] {
				unknown[f.dir] = true
				found = append(found, t.find(f.ast, "package %s has no place in layers", f.dir))
			}
			return
		}
		if problem := judgeImport(f, from, to); problem != "" {
			found = append(found, t.find(spec, "%s imports %s: %s", f.dir, to, problem))
		}
	})
	return found
}

// judgeImport says what is wrong with f's import of our package to, if anything.
func judgeImport(f *policyFile, from place, to string) string {
	target, ok := placeOf(to)
	switch {
	case !ok:
		return "it has no place in layers"
	case inTree(f.dir, "examples") && to != "api/client" && to != "changeset":
		return "examples use the API like everybody else"
	case slices.Contains(testOnlyPackages, to) && !f.test:
		return "it is for tests"
	case target.layer > from.layer:
		return fmt.Sprintf("it lies above, in layer %d of %d", target.layer, from.layer)
	case target.layer == from.layer && target.column != from.column:
		return fmt.Sprintf("it lies beside, in column %s", target.column)
	}
	for _, rule := range forbiddenImports {
		if inTree(f.dir, rule.from) && inTree(to, rule.to) && to != "sync/versions" {
			return rule.reason
		}
	}
	return ""
}

// purePackages are functions of their arguments: no I/O, no clock, no log. The
// machines among them take their chance as an argument too; loop.go beside a
// machine is the one file that does what the machine decides.
var (
	purePackages = []string{"changeset", "changeset/hlc", "sync/versions", "sync/broadcast", "sync/antientropy"}
	machines     = []string{"sync/broadcast", "sync/antientropy"}
)

// impureImports are trees of the standard library that reach outside;
// impureInMachines are those besides that a replay could not repeat.
var (
	impureImports    = []string{"net", "os", "syscall", "database/sql", "log", "io/ioutil", "testing"}
	impureInMachines = []string{"crypto/rand"}
)

// impureTime is what of package time reads or waits for a clock.
var impureTime = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}

// ownRand is what of math/rand does not touch the global source.
var ownRand = []string{"New", "NewSource", "NewPCG", "NewChaCha8", "NewZipf", "Rand", "Source", "Source64", "PCG", "ChaCha8", "Zipf"}

func checkPure(t *policyTree) (found []policyFinding) {
	for _, f := range t.code() {
		machine := slices.Contains(machines, f.dir)
		if !slices.Contains(purePackages, f.dir) || machine && path.Base(f.path) == "loop.go" {
			continue
		}
		forbidden := append([]string{t.module + "/changeset/sqlite", t.module + "/changeset/store"}, impureImports...)
		if machine {
			forbidden = append(forbidden, impureInMachines...)
		}
		for _, spec := range f.ast.Imports {
			p := importPath(spec)
			if p != "net/netip" && slices.ContainsFunc(forbidden, func(tree string) bool { return inTree(p, tree) }) {
				found = append(found, t.find(spec, "%s in pure code", p))
			}
		}
		eachUse(f, func(_ ast.Decl, n ast.Node, pkg, name string) {
			switch {
			case pkg == "time" && slices.Contains(impureTime, name):
				found = append(found, t.find(n, "time.%s in pure code: take now as an argument", name))
			case machine && (pkg == "math/rand" || pkg == "math/rand/v2") && !slices.Contains(ownRand, name):
				found = append(found, t.find(n, "global rand.%s in pure code: take a source as an argument", name))
			}
		})
	}
	return found
}

func checkNamespaces(t *policyTree) (found []policyFinding) {
	for _, f := range t.files {
		if f.dir == "sync" {
			found = append(found, policyFinding{f.path, "sync is a namespace: its leaves carry the meaning"})
		}
	}
	return found
}

// Entries of the root besides dot-files.
var rootEntries = []string{"node", "transport", "changeset", "sync", "api", "cmd", "testdata", "config.yaml",
	"go.mod", "README.md", "go.sum", "LICENSE", "CHANGELOG.md", "examples"}

func checkRoot(t *policyTree) (found []policyFinding) {
	for _, name := range t.root {
		if !strings.HasPrefix(name, ".") && !slices.Contains(rootEntries, name) {
			found = append(found, policyFinding{name, "the root is fixed: nest it below an entry"})
		}
	}
	for _, name := range rootEntries {
		if !t.partial && !slices.Contains(t.root, name) {
			found = append(found, policyFinding{name, "missing from the root"})
		}
	}
	for _, f := range t.files {
		if path.Dir(f.path) == "." {
			found = append(found, policyFinding{f.path, "no Go file in the root"})
		}
	}
	return found
}
