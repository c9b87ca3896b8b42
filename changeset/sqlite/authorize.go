package sqlite

import (
	"strings"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
)

// Mode is who a statement is for, and so what it may do.
type Mode uint8

// The modes. The client modes deny by default; see allow.go.
const (
	ModeInternal Mode = iota // ours: everything
	ModeApply                // ours, replication: user triggers do not exist
	ModeRead                 // a client's query
	ModeWrite                // a client's INSERT, UPDATE, DELETE, or query
	ModeMigrate              // a client's CREATE TABLE or CREATE INDEX
)

// String returns the name of the mode.
func (m Mode) String() string {
	switch m {
	case ModeInternal:
		return "internal"
	case ModeApply:
		return "apply"
	case ModeRead:
		return "read"
	case ModeWrite:
		return "write"
	case ModeMigrate:
		return "migrate"
	}
	return "?"
}

func (m Mode) client() bool { return m >= ModeRead }

// internalPrefix marks what is ours in the namespace of tables and triggers,
// in any case of letters.
const internalPrefix = "__patina_"

// request is one question of SQLite to its authorizer. What a and b mean
// depends on op: see https://sqlite.org/c3ref/c_alter_table.html.
type request struct {
	op   int32
	a, b string
	db   string // "main", "temp" or ""
	// context is the innermost trigger, view, subquery or common table
	// expression. A client chooses the latter two, so it never permits anything.
	context string
}

// authorizeEntry is called by SQLite. It is a top-level function because the
// collector does not see a closure whose address only C holds.
var authorizeEntry = entryPoint(authorizeC)

func authorizeC(_ *libc.TLS, handle uintptr, op int32, a, b, db, context uintptr) int32 {
	c := connection(handle)
	if c == nil {
		return lib.SQLITE_DENY
	}
	r := request{op, string(cstring(a)), string(cstring(b)), string(cstring(db)), string(cstring(context))}
	if c.access != nil {
		r.collect(c.access)
	}
	verdict, reason := c.verdict(r)
	if verdict == lib.SQLITE_DENY && c.denial == "" {
		c.denial = reason
	}
	return verdict
}

// verdict answers for the mode that is being judged.
func (c *Conn) verdict(r request) (int32, string) {
	// The bodies of our own triggers, which record the writes of other
	// processes, do nothing here.
	if r.op == lib.SQLITE_INSERT && isInternal(r.context) {
		return lib.SQLITE_IGNORE, ""
	}
	var reason string
	switch c.judge {
	case ModeInternal:
	case ModeApply:
		reason = r.apply()
	default:
		reason = c.client(r)
	}
	if reason != "" {
		return lib.SQLITE_DENY, reason
	}
	return lib.SQLITE_OK, ""
}

// apply refuses what only a trigger could want: none is compiled in this mode,
// so this is a second line.
func (r request) apply() string {
	if r.context == "" {
		return ""
	}
	switch r.op {
	case lib.SQLITE_INSERT, lib.SQLITE_UPDATE, lib.SQLITE_DELETE:
		return "trigger " + r.context + " must not run on apply"
	}
	return ""
}

// client answers in the client modes: "" permits, else it is the reason.
func (c *Conn) client(r request) string {
	switch r.op {
	case lib.SQLITE_SELECT, lib.SQLITE_RECURSIVE:
		if c.judge == ModeMigrate {
			return "SELECT is not allowed in a migration, nor is CREATE TABLE AS SELECT"
		}
		return ""
	case lib.SQLITE_READ:
		return c.clientRead(r)
	case lib.SQLITE_FUNCTION:
		return c.clientFunction(fold(r.b))
	case lib.SQLITE_PRAGMA:
		return clientPragma(fold(r.a), r.b)
	case lib.SQLITE_INSERT, lib.SQLITE_UPDATE, lib.SQLITE_DELETE:
		return c.clientWrite(r)
	case lib.SQLITE_TRANSACTION:
		return r.a + " is not allowed: every request is one transaction"
	case lib.SQLITE_SAVEPOINT:
		return savepoint(r.a) + " is not allowed: every request is one transaction"
	}
	if c.judge == ModeMigrate {
		if reason, ours := c.clientMigrate(r); ours {
			return reason
		}
	}
	return c.refuse(r)
}

// clientMigrate answers for what CREATE TABLE and CREATE INDEX ask, and reports
// whether r is of that kind.
func (c *Conn) clientMigrate(r request) (reason string, ours bool) {
	if r.db == "temp" {
		return "temporary tables are not allowed", true
	}
	switch r.op {
	case lib.SQLITE_REINDEX:
		// CREATE INDEX fills the new index under this name.
		return "", c.creating()
	case lib.SQLITE_CREATE_TABLE:
		if r.a == "sqlite_sequence" && c.creating() { // for AUTOINCREMENT
			return "", true
		}
		return userTable(r.a), !isStatistics(r.a)
	case lib.SQLITE_CREATE_INDEX:
		return userTable(r.b), true
	}
	return "", false
}

