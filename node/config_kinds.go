package node

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// configKind is what a setting may be. Each method returns the problem as the rest of
// a sentence that begins with the key's path; "" is no problem. A value that
// decode or parse accepted passes check.
type configKind interface {
	decode(n *yaml.Node) (v any, problem string) // from a file
	parse(text string) (v any, problem string)   // from the environment
	check(v any) (problem string)                // from code
}

// YAML's tags of scalars, as yaml.Node.ShortTag returns them.
const (
	tagText   = "!!str"
	tagNumber = "!!int"
	tagBool   = "!!bool"
	tagNull   = "!!null"
)

// describe names what a YAML node holds, shortened, for "want …, got …".
func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a section"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.ShortTag() == tagNull:
		return "nothing"
	case n.ShortTag() == tagText:
		return "the text " + quote(n.Value)
	}
	return plain(n.Value)
}

// shownLength bounds what an error repeats of a value.
const shownLength = 80

func shorten(s string) string {
	if len(s) <= shownLength {
		return s
	}
	return strings.ToValidUTF8(s[:shownLength], "") + "…"
}

func quote(s string) string { return strconv.Quote(shorten(s)) }

// plain is s, quoted only if it would not print as it is: a problem is one line.
func plain(s string) string {
	if q := quote(s); q != `"`+s+`"` {
		return q
	}
	return s
}

// isText reports whether n is text; numbers and booleans are not.
func isText(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == tagText }

// wantText is the problem of a node that should be text.
func wantText(what string, n *yaml.Node) string {
	hint := ""
	if n.Kind == yaml.ScalarNode && n.ShortTag() != tagNull {
		hint = "; put it in quotes"
	}
	return fmt.Sprintf("want %s, got %s%s", what, describe(n), hint)
}

// textKind is text that a function checks.
type textKind struct {
	what  string
	valid func(string) string
}

func (k textKind) decode(n *yaml.Node) (any, string) {
	if !isText(n) {
		return nil, wantText(k.what, n)
	}
	return k.parse(n.Value)
}

func (k textKind) parse(s string) (any, string) { return s, k.valid(s) }

func (k textKind) check(v any) string { return k.valid(v.(string)) }

// secretKind is text whose problems never repeat it.
type secretKind struct{}

// Limits of gossip.secret, in characters.
const (
	minSecret = 16
	maxSecret = 256
)

func (secretKind) decode(n *yaml.Node) (any, string) {
	if !isText(n) {
		return nil, fmt.Sprintf("want text of %d to %d characters, or nothing in quotes; put it in quotes", minSecret, maxSecret)
	}
	return secretKind{}.parse(n.Value)
}

func (secretKind) parse(s string) (any, string) { return s, secretKind{}.check(s) }

func (secretKind) check(v any) string {
	n := utf8.RuneCountInString(v.(string))
	if n == 0 || minSecret <= n && n <= maxSecret {
		return ""
	}
	return fmt.Sprintf("%d characters are out of range: allowed are %d to %d, or none", n, minSecret, maxSecret)
}

// choiceKind is one word of a few.
type choiceKind []string

func (k choiceKind) decode(n *yaml.Node) (any, string) {
	if !isText(n) {
		return nil, fmt.Sprintf("want one of %s, got %s", strings.Join(k, ", "), describe(n))
	}
	return k.parse(n.Value)
}

func (k choiceKind) parse(s string) (any, string) { return s, k.check(s) }

func (k choiceKind) check(v any) string {
	s := v.(string)
	if slices.Contains(k, s) {
		return ""
	}
	return fmt.Sprintf("%s is not one of %s%s", quote(s), strings.Join(k, ", "), didYouMean(nearest(s, k)))
}

// boolKind is true or false, in these spellings only.
type boolKind struct{}

func (boolKind) decode(n *yaml.Node) (any, string) {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != tagBool {
		return nil, "want true or false, got " + describe(n)
	}
	return boolKind{}.parse(n.Value)
}

func (boolKind) parse(s string) (any, string) {
	switch s {
	case "true":
		return true, ""
	case "false":
		return false, ""
	}
	return nil, "want true or false, got " + quote(s)
}

func (boolKind) check(any) string { return "" }

// numberKind is a whole number in a closed range.
type numberKind struct{ low, high int64 }

