package node_test

import (
	"go/ast"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// emptyNames say nothing about what is in them.
var emptyNames = []string{"util", "utils", "common", "helper", "helpers", "types", "manager", "managers"}

func checkPackageDocs(t *policyTree) (found []policyFinding) {
	documented := map[string]bool{}
	first := map[string]*policyFile{}
	for _, f := range t.files {
		if strings.HasSuffix(f.path, "_test.go") {
			continue
		}
		if first[f.dir] == nil {
			first[f.dir] = f
		}
		documented[f.dir] = documented[f.dir] || f.ast.Doc.Text() != ""
	}
	for dir, f := range first {
		if !documented[dir] {
			found = append(found, t.find(f.ast, "package %s has no comment", f.ast.Name.Name))
		}
	}
	return found
}

// checkExportedDocs looks at top-level names and at methods. A group of
// constants or variables may share one comment.
func checkExportedDocs(t *policyTree) (found []policyFinding) {
	for _, f := range t.files {
		if strings.HasSuffix(f.path, "_test.go") {
			continue
		}
		for _, d := range f.ast.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				exported := d.Name.IsExported() && (d.Recv == nil || ast.IsExported(typeName(d.Recv.List[0].Type)))
				if exported && d.Doc.Text() == "" {
					found = append(found, t.find(d, "%s has no comment", declName(f, d)))
				}
			case *ast.GenDecl:
				found = append(found, undocumented(t, d)...)
			}
		}
	}
	return found
}

func undocumented(t *policyTree, d *ast.GenDecl) (found []policyFinding) {
	for _, s := range d.Specs {
		switch s := s.(type) {
		case *ast.TypeSpec:
			if s.Name.IsExported() && s.Doc.Text() == "" && (d.Lparen.IsValid() || d.Doc.Text() == "") {
				found = append(found, t.find(s, "type %s has no comment", s.Name.Name))
			}
		case *ast.ValueSpec:
			if d.Doc.Text()+s.Doc.Text()+s.Comment.Text() != "" {
				continue
			}
			if i := slices.IndexFunc(s.Names, (*ast.Ident).IsExported); i >= 0 {
				found = append(found, t.find(s, "%s has no comment", s.Names[i].Name))
			}
		}
	}
	return found
}

func checkReceivers(t *policyTree) (found []policyFinding) {
	for _, f := range t.files {
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Recv == nil {
				continue
			}
			for _, name := range fn.Recv.List[0].Names {
				if utf8.RuneCountInString(name.Name) != 1 {
					found = append(found, t.find(name, "receiver %s of %s has more than one letter", name.Name, declName(f, d)))
				}
			}
		}
	}
	return found
}

var getter = regexp.MustCompile(`^[Gg]et[A-Z]`)

// imposedNames are methods whose names a library's interface decides.
var imposedNames = map[string]string{"GetBroadcasts": "memberlist.Delegate"}

// checkNames looks at packages, files, types and functions.
func checkNames(t *policyTree) (found []policyFinding) {
	for _, f := range t.files {
		if slices.Contains(emptyNames, strings.TrimSuffix(f.ast.Name.Name, "_test")) {
			found = append(found, t.find(f.ast, "package %s says nothing about what is in it", f.ast.Name.Name))
		}
		for part := range strings.SplitSeq(strings.TrimSuffix(path.Base(f.path), ".go"), "_") {
			if slices.Contains(emptyNames, part) {
				found = append(found, policyFinding{f.path, "the name says nothing about what is in it: " + part})
			}
		}
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && getter.MatchString(fn.Name.Name) && (fn.Recv == nil || imposedNames[fn.Name.Name] == "") {
				found = append(found, t.find(fn.Name, "%s: no Get in names", fn.Name.Name))
			}
			if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.TYPE {
				found = append(found, emptyTypeNames(t, g)...)
			}
		}
	}
	return found
}

func emptyTypeNames(t *policyTree, d *ast.GenDecl) (found []policyFinding) {
	for _, s := range d.Specs {
		name := s.(*ast.TypeSpec).Name
		for _, empty := range emptyNames {
			if strings.HasSuffix(strings.ToLower(name.Name), empty) && empty != "types" {
				found = append(found, t.find(name, "type %s says nothing about what it is", name.Name))
			}
		}
	}
	return found
}
