package store

import "slices"

// columnClause is the definition of a column in its table's CREATE TABLE: what
// ALTER TABLE ADD COLUMN repeats word by word.
type columnClause struct {
	text   string
	tokens []token
}

// tableClauses are the parts of a CREATE TABLE that introspection cannot tell.
type tableClauses struct {
	columns map[string]columnClause // by folded name
	checks  []string                // normalised, sorted
}

// clausesOf takes the text of sqlite_schema apart: CREATE TABLE name ( … ).
func clausesOf(sql string) tableClauses {
	ts := tokens(sql)
	out := tableClauses{columns: map[string]columnClause{}, checks: checkClauses(ts)}
	open := slices.IndexFunc(ts, func(t token) bool { return t.is("(") })
	if open < 0 {
		return out
	}
	body := ts[open+1 : max(open+1, matchParen(ts, open)-1)]
	for _, part := range splitCommas(body) {
		if !part[0].isName() || isTableConstraint(part[0]) {
			continue
		}
		out.columns[foldName(part[0].text)] = columnClause{sql[part[0].start:part[len(part)-1].end], part}
	}
	return out
}

// isTableConstraint: these words cannot be names without quotes.
func isTableConstraint(t token) bool {
	return t.is("constraint") || t.is("primary") || t.is("unique") || t.is("check") || t.is("foreign")
}

// splitCommas splits at the commas outside brackets; no part is empty.
func splitCommas(ts []token) [][]token {
	var out [][]token
	from := 0
	for i := 0; i <= len(ts); i++ {
		if i < len(ts) && ts[i].is("(") {
			i = matchParen(ts, i) - 1
			continue
		}
		if i == len(ts) || ts[i].is(",") {
			if i > from {
				out = append(out, ts[from:i])
			}
			from = i + 1
		}
	}
	return out
}

// checkClauses returns the CHECKs of a table, of its columns and of its own
// alike. CHECK cannot be a name without quotes.
func checkClauses(ts []token) []string {
	var out []string
	for i := range ts {
		if ts[i].is("check") && i+1 < len(ts) && ts[i+1].is("(") {
			out = append(out, normalTokens(ts[i:matchParen(ts, i+1)]))
		}
	}
	slices.Sort(out)
	return out
}

// generator returns the tokens of the expression of GENERATED ALWAYS AS (…),
// brackets included; AS cannot be a name without quotes.
func (c columnClause) generator() []token {
	for i := 0; i+1 < len(c.tokens); i++ {
		switch {
		case c.tokens[i].is("("):
			i = matchParen(c.tokens, i) - 1
		case c.tokens[i].is("as") && c.tokens[i+1].is("("):
			return c.tokens[i+1 : matchParen(c.tokens, i+1)]
		}
	}
	return nil
}

// indexTerms returns the tokens after CREATE [UNIQUE] INDEX name ON table.
func indexTerms(sql string) []token {
	ts := tokens(sql)
	for i, t := range ts {
		if t.is("on") && i+1 < len(ts) && i >= 3 {
			return ts[i+2:]
		}
	}
	return nil
}

// isLiteral reports whether a DEFAULT is a constant that SQLite evaluates alike
// everywhere, and whether it stands for itself without brackets.
func isLiteral(dflt string) (literal, bare bool) {
	ts := stripParens(tokens(dflt))
	if len(ts) == 1 {
		switch t := ts[0]; t.kind {
		case tokenString, tokenBlob, tokenNumber:
			return true, true
		case tokenQuoted: // DEFAULT "x" is the text x
			return true, true
		case tokenWord:
			// DEFAULT x is the text x, but for the three clocks.
			return !t.is("current_time") && !t.is("current_date") && !t.is("current_timestamp"), true
		}
		return false, false
	}
	for i, t := range ts {
		last := i == len(ts)-1
		if last && t.kind == tokenNumber {
			return true, false
		}
		if !t.is("+") && !t.is("-") {
			return false, false
		}
	}
	return false, false
}

func stripParens(ts []token) []token {
	for len(ts) > 2 && ts[0].is("(") && matchParen(ts, 0) == len(ts) {
		ts = ts[1 : len(ts)-1]
	}
	return ts
}

// isNullLiteral: DEFAULT NULL is no default.
func isNullLiteral(dflt string) bool {
	ts := stripParens(tokens(dflt))
	return len(ts) == 1 && ts[0].is("null")
}
