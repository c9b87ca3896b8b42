package node_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The house rules as a test: every rule is a function over the parsed tree, so
// that TestPolicyRulesCanFail can show it a tree that breaks it. What a rule
// allows by name stands in the tables beside it, each entry with its reason.

// policyFinding is one place that breaks a rule.
type policyFinding struct {
	place string // file:line, or a path
	text  string
}

// policyRule is one rule of the house.
type policyRule struct {
	name  string
	check func(*policyTree) []policyFinding
}

// policyRules lists them all.
var policyRules = []policyRule{
	{"file length", checkFileLength},
	{"function length", checkFunctionLength},
	{"parameters", checkParameters},
	{"nesting", checkNesting},
	{"package docs", checkPackageDocs},
	{"docs on exported names", checkExportedDocs},
	{"receivers", checkReceivers},
	{"names", checkNames},
	{"libraries have one importer", checkLibraryOwners},
	{"layers", checkLayers},
	{"pure machines", checkPure},
	{"no package in sync/", checkNamespaces},
	{"the root is fixed", checkRoot},
	{"only SQLite opens the database", checkFileOpeners},
	{"goroutines have an owner", checkGoroutines},
	{"skips say why", checkSkips},
	{"no sleeping in tests", checkSleeps},
	{"nothing is left open", checkMarks},
	{"enough tests", checkTestRatio},
}

func TestPolicy(t *testing.T) {
	tree, err := readPolicyTree("..")
	if err != nil {
		t.Fatal(err)
	}
	if len(tree.files) < 10 {
		t.Fatalf("only %d Go files found: the tree was not read", len(tree.files))
	}
	for _, rule := range policyRules {
		t.Run(strings.ReplaceAll(rule.name, " ", "-"), func(t *testing.T) {
			for _, f := range rule.check(tree) {
				t.Errorf("%s: %s: %s", f.place, rule.name, f.text)
			}
		})
	}
	for _, line := range testRatios(tree) {
		t.Log(line)
	}
}

// policyTree is the source of the module, or a made-up one.
type policyTree struct {
	module  string
	fset    *token.FileSet
	files   []*policyFile     // Go, sorted by path
	texts   map[string]string // by path: Go and whatever else people read
	root    []string          // names in the root that .gitignore does not cover
	partial bool              // made up: what is missing from it proves nothing
}

// policyFile is one parsed Go file.
type policyFile struct {
	path string // slash-separated, from the root
	dir  string
	src  string
	ast  *ast.File
	test bool // _test.go, or in a package that only tests use
}

func (t *policyTree) at(n ast.Node) string {
	p := t.fset.Position(n.Pos())
	return p.Filename + ":" + strconv.Itoa(p.Line)
}

func (t *policyTree) find(n ast.Node, format string, args ...any) policyFinding {
	return policyFinding{place: t.at(n), text: fmt.Sprintf(format, args...)}
}

// code returns the files that run outside tests.
func (t *policyTree) code() []*policyFile {
	return slices.DeleteFunc(slices.Clone(t.files), func(f *policyFile) bool { return f.test })
}

// newPolicyTree parses sources, by path.
func newPolicyTree(module string, sources map[string]string) (*policyTree, error) {
	t := &policyTree{module: module, fset: token.NewFileSet(), texts: sources}
	for name, src := range sources {
		if path.Ext(name) != ".go" {
			continue
		}
		f, err := parser.ParseFile(t.fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		dir := path.Dir(name)
		t.files = append(t.files, &policyFile{path: name, dir: dir, src: src, ast: f,
			test: strings.HasSuffix(name, "_test.go") || slices.Contains(testOnlyPackages, dir)})
	}
	slices.SortFunc(t.files, func(a, b *policyFile) int { return strings.Compare(a.path, b.path) })
	return t, nil
}

// readPolicyTree reads the module at root: Go files whatever their build tags,
// and the texts that people read. testdata is input, not source.
func readPolicyTree(root string) (*policyTree, error) {
	sources := map[string]string{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := d.Name()
		if d.IsDir() {
			if name != root && (strings.HasPrefix(base, ".") && base != ".ci" || base == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		switch path.Ext(base) {
		case ".go", ".md", ".yaml", ".sql", ".mod", ".html":
		default:
			if rel != ".ci/run" && rel != ".gitignore" {
				return nil
			}
		}
		text, err := os.ReadFile(name)
		sources[rel] = string(text)
		return err
	})
	if err != nil {
		return nil, err
	}
	module, _, _ := strings.Cut(strings.TrimPrefix(sources["go.mod"], "module "), "\n")
	tree, err := newPolicyTree(module, sources)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !ignoredInRoot(sources[".gitignore"], e.Name()) {
			tree.root = append(tree.root, e.Name())
		}
	}
	return tree, nil
}

// ignoredInRoot reports whether a pattern of .gitignore covers an entry of the
// root. Patterns of more than one part do not matter there.
func ignoredInRoot(gitignore, name string) bool {
	for line := range strings.Lines(gitignore) {
		pattern := strings.Trim(strings.TrimSpace(line), "/")
		if ok, err := path.Match(pattern, name); pattern != "" && err == nil && ok {
			return true
		}
	}
	return false
}

// declName names a declaration as the tables do: "dir.Func", "dir.Type.Method"
// or "dir.variable".
func declName(f *policyFile, d ast.Decl) string {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Recv != nil && len(d.Recv.List) == 1 {
			return f.dir + "." + typeName(d.Recv.List[0].Type) + "." + d.Name.Name
		}
		return f.dir + "." + d.Name.Name
	case *ast.GenDecl:
		for _, s := range d.Specs {
			if v, ok := s.(*ast.ValueSpec); ok {
				return f.dir + "." + v.Names[0].Name
			}
		}
	}
	return f.dir
}

// typeName returns the name of a receiver's type without pointer and type
// parameters.
func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return typeName(e.X)
	case *ast.IndexExpr:
		return typeName(e.X)
	case *ast.IndexListExpr:
		return typeName(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

// importNames maps the local name of each import of f to its path.
func importNames(f *policyFile) map[string]string {
	names := map[string]string{}
	for _, spec := range f.ast.Imports {
		p := importPath(spec)
		name := path.Base(p)
		if strings.HasPrefix(name, "v") && strings.Trim(name[1:], "0123456789") == "" {
			name = path.Base(path.Dir(p))
		}
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = p
	}
	return names
}

func importPath(spec *ast.ImportSpec) string {
	p, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		return ""
	}
	return p
}

// eachUse calls fn for every pkg.Name in a declaration of f, called or not, with
// the import path of pkg.
func eachUse(f *policyFile, fn func(d ast.Decl, n ast.Node, pkg, name string)) {
	imports := importNames(f)
	for _, d := range f.ast.Decls {
		ast.Inspect(d, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := sel.X.(*ast.Ident); ok && imports[x.Name] != "" {
					fn(d, n, imports[x.Name], sel.Sel.Name)
				}
			}
			return true
		})
	}
}
