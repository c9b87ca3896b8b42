package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"iter"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// pkg is one stanza of a package index.
type pkg struct {
	Name, Version, Architecture string // together the key
	Section, Priority           string
	Size                        int64 // bytes of the .deb file; -1 if the stanza has none (installed by hand)
	Homepage, Description       string
	Dependencies                []dependency
}

// dependency is one alternative of one clause of Depends or Pre-Depends:
// "a (>= 1) | b, c" has the clauses 1 (a, b) and 2 (c).
type dependency struct {
	Kind                string // Depends or Pre-Depends
	Clause, Alternative int    // from 1
	Target              string // a package, real or virtual, perhaps with ":any"
	Relation            string // ">= 1", or nothing
}

// maxLine bounds a line of the index. The longest in Debian's has 75 kB.
const maxLine = 4 << 20

// stanza collects the fields of one package while its lines go by.
type stanza struct {
	line   int // of its first field
	fields map[string]string
	last   string // the field that a continuation line belongs to; "" one that we skip
}

// wanted are the fields that the tables hold. Names of fields have no case.
var wanted = map[string]bool{"package": true, "version": true, "architecture": true, "section": true, "priority": true,
	"size": true, "homepage": true, "description": true, "depends": true, "pre-depends": true}

// readIndex reads an index as `apt-cache dumpavail` prints it, or the same
// compressed by gzip, one package at a time. An error ends it and names the line.
func readIndex(r io.Reader) iter.Seq2[pkg, error] {
	return func(yield func(pkg, error) bool) {
		plain, err := decompress(r)
		if err != nil {
			yield(pkg{}, err)
			return
		}
		lines := bufio.NewScanner(plain)
		lines.Buffer(nil, maxLine)
		var s stanza
		number := 0
		for lines.Scan() {
			number++
			if len(bytes.TrimSpace(lines.Bytes())) > 0 {
				if err := s.add(lines.Text(), number); err != nil {
					yield(pkg{}, fmt.Errorf("line %d: %w", number, err))
					return
				}
			} else if !s.finish(yield) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(pkg{}, fmt.Errorf("line %d: %w", number+1, err))
			return
		}
		s.finish(yield)
	}
}

// decompress looks at the first two bytes: gzip has a mark, text has not.
func decompress(r io.Reader) (io.Reader, error) {
	b := bufio.NewReader(r)
	if mark, err := b.Peek(2); err != nil || mark[0] != 0x1f || mark[1] != 0x8b {
		return b, nil // what is wrong with a short file shows when it is read
	}
	return gzip.NewReader(b)
}

// add takes a line that is not blank.
func (s *stanza) add(line string, number int) error {
	if !utf8.ValidString(line) {
		return fmt.Errorf("not UTF-8: %q", line)
	}
	if line[0] == ' ' || line[0] == '\t' {
		if s.fields == nil {
			return fmt.Errorf("continuation of nothing: %q", line)
		}
		if text := strings.TrimRight(line[1:], " \t\r"); s.last != "" && text == "." {
			s.fields[s.last] += "\n" // how an index writes a blank line
		} else if s.last != "" {
			s.fields[s.last] += "\n" + text
		}
		return nil
	}
	name, value, ok := strings.Cut(line, ":")
	if !ok || name == "" || strings.ContainsAny(name, " \t") {
		return fmt.Errorf("want a field such as Package: name, got %q", line)
	}
	if s.fields == nil {
		s.fields, s.line = map[string]string{}, number
	}
	s.last = strings.ToLower(name)
	if !wanted[s.last] {
		s.last = ""
		return nil
	}
	if _, again := s.fields[s.last]; again {
		return fmt.Errorf("field %s for the second time", name)
	}
	s.fields[s.last] = strings.TrimSpace(value)
	return nil
}

// finish yields the package that the lines so far describe, if any, and begins
// the next. It returns whether to go on.
func (s *stanza) finish(yield func(pkg, error) bool) bool {
	if s.fields == nil {
		return true
	}
	p, err := s.pkg()
	if err != nil {
		err = fmt.Errorf("package of line %d: %w", s.line, err)
	}
	*s = stanza{}
	return yield(p, err) && err == nil
}

func (s *stanza) pkg() (pkg, error) {
	f := s.fields
	p := pkg{Name: f["package"], Version: f["version"], Architecture: f["architecture"], Section: f["section"],
		Priority: f["priority"], Homepage: f["homepage"], Description: f["description"], Size: -1}
	if p.Name == "" || p.Version == "" || p.Architecture == "" {
		return p, fmt.Errorf("want Package, Version and Architecture, got %q, %q, %q", p.Name, p.Version, p.Architecture)
	}
	if size, ok := f["size"]; ok {
		n, err := strconv.ParseInt(size, 10, 64)
		if err != nil || n < 0 {
			return p, fmt.Errorf("want bytes in Size, got %q", size)
		}
		p.Size = n
	}
	for _, kind := range []string{"Depends", "Pre-Depends"} {
		list, err := parseDependencies(kind, f[strings.ToLower(kind)])
		if err != nil {
			return p, err
		}
		p.Dependencies = append(p.Dependencies, list...)
	}
	return p, nil
}

// relation matches "libc6:any (>= 2.34)".
var relation = regexp.MustCompile(`^([^\s()|,]+)\s*(?:\(\s*([^()]*[^()\s])\s*\))?$`)

func parseDependencies(kind, text string) ([]dependency, error) {
	var list []dependency
	clause := 0
	for c := range strings.SplitSeq(text, ",") {
		if strings.TrimSpace(c) == "" {
			continue
		}
		clause++
		alternative := 0
		for a := range strings.SplitSeq(c, "|") {
			alternative++
			m := relation.FindStringSubmatch(strings.TrimSpace(a))
			if m == nil {
				return nil, fmt.Errorf("want a package and perhaps a relation in %s, got %q", kind, strings.TrimSpace(a))
			}
			list = append(list, dependency{kind, clause, alternative, m[1], m[2]})
		}
	}
	return list, nil
}
