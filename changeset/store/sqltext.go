package store

import (
	"strings"

	"github.com/patinadb/patina/changeset"
)

// The tokens of SQL text, as far as schema statements need them. Introspection
// is the authority on every definition; tokens tell only what it cannot: which
// statement this is, whether a CHECK or ON CONFLICT is there, and which
// functions an expression calls.

type tokenKind uint8

const (
	tokenWord   tokenKind = iota // keyword or unquoted identifier
	tokenQuoted                  // "x", `x`, [x]: identifier
	tokenString                  // 'x'
	tokenBlob                    // x'00'
	tokenNumber
	tokenSymbol // any other single byte
)

// token is one token and where it stands. text is the identifier or string
// without its quotes, else the source.
type token struct {
	kind       tokenKind
	start, end int
	text       string
}

// is reports whether the token is the unquoted word or the symbol w (lower case).
func (t token) is(w string) bool {
	return (t.kind == tokenWord || t.kind == tokenSymbol) && foldName(t.text) == w
}

// isName reports whether the grammar takes the token for a name.
func (t token) isName() bool {
	return t.kind == tokenWord || t.kind == tokenQuoted || t.kind == tokenString
}

// foldName folds ASCII case, as SQLite compares names.
func foldName(s string) string { return changeset.FoldName(s) }

// sameName reports whether SQLite takes a and b for one name.
func sameName(a, b string) bool { return len(a) == len(b) && foldName(a) == foldName(b) }

// quoteIdent quotes a name for use in SQL.
func quoteIdent(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// tokens returns all tokens of sql.
func tokens(sql string) []token {
	var out []token
	for at := 0; ; {
		t, ok := nextToken(sql, at)
		if !ok {
			return out
		}
		out, at = append(out, t), t.end
	}
}

// nextToken returns the first token at or after byte at; comments and blanks
// are passed over.
func nextToken(sql string, at int) (token, bool) {
	at = skipBlanks(sql, at)
	if at >= len(sql) {
		return token{}, false
	}
	t := token{start: at}
	switch c := sql[at]; {
	case c == '\'':
		t.kind, t.text, t.end = scanQuoted(sql, at, '\'', tokenString)
	case c == '"' || c == '`':
		t.kind, t.text, t.end = scanQuoted(sql, at, c, tokenQuoted)
	case c == '[':
		end := strings.IndexByte(sql[at:], ']')
		if end < 0 {
			end = len(sql) - at - 1
		}
		t.kind, t.end = tokenQuoted, at+end+1
		t.text = strings.TrimSuffix(sql[at+1:t.end], "]")
	case (c == 'x' || c == 'X') && strings.HasPrefix(sql[at+1:], "'"):
		_, _, t.end = scanQuoted(sql, at+1, '\'', tokenBlob)
		t.kind, t.text = tokenBlob, sql[at:t.end]
	case isWordByte(c) && !isDigit(c) && c != '$':
		for t.end = at + 1; t.end < len(sql) && isWordByte(sql[t.end]); {
			t.end++
		}
		t.kind, t.text = tokenWord, sql[at:t.end]
	case isDigit(c), c == '.' && at+1 < len(sql) && isDigit(sql[at+1]):
		t.kind, t.end = tokenNumber, scanNumber(sql, at)
		t.text = sql[at:t.end]
	default:
		t.kind, t.end, t.text = tokenSymbol, at+1, sql[at:at+1]
	}
	return t, true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isWordByte(c byte) bool {
	return isDigit(c) || c == '_' || c == '$' || c >= 0x80 || 'a' <= c|0x20 && c|0x20 <= 'z'
}

// skipBlanks passes over blanks, comments and a byte order mark.
func skipBlanks(sql string, at int) int {
	for at < len(sql) {
		rest := sql[at:]
		switch {
		case strings.IndexByte(" \t\n\f\r", rest[0]) >= 0:
			at++
		case strings.HasPrefix(rest, "\ufeff"):
			at += len("\ufeff")
		case strings.HasPrefix(rest, "--"):
			end := strings.IndexByte(rest, '\n')
			if end < 0 {
				return len(sql)
			}
			at += end + 1
		case strings.HasPrefix(rest, "/*"):
			end := strings.Index(rest[2:], "*/")
			if end < 0 {
				return len(sql)
			}
			at += 2 + end + 2
		default:
			return at
		}
	}
	return at
}

// scanQuoted reads a quoted token whose quote is doubled inside. One that does
// not end takes the rest of the text.
func scanQuoted(sql string, at int, quote byte, kind tokenKind) (tokenKind, string, int) {
	var text []byte
	for i := at + 1; i < len(sql); i++ {
		if sql[i] == quote {
			if i+1 >= len(sql) || sql[i+1] != quote {
				return kind, string(text), i + 1
			}
			i++
		}
		text = append(text, sql[i])
	}
	return kind, string(text), len(sql)
}

// scanNumber is generous: what is not a number, SQLite refused before.
func scanNumber(sql string, at int) int {
	hex := strings.HasPrefix(foldName(sql[at:min(at+2, len(sql))]), "0x")
	for ; at < len(sql); at++ {
		c := sql[at]
		if (c == '+' || c == '-') && !hex && sql[at-1]|0x20 == 'e' {
			continue
		}
		if !isWordByte(c) && c != '.' {
			break
		}
	}
	return at
}

// normalSQL makes SQL text comparable: comments and blanks go, names fold.
func normalSQL(sql string) string { return normalTokens(tokens(sql)) }

func normalTokens(ts []token) string {
	var b strings.Builder
	for i, t := range ts {
		if i > 0 {
			b.WriteByte(' ')
		}
		switch t.kind {
		case tokenWord, tokenBlob, tokenNumber:
			b.WriteString(foldName(t.text))
		case tokenQuoted:
			b.WriteString(quotedNormal(t.text))
		case tokenString:
			b.WriteString("'" + strings.ReplaceAll(t.text, "'", "''") + "'")
		default:
			b.WriteString(t.text)
		}
	}
	return b.String()
}

// quotedNormal drops quotes that nothing depends on, so that "a" and a agree.
func quotedNormal(name string) string {
	if ts := tokens(name); len(ts) == 1 && ts[0].kind == tokenWord && len(ts[0].text) == len(name) {
		return foldName(name)
	}
	return quoteIdent(foldName(name))
}

// matchParen returns the position after the bracket that closes ts[open], or
// len(ts).
func matchParen(ts []token, open int) int {
	depth := 0
	for i := open; i < len(ts); i++ {
		switch {
		case ts[i].is("("):
			depth++
		case ts[i].is(")"):
			depth--
		}
		if depth == 0 {
			return i + 1
		}
	}
	return len(ts)
}

// hasWords reports whether the unquoted words stand side by side in ts.
func hasWords(ts []token, words ...string) bool {
	for i := 0; i+len(words) <= len(ts); i++ {
		n := 0
		for n < len(words) && ts[i+n].is(words[n]) {
			n++
		}
		if n == len(words) {
			return true
		}
	}
	return false
}
