package client

import "strings"

// SplitStatements cuts a script at the semicolons that end statements. It knows
// quotes, comments and the bodies of triggers, as sqlite3_complete does, and no
// other grammar; a piece without SQL is left out. The last semicolon may be
// missing.
func SplitStatements(script string) []string {
	var list []string
	var s splitter
	start := 0
	for i := 0; i < len(script); {
		n := tokenLength(script[i:])
		if s.ends(script[i : i+n]) {
			list = append(list, strings.TrimSpace(script[start:i]))
			start = i + n
		}
		i += n
	}
	if s.words > 0 {
		list = append(list, strings.TrimSpace(script[start:]))
	}
	return list
}

// splitter follows one statement. A CREATE [TEMP] TRIGGER ends at a semicolon
// after the word END that itself follows a semicolon.
type splitter struct {
	words   int // tokens so far that are neither space nor comment
	create  bool
	trigger bool
	semi    bool // in a trigger: the token before was a semicolon
	end     bool // in a trigger: the tokens before were a semicolon and END
}

// ends reports whether token is the semicolon that ends a statement which has
// content.
func (s *splitter) ends(token string) bool {
	if isBlank(token) {
		return false
	}
	if token == ";" && (!s.trigger || s.end) {
		some := s.words > 0
		*s = splitter{}
		return some
	}
	switch word := strings.ToUpper(token); {
	case s.trigger:
		s.end = s.semi && word == "END"
		s.semi = token == ";"
	case s.words == 0:
		s.create = word == "CREATE"
	case s.create && word == "TRIGGER":
		s.trigger = true
	case word != "TEMP" && word != "TEMPORARY":
		s.create = false
	}
	s.words++
	return false
}

func isBlank(token string) bool {
	return strings.HasPrefix(token, "--") || strings.HasPrefix(token, "/*") || strings.TrimSpace(token) == ""
}

// tokenLength returns the length of the token that s, which is not empty, begins
// with: a comment, something in quotes, a word, or one byte.
func tokenLength(s string) int {
	switch c := s[0]; {
	case strings.HasPrefix(s, "--"):
		return until(s, 2, "\n")
	case strings.HasPrefix(s, "/*"):
		return until(s, 2, "*/")
	case c == '\'' || c == '"' || c == '`':
		return until(s, 1, string(c)) // a doubled quote reads as two neighbours
	case c == '[':
		return until(s, 1, "]")
	case isWord(c):
		n := 1
		for n < len(s) && isWord(s[n]) {
			n++
		}
		return n
	}
	return 1
}

func until(s string, from int, end string) int {
	if i := strings.Index(s[from:], end); i >= 0 {
		return from + i + len(end)
	}
	return len(s)
}

func isWord(c byte) bool {
	return c == '_' || c == '$' || c >= 0x80 || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