// creating reports that the statement in question has said before that it
// creates something.
func (c *Conn) creating() bool { return c.access != nil && len(c.access.DDL) > 0 }

func savepoint(operation string) string {
	if operation == "BEGIN" {
		return "SAVEPOINT"
	}
	return operation
}

func isStatistics(table string) bool { return strings.HasPrefix(table, "sqlite_stat") }

// refuse is the reason why a kind of statement is not for this mode.
func (c *Conn) refuse(r request) string {
	s := statements[r.op]
	switch {
	case r.op == lib.SQLITE_CREATE_TABLE && isStatistics(r.a):
		s = statements[lib.SQLITE_ANALYZE]
	case r.op == lib.SQLITE_ATTACH && c.step:
		s = statement{name: "VACUUM"} // which says nothing of itself while it is prepared
	}
	switch {
	case s.name == "":
		return "this statement is not allowed"
	case !s.ddl:
		return s.name + " is not allowed"
	case c.judge == ModeMigrate:
		return s.name + " is not allowed in a migration: only CREATE TABLE and CREATE INDEX are"
	}
	return s.name + " is not allowed here: send schema changes to /v1/migrations"
}

func (c *Conn) clientRead(r request) string {
	table := fold(r.a)
	switch {
	case isInternal(table):
		return "access to table " + r.a + " is not allowed"
	case strings.HasPrefix(table, "sqlite_"):
		if !readableSchema[table] {
			return "access to table " + r.a + " is not allowed"
		}
	case strings.HasPrefix(table, "pragma_"):
		if name := table[len("pragma_"):]; c.pragmas[name] && !allowedPragma(name) {
			return "PRAGMA " + name + " is not allowed"
		}
	case c.modules[table] && !tableFunctions[table]:
		return "access to virtual table " + r.a + " is not allowed"
	}
	return ""
}

func (c *Conn) clientFunction(name string) string {
	if functions[name] || c.own(name) {
		return ""
	}
	return "function " + name + " is not allowed"
}

func clientPragma(name, arg string) string {
	switch {
	case !allowedPragma(name):
		return "PRAGMA " + name + " is not allowed"
	case arg != "" && !pragmas[name]:
		return "PRAGMA " + name + " may be read, but not set"
	}
	return ""
}

// clientWrite answers for INSERT, UPDATE and DELETE. Every change of the schema
// also asks to write the schema table, most of them before they say what they
// are. So that is let through while a statement is prepared, and compile
// refuses a statement that then was no schema change. SQLite itself refuses it
// as well.
func (c *Conn) clientWrite(r request) string {
	op := Op(r.op).String()
	table := fold(r.a)
	switch {
	case schemaTables[table] && (!c.step || c.judge == ModeMigrate && c.creating()):
		c.schema = true
		return ""
	case c.judge == ModeRead:
		return op + " is not allowed in a query"
	case c.judge == ModeMigrate:
		return op + " is not allowed in a migration: only CREATE TABLE and CREATE INDEX are"
	case r.db == "temp":
		return "temporary tables are not allowed"
	}
	return c.userTable(r.a)
}

// userTable refuses tables that are not the user's.
func (c *Conn) userTable(name string) string {
	if reason := userTable(name); reason != "" {
		return reason
	}
	if c.modules[fold(name)] {
		return "virtual table " + name + " may not be modified"
	}
	return ""
}

func userTable(name string) string {
	switch n := fold(name); {
	case isInternal(n):
		return "access to table " + name + " is not allowed"
	case strings.HasPrefix(n, "sqlite_"):
		return "table " + name + " may not be modified"
	}
	return ""
}

// collect notes what the request is about.
func (r request) collect(a *Access) {
	switch r.op {
	case lib.SQLITE_READ:
		a.read(r.a)
	case lib.SQLITE_INSERT, lib.SQLITE_DELETE:
		if !schemaTables[r.a] {
			a.write(r.a, Op(r.op), "")
		}
	case lib.SQLITE_UPDATE:
		if !schemaTables[r.a] {
			a.write(r.a, OpUpdate, r.b)
		}
	case lib.SQLITE_ALTER_TABLE:
		a.ddl("ALTER TABLE " + r.b)
	default:
		// What SQLite makes along with it has names of SQLite.
		if s := statements[r.op]; s.ddl && !strings.HasPrefix(r.a, "sqlite_") {
			a.ddl(s.name + " " + r.a)
		}
	}
}

// isInternal reports a name of ours, in any case of letters.
func isInternal(name string) bool {
	return len(name) >= len(internalPrefix) && strings.EqualFold(name[:len(internalPrefix)], internalPrefix)
}

// fold lowers ASCII letters alone, as SQLite compares names.
func fold(s string) string {
	for i := 0; i < len(s); i++ {
		if 'A' <= s[i] && s[i] <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if 'A' <= b[i] && b[i] <= 'Z' {
					b[i] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}
