package store

import (
	"fmt"

	"github.com/patinadb/patina/changeset"
)

// What a table must be to be replicated (DESIGN section 7). A NULL in a key,
// which rowid tables allow, and anything but a blob in a BLOB key are refused
// when they are written, not here.

// checkTable returns why t cannot be replicated, or nil.
func checkTable(t *table) *SchemaError {
	deny := func(column, format string, args ...any) *SchemaError {
		return (&SchemaError{Table: t.name, Column: column, Reason: fmt.Sprintf(format, args...)}).at(t.place)
	}
	switch {
	case t.name == "" || t.column("") != nil:
		return deny("", "a table and its columns need names to replicate")
	case t.unknown != "":
		return deny("", "%s", t.unknown)
	case len(t.key) == 0:
		return deny("", "no primary key: rows of different nodes could not be told apart; add one, for example id TEXT NOT NULL PRIMARY KEY or id INTEGER PRIMARY KEY")
	case !t.withoutRowid && t.rowid == "":
		return deny("rowid", "columns called rowid, _rowid_ and oid together hide the rowid; rename one")
	case hasWords(tokens(t.sql), "on", "conflict", "rollback"):
		return deny("", "ON CONFLICT ROLLBACK would undo the writes of other clients that share the transaction; use ON CONFLICT ABORT, which is the default")
	}
	for _, i := range t.key {
		if refused := checkKeyColumn(t, &t.columns[i]); refused != nil {
			return refused.at(t.place)
		}
	}
	for i := range t.columns {
		c := &t.columns[i]
		if reason := checkGenerated(t, c); reason != "" {
			return deny(c.name, "%s", reason)
		}
		if c.ambiguousDefault {
			return deny(c.name, "SQLite reads the default %s in two ways, for new rows and for rows that are there when the column is added; write it in quotes, as %s", c.dflt, c.applyDefault)
		}
		if t.strict && c.data >= 0 && !fitsStrict(c) {
			return deny(c.name, "the default %s does not fit the type %s of a STRICT table", c.dflt, c.decl)
		}
	}
	for i := range t.indexes {
		if x := &t.indexes[i]; x.constraint && !x.coversKey(t) {
			return deny(x.columns[0].name, "%s", uniqueReason)
		}
	}
	return nil
}

// uniqueReason explains why only the key is unique.
const uniqueReason = "UNIQUE beyond the primary key cannot hold when several nodes write at once, and would block the merge of their rows; use a plain index"

// checkKeyColumn: the key's equality must be the same on every node and the
// same as that of the bytes we send.
func checkKeyColumn(t *table, c *column) *SchemaError {
	deny := func(format string, args ...any) *SchemaError {
		return &SchemaError{Table: t.name, Column: c.name, Reason: fmt.Sprintf(format, args...)}
	}
	switch {
	case c.decl == "":
		return deny("a key column needs a declared type, one of INTEGER, TEXT, REAL, NUMERIC or BLOB: without one 1 and '1' are two keys")
	case foldName(c.decl) == "any":
		return deny("a key column cannot be of type ANY; use INTEGER, TEXT, REAL, NUMERIC or BLOB")
	case t.layout == layoutInteger:
		return nil
	case t.keyIndex != nil && len(t.key) == 1 && !t.withoutRowid && foldName(c.decl) == "integer":
		return deny("INTEGER PRIMARY KEY DESC is not the rowid, by an old bug of SQLite that it keeps; leave out DESC")
	case foldName(c.collation) != "binary":
		return deny("a key column needs the BINARY collation, not %s: keys that compare equal must be equal bytes", c.collation)
	}
	if t.keyIndex == nil {
		return nil
	}
	for _, term := range t.keyIndex.columns {
		if sameName(term.name, c.name) && foldName(term.collation) != "binary" {
			return deny("the primary key needs the BINARY collation, not %s: keys that compare equal must be equal bytes", term.collation)
		}
	}
	return nil
}

// checkGenerated: computing a column must not fail on a merged row, since no
// node could store that row.
func checkGenerated(t *table, c *column) string {
	switch {
	case c.generated == generatedNone:
		return ""
	case c.notNull:
		return "NOT NULL on a generated column could refuse a row that two nodes made together; leave it out"
	case t.strict && c.generated == generatedStored && foldName(c.decl) != "any":
		return "a STORED generated column of a STRICT table could refuse a row that two nodes made together; make it VIRTUAL or of type ANY"
	}
	if call := riskyCall(c.clause.generator()); call != "" {
		return "a generated column can only use functions that never fail; " + call
	}
	return ""
}

