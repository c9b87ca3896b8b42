package store

import (
	"errors"
	"fmt"
	"strings"

	"github.com/patinadb/patina/changeset/sqlite"
)

// allowedStatements is what schema files and migrations consist of.
const allowedStatements = "only CREATE TABLE and CREATE INDEX are allowed in a schema"

// statementKind tells the statements of a schema from all others.
type statementKind uint8

const (
	statementOther statementKind = iota
	statementTable
	statementIndex
)

// statementHead is the beginning of a statement, up to the names.
type statementHead struct {
	kind        statementKind
	verb        string // upper case, as messages say it: "DROP TABLE"
	ifNotExists bool
	database    string // the qualifier, "" none
	name        string
	table       string // of CREATE INDEX
	asSelect    bool   // CREATE TABLE … AS
	temporary   bool
}

// headReader takes tokens off the front of a statement.
type headReader struct{ ts []token }

// word takes the next token if it is the unquoted word w.
func (r *headReader) word(w string) bool {
	if len(r.ts) > 0 && r.ts[0].is(w) {
		r.ts = r.ts[1:]
		return true
	}
	return false
}

// name takes a name, with its qualifier if there is one.
func (r *headReader) name() (database, name string) {
	if len(r.ts) == 0 || !r.ts[0].isName() {
		return "", ""
	}
	name, r.ts = r.ts[0].text, r.ts[1:]
	if len(r.ts) > 1 && r.ts[0].is(".") && r.ts[1].isName() {
		database, name, r.ts = name, r.ts[1].text, r.ts[2:]
	}
	return database, name
}

// readHead reads the head of the first statement of ts.
func readHead(ts []token) statementHead {
	r := headReader{ts}
	var h statementHead
	if !r.word("create") {
		return otherHead(ts)
	}
	h.temporary = r.word("temp") || r.word("temporary")
	unique := r.word("unique")
	switch {
	case r.word("table") && !unique:
		h.kind, h.verb = statementTable, "CREATE TABLE"
	case r.word("index") && !h.temporary:
		h.kind, h.verb = statementIndex, "CREATE INDEX"
	default:
		return otherHead(ts)
	}
	if hasWords(r.ts[:min(3, len(r.ts))], "if", "not", "exists") {
		h.ifNotExists, r.ts = true, r.ts[3:]
	}
	h.database, h.name = r.name()
	if h.kind == statementTable {
		h.asSelect = r.word("as")
	} else if r.word("on") {
		_, h.table = r.name()
	}
	return h
}

// otherHead names a statement that is refused, and what it would touch.
func otherHead(ts []token) statementHead {
	r := headReader{ts}
	var words []string
	for len(r.ts) > 0 && r.ts[0].kind == tokenWord && len(words) < 4 {
		w := strings.ToUpper(r.ts[0].text)
		if len(words) > 0 && !headWords[w] {
			break
		}
		words = append(words, w)
		r.ts = r.ts[1:]
	}
	h := statementHead{verb: strings.Join(words, " ")}
	if r.word("if") && !r.word("exists") && r.word("not") {
		r.word("exists")
	}
	h.database, h.name = r.name()
	for i := range r.ts { // CREATE TRIGGER … ON table
		if r.ts[i].is("on") && strings.HasSuffix(h.verb, "TRIGGER") {
			at := headReader{r.ts[i+1:]}
			_, h.table = at.name()
			break
		}
	}
	return h
}

// headWords follow the first word of a statement and belong to what it does.
var headWords = map[string]bool{
	"TABLE": true, "INDEX": true, "VIEW": true, "TRIGGER": true, "VIRTUAL": true, "UNIQUE": true,
	"TEMP": true, "TEMPORARY": true, "INTO": true, "FROM": true, "OR": true, "REPLACE": true,
	"IGNORE": true, "ABORT": true, "FAIL": true, "ROLLBACK": true,
}

// statementVerbs begin a statement that SQLite knows. Any other first word is
// left to SQLite, for its message.
var statementVerbs = map[string]bool{
	"alter": true, "analyze": true, "attach": true, "begin": true, "commit": true, "delete": true, "detach": true, "drop": true, "end": true, "explain": true, "insert": true,
	"pragma": true, "reindex": true, "release": true, "replace": true, "rollback": true,
	"savepoint": true, "select": true, "update": true, "vacuum": true, "values": true, "with": true,
}