func (k numberKind) want() string {
	return fmt.Sprintf("want a whole number from %d to %d", k.low, k.high)
}

func (k numberKind) decode(n *yaml.Node) (any, string) {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != tagNumber {
		return nil, k.want() + ", got " + describe(n)
	}
	var v int64
	if n.Decode(&v) != nil { // beyond 64 bits: out of any range
		return nil, k.outOfRange(plain(n.Value))
	}
	return v, k.check(v)
}

func (k numberKind) parse(s string) (any, string) {
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil && v != math.MaxInt64 && v != math.MinInt64 { // those two: a number, out of range
		return nil, k.want() + ", got " + quote(s)
	}
	return v, k.check(v)
}

func (k numberKind) check(v any) string {
	if n := v.(int64); n < k.low || n > k.high {
		return k.outOfRange(strconv.FormatInt(n, 10))
	}
	return ""
}

func (k numberKind) outOfRange(shown string) string {
	return fmt.Sprintf("%s is out of range: allowed are %d to %d", shown, k.low, k.high)
}

// zeroOrKind is a number in a range, or 0.
type zeroOrKind struct{ numberKind }

func (k zeroOrKind) decode(n *yaml.Node) (any, string) {
	v, problem := k.numberKind.decode(n)
	return k.allow(v, problem)
}

func (k zeroOrKind) parse(s string) (any, string) {
	v, problem := k.numberKind.parse(s)
	return k.allow(v, problem)
}

func (k zeroOrKind) check(v any) string {
	_, problem := k.allow(v, k.numberKind.check(v))
	return problem
}

func (k zeroOrKind) allow(v any, problem string) (any, string) {
	switch {
	case v == any(int64(0)):
		return v, ""
	case problem != "":
		return v, problem + ", or 0"
	}
	return v, ""
}

// durationKind is a length of time with its unit, in a closed range.
type durationKind struct{ low, high time.Duration }

func (k durationKind) decode(n *yaml.Node) (any, string) {
	if !isText(n) {
		return nil, k.want(describe(n))
	}
	return k.parse(n.Value)
}

func (k durationKind) want(got string) string {
	return fmt.Sprintf("want a duration from %s to %s with its unit, such as 500ms or 72h, got %s",
		brief(k.low), brief(k.high), got)
}

func (k durationKind) parse(s string) (any, string) {
	d, err := time.ParseDuration(s)
	if err != nil {
		return nil, k.want(quote(s))
	}
	return d, k.check(d)
}

func (k durationKind) check(v any) string {
	if d := v.(time.Duration); d < k.low || d > k.high {
		return fmt.Sprintf("%s is out of range: allowed are %s to %s", brief(d), brief(k.low), brief(k.high))
	}
	return ""
}

// brief prints a duration without zero minutes and seconds: 72h, not 72h0m0s.
func brief(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// listKind is a list of texts that a function checks, at most maxList.
type listKind struct {
	what  string
	valid func(string) string
}

// maxList bounds the elements of a list.
const maxList = 256

func (k listKind) decode(n *yaml.Node) (any, string) {
	if n.Kind != yaml.SequenceNode {
		return nil, fmt.Sprintf("want a list of %s, such as [a, b] or [], got %s", k.what, describe(n))
	}
	list := []string{}
	for i, e := range n.Content {
		e = followAlias(e)
		if !isText(e) {
			return nil, fmt.Sprintf("element %d on line %d: %s", i+1, e.Line, wantText("text", e))
		}
		list = append(list, e.Value)
	}
	return list, k.check(list)
}

// parse splits at commas; blanks around them do not count, and blank text is
// the empty list.
func (k listKind) parse(s string) (any, string) {
	list := []string{}
	if strings.TrimSpace(s) != "" {
		for e := range strings.SplitSeq(s, ",") {
			list = append(list, strings.TrimSpace(e))
		}
	}
	return list, k.check(list)
}

func (k listKind) check(v any) string {
	list := v.([]string)
	if len(list) > maxList {
		return fmt.Sprintf("%d elements are out of range: allowed are 0 to %d", len(list), maxList)
	}
	for i, e := range list {
		if problem := k.valid(e); problem != "" {
			return fmt.Sprintf("element %d: %s", i+1, problem)
		}
	}
	return ""
}