// fitsStrict reports whether the apply default can be stored in its column.
func fitsStrict(c *column) bool {
	if !c.literalDefault || c.applyDefault.Kind() == changeset.Null {
		return true
	}
	switch foldName(c.decl) {
	case "int", "integer":
		return c.applyDefault.Kind() == changeset.Integer
	case "real":
		return c.applyDefault.Kind() == changeset.Real
	case "text":
		return c.applyDefault.Kind() == changeset.Text
	case "blob":
		return c.applyDefault.Kind() == changeset.Blob
	}
	return true
}

// coversKey reports whether an index holds every key column: then UNIQUE says
// no more than the key itself.
func (x *index) coversKey(t *table) bool {
	for _, k := range t.key {
		found := false
		for _, term := range x.columns {
			named := sameName(term.name, t.columns[k].name) || term.rowid && t.layout == layoutInteger
			found = found || named && (t.layout == layoutInteger || foldName(term.collation) == "binary")
		}
		if !found {
			return false
		}
	}
	return true
}

// checkIndex returns why the index could make a merge fail, or nil.
func checkIndex(t *table, x *index) *SchemaError {
	deny := func(column, format string, args ...any) *SchemaError {
		return (&SchemaError{Table: t.name, Column: column, Reason: fmt.Sprintf("index %s: ", x.name) + fmt.Sprintf(format, args...)}).at(x.place)
	}
	switch {
	case x.constraint:
		return nil // judged with the table
	case x.unknown != "":
		return deny("", "%s", x.unknown)
	}
	if x.unique && !x.coversKey(t) {
		return deny(x.columns[0].name, "%s", uniqueReason)
	}
	if call := riskyCall(indexTerms(x.sql)); call != "" {
		return deny("", "a partial or expression index can only use functions that never fail; %s", call)
	}
	return nil
}

// safeFunctions never raise an error, whatever their arguments, and give the
// same result everywhere. Not abs (overflow), not json_extract (malformed
// JSON), not replace or printf (size), not the date functions ('now').
var safeFunctions = map[string]bool{
	"ceil": true, "ceiling": true, "coalesce": true, "floor": true, "hex": true, "ifnull": true,
	"iif": true, "instr": true, "length": true, "likely": true, "lower": true, "ltrim": true,
	"max": true, "min": true, "nullif": true, "octet_length": true, "round": true, "rtrim": true,
	"sign": true, "substr": true, "substring": true, "trim": true, "trunc": true, "typeof": true,
	"unhex": true, "unicode": true, "unlikely": true, "upper": true,
}

// callLikeWords are keywords that a bracket can follow.
var callLikeWords = map[string]bool{
	"and": true, "as": true, "between": true, "case": true, "cast": true, "collate": true, "else": true,
	"from": true, "glob": true, "in": true, "is": true, "like": true, "not": true, "or": true,
	"then": true, "when": true, "where": true, "isnull": true, "notnull": true, "null": true,
}

// riskyCall returns what in an expression could raise an error, or "". The
// expression is one that SQLite accepted for an index or a generated column.
func riskyCall(ts []token) string {
	for i := 0; i < len(ts); i++ {
		t := ts[i]
		var next token
		if i+1 < len(ts) {
			next = ts[i+1]
		}
		switch {
		case t.is("as"): // CAST(x AS VARCHAR(10)): the type is not a call
			for i+1 < len(ts) && !ts[i+1].is(")") {
				if i++; ts[i].is("(") {
					i = matchParen(ts, i) - 1
				}
			}
		case t.is("-") && next.is(">") && next.start == t.end:
			return "-> and ->> fail on malformed JSON"
		case t.is("match"), t.is("regexp"), t.is("escape"):
			return foldName(t.text) + " is not one"
		case (t.is("like") || t.is("glob")) && !next.is("(") && next.kind != tokenString:
			return foldName(t.text) + " needs a literal pattern"
		case next.is("(") && t.kind == tokenWord && callLikeWords[foldName(t.text)]:
			if t.is("like") || t.is("glob") {
				return foldName(t.text) + " needs a literal pattern"
			}
		case next.is("(") && (t.kind == tokenWord || t.kind == tokenQuoted) && !safeFunctions[foldName(t.text)]:
			return t.text + " is not one"
		}
	}
	return ""
}
