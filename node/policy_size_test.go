package node_test

import (
	"fmt"
	"go/ast"
	"go/token"
	"strings"
)

// Hard limits of STYLE's budgets.
const (
	maxFileLines      = 600
	maxTestFileLines  = 800
	maxFunctionLines  = 80
	maxTableLines     = 120 // for the functions of dispatchTables
	maxParameters     = 5
	maxNesting        = 4
	minTestRatio      = 0.8 // lines of test per line of code, overall
	minInnerTestRatio = 1.2 // in innerPackages; printed, not enforced
)

// dispatchTables lists the functions that may have maxTableLines, with the
// reason: a codec or a dispatch table that would be harder to read in parts.
var dispatchTables = map[string]string{}

// innerPackages are the trees in which STYLE wants more tests than code.
var innerPackages = []string{"changeset", "sync", "transport"}

func lineCount(src string) int {
	n := strings.Count(src, "\n")
	if src != "" && !strings.HasSuffix(src, "\n") {
		n++
	}
	return n
}

func checkFileLength(t *policyTree) (found []policyFinding) {
	for _, f := range t.files {
		limit := maxFileLines
		if f.test {
			limit = maxTestFileLines
		}
		if n := lineCount(f.src); n > limit {
			found = append(found, policyFinding{f.path, fmt.Sprintf("%d lines, allowed are %d", n, limit)})
		}
	}
	return found
}

func checkFunctionLength(t *policyTree) (found []policyFinding) {
	used := map[string]bool{}
	for _, f := range t.files {
		for _, d := range f.ast.Decls {
			name, limit := declName(f, d), maxFunctionLines
			if dispatchTables[name] != "" {
				used[name], limit = true, maxTableLines
			}
			for _, fn := range outerFunctions(d) {
				first, last := t.fset.Position(fn.Pos()).Line, t.fset.Position(fn.End()).Line
				if n := last - first + 1; n > limit {
					found = append(found, t.find(fn, "%s has %d lines, allowed are %d", name, n, limit))
				}
			}
		}
	}
	return append(found, t.stale("dispatchTables", dispatchTables, used)...)
}

// outerFunctions returns a declared function, or the function literals of a
// variable, without those inside them. A function starts at its keyword, not at
// its comment.
func outerFunctions(d ast.Decl) (fns []ast.Node) {
	if fn, ok := d.(*ast.FuncDecl); ok {
		return []ast.Node{funcNode{fn}}
	}
	ast.Inspect(d, func(n ast.Node) bool {
		lit, ok := n.(*ast.FuncLit)
		if ok {
			fns = append(fns, lit)
		}
		return !ok
	})
	return fns
}

// funcNode is a declared function without its comment.
type funcNode struct{ *ast.FuncDecl }

// Pos returns where the keyword stands.
func (n funcNode) Pos() token.Pos { return n.Type.Func }

// stale reports the entries of a table that name nothing any more, so that the
// tables say no more than is true.
func (t *policyTree) stale(table string, entries map[string]string, used map[string]bool) (found []policyFinding) {
	if t.partial {
		return nil
	}
	for name := range entries {
		if !used[name] {
			found = append(found, policyFinding{"node/policy", fmt.Sprintf("%s lists %s, which does not need it", table, name)})
		}
	}
	return found
}

// checkParameters counts the parameters of every function type, interfaces and
// callbacks included. C decides those of its callbacks, whose first parameter
// is *libc.TLS.
func checkParameters(t *policyTree) (found []policyFinding) {
	for _, f := range t.files {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			fn, ok := n.(*ast.FuncType)
			if !ok || isCallback(fn) {
				return true
			}
			count := 0
			for _, p := range fn.Params.List {
				count += max(1, len(p.Names))
			}
			if count > maxParameters {
				found = append(found, t.find(fn, "%d parameters, allowed are %d", count, maxParameters))
			}
			return true
		})
	}
	return found
}

func isCallback(fn *ast.FuncType) bool {
	if len(fn.Params.List) == 0 {
		return false
	}
	star, ok := fn.Params.List[0].Type.(*ast.StarExpr)
	if !ok {
		return false
	}
	sel, ok := star.X.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := sel.X.(*ast.Ident)
	return ok && x.Name == "libc" && sel.Sel.Name == "TLS"
}

// checkNesting counts if, for, switch and select around a statement. An else-if
// is no deeper than its if; a function literal is as deep as where it stands.
func checkNesting(t *policyTree) (found []policyFinding) {
	for _, f := range t.files {
		for _, d := range f.ast.Decls {
			ast.Walk(&nestingVisitor{tree: t, name: declName(f, d), found: &found}, d)
		}
	}
	return found
}

// nestingVisitor walks one declaration; each level has its own, and all share
// found.
type nestingVisitor struct {
	tree  *policyTree
	name  string
	depth int
	found *[]policyFinding
}

// Visit goes one level deeper into statements that nest.
func (v *nestingVisitor) Visit(n ast.Node) ast.Visitor {
	switch s := n.(type) {
	case *ast.IfStmt:
		inner := v.deeper(n)
		for {
			if s.Init != nil {
				ast.Walk(v, s.Init)
			}
			ast.Walk(v, s.Cond)
			ast.Walk(inner, s.Body)
			next, ok := s.Else.(*ast.IfStmt)
			if !ok {
				break
			}
			s = next
		}
		if s.Else != nil {
			ast.Walk(inner, s.Else)
		}
		return nil
	case *ast.ForStmt, *ast.RangeStmt, *ast.SwitchStmt, *ast.TypeSwitchStmt, *ast.SelectStmt:
		return v.deeper(n)
	}
	return v
}

func (v *nestingVisitor) deeper(n ast.Node) *nestingVisitor {
	inner := *v
	inner.depth++
	if inner.depth == maxNesting+1 {
		*inner.found = append(*inner.found, v.tree.find(n, "%s nests deeper than %d", v.name, maxNesting))
	}
	return &inner
}

// checkTestRatio compares the lines of tests with those of code.
func checkTestRatio(t *policyTree) (found []policyFinding) {
	if code, test := t.lines(""); float64(test) < minTestRatio*float64(code) {
		found = append(found, policyFinding{".", fmt.Sprintf("%d lines of test for %d of code: %.2f, wanted is %.1f or more",
			test, code, float64(test)/float64(code), minTestRatio)})
	}
	return found
}

// testRatios prints the ratio of the whole and of the inner packages.
func testRatios(t *policyTree) (lines []string) {
	for _, dir := range append([]string{""}, innerPackages...) {
		code, test := t.lines(dir)
		if code == 0 {
			continue
		}
		want := minInnerTestRatio
		if dir == "" {
			want = minTestRatio
		}
		lines = append(lines, fmt.Sprintf("test/code lines in %s: %d/%d = %.2f (wanted %.1f)",
			"./"+dir, test, code, float64(test)/float64(code), want))
	}
	return lines
}

// lines counts lines of code and of tests below dir ("" is everything).
func (t *policyTree) lines(dir string) (code, test int) {
	for _, f := range t.files {
		switch {
		case dir != "" && !inTree(f.dir, dir):
		case f.test:
			test += lineCount(f.src)
		default:
			code += lineCount(f.src)
		}
	}
	return code, test
}

// inTree reports whether dir is root or below it.
func inTree(dir, root string) bool { return dir == root || strings.HasPrefix(dir, root+"/") }