// target is the table that the statement is about, "" if that cannot be told.
func (h statementHead) target() string {
	if h.kind == statementIndex || h.table != "" {
		return h.table
	}
	if !h.ofTable() {
		return ""
	}
	return h.name
}

// ofTable reports whether the name is that of a table.
func (h statementHead) ofTable() bool {
	for _, w := range strings.Fields(h.verb) {
		switch w {
		case "TABLE", "INTO", "FROM", "UPDATE":
			return true
		}
	}
	return false
}

// what says the verb, and the name if it is not that of a table.
func (h statementHead) what() string {
	if h.name == "" || h.ofTable() {
		return h.verb
	}
	return h.verb + " " + h.name
}

// refuse says why a statement is not allowed, or returns nil. What it passes is
// safe to prepare: it creates a table or index in main, or does not parse.
func (h statementHead) refuse(first token) *SchemaError {
	deny := func(format string, args ...any) *SchemaError {
		return &SchemaError{Table: h.target(), Reason: fmt.Sprintf(format, args...)}
	}
	switch {
	case h.temporary, foldName(h.database) == "temp":
		return deny("temporary objects are private to a connection and are not replicated; %s", allowedStatements)
	case h.kind == statementOther && strings.HasPrefix(h.verb, "CREATE VIRTUAL"):
		return deny("virtual tables (FTS5, R*Tree and others) keep their content in tables of their own that cannot be merged; they cannot be replicated")
	case h.kind == statementOther && (strings.HasSuffix(h.verb, "VIEW") || strings.HasSuffix(h.verb, "TRIGGER")):
		return deny("%s is refused: views and triggers are not replicated yet; %s", h.what(), allowedStatements)
	case h.kind == statementOther && first.kind == tokenWord && statementVerbs[foldName(first.text)]:
		return deny("%s is refused: %s", h.what(), allowedStatements)
	case h.kind == statementOther:
		return nil
	case h.database != "" && foldName(h.database) != "main":
		return deny("database %s is not the node's", h.database)
	case h.asSelect:
		return deny("CREATE TABLE AS SELECT is refused: it has no primary key; name the columns")
	case hasPrefixFold(h.name, internalPrefix):
		return deny("names that begin with %s are reserved", internalPrefix)
	case hasPrefixFold(h.name, "sqlite_"):
		return deny("names that begin with sqlite_ are reserved")
	}
	return nil
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && foldName(s[:len(prefix)]) == prefix
}

// schemaScript walks through the statements of a text.
type schemaScript struct {
	conn *sqlite.Conn
	sql  string
	at   int // where the rest begins
	// head and start are those of the statement that next found.
	head  statementHead
	start int
}

// next finds the next statement. It is refused or allowed by its head alone,
// before SQLite sees it.
func (s *schemaScript) next() (more bool, refused *SchemaError) {
	for {
		first, ok := nextToken(s.sql, s.at)
		if !ok {
			return false, nil
		}
		if first.is(";") {
			s.at = first.end
			continue
		}
		s.start = first.start
		s.head = readHead(s.headTokens())
		return true, s.head.refuse(first)
	}
}

// headTokens returns the tokens up to the first bracket or semicolon, which is
// as far as a head reaches.
func (s *schemaScript) headTokens() []token {
	var ts []token
	for at := s.start; len(ts) < 64; {
		t, ok := nextToken(s.sql, at)
		if !ok || t.is(";") || t.is("(") {
			break
		}
		ts, at = append(ts, t), t.end
	}
	return ts
}

// run runs the statement that next found and moves behind it.
func (s *schemaScript) run() *SchemaError {
	stmt, tail, err := s.conn.Prepare(s.sql[s.start:])
	if err == nil && stmt != nil {
		err = stmt.Run()
		stmt.Finalize()
	}
	if err != nil {
		return s.failed(err)
	}
	s.at = len(s.sql) - len(tail)
	if s.at <= s.start {
		s.at = len(s.sql)
	}
	return nil
}

// failed wraps an error of SQLite and points start at the token it names.
func (s *schemaScript) failed(err error) *SchemaError {
	var e *sqlite.Error
	if errors.As(err, &e) && e.Offset > 0 && s.start+e.Offset <= len(s.sql) {
		s.start += e.Offset
	}
	return &SchemaError{Reason: err.Error(), Err: err}
}

// line returns the line of the statement, from 1.
func (s *schemaScript) line() int { return 1 + strings.Count(s.sql[:s.start], "\n") }
