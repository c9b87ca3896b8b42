// Package sqlite is a thin layer directly over the SQLite engine that
// modernc.org/sqlite/lib carries: connections, prepared statements, the
// authorizer with its modes, the preupdate hook, deadlines and result codes.
// It knows nothing of replication and nothing of database/sql.
//
// # Connections
//
// A [Conn] is used by one goroutine at a time; it has no lock of its own. The
// exception is what [Conn.InterruptOn] starts. Different connections are
// independent. Everything prepared on a connection is finalized by
// [Conn.Close], also statements that the caller forgot.
//
// # Modes
//
// One authorizer is installed for the life of a connection; replacing it would
// make SQLite prepare every statement again. What it allows depends on the
// [Mode]. A statement belongs to the mode under which it was prepared: SQLite
// asks again at step (VACUUM INTO, pragma functions, a statement that must be
// prepared again because the schema changed), and is then answered for that
// mode, whatever the connection's mode is by then. Client modes deny by
// default; allow.go holds the lists. A refusal is an [Error] for which
// errors.Is(err, [ErrAuth]) holds and whose Message gives the reason.
//
// sqlite3_stmt_readonly is not a gate: it is true for ATTACH, DETACH and
// PRAGMA query_only=0. The authorizer is.
//
// # Transactions
//
// OR ROLLBACK, RAISE(ROLLBACK), a full disk, an I/O error and an interrupted
// write end the whole transaction, savepoints included. A SAVEPOINT would then
// quietly begin a new one. Look at [Conn.Autocommit] after every error.
//
// # Values
//
// A [Value] is one of SQLite's storage values. Text may hold NUL and invalid
// UTF-8, the empty blob is not NULL, NaN is stored as NULL. Databases that are
// not encoded in UTF-8 are refused at [Open].
//
// # Files
//
// Nothing in the process may open a database file, its -wal or its -shm except
// SQLite: closing such a descriptor drops SQLite's POSIX locks, after which an
// outside reader can delete the WAL with acknowledged writes in it.
package sqlite
