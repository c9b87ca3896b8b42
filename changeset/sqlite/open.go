package sqlite

import (
	"fmt"
	"strings"
	"syscall"
	"time"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
)

// MinVersion is the oldest SQLite that does not corrupt databases by its WAL
// reset bug, in SQLite's notation (3.51.3).
const MinVersion = 3051003

// walKept is what SQLite keeps of the -wal file when it starts the log over,
// in bytes.
const walKept = 8 << 20

// Config says what to open. The zero Config is a private memory database.
type Config struct {
	Path        string        // "" or ":memory:" is a private memory database
	ReadOnly    bool          // a query_only reader; never creates the file
	Create      bool          // create the file if it is absent
	BusyTimeout time.Duration // how long to wait for another's lock; 0 is 5 s, negative none
	CacheBytes  int           // page cache; 0 leaves SQLite's default of 2 MB
	Synchronous string        // FULL (the default), NORMAL or OFF
	VFS         string        // name of a registered VFS; "" is SQLite's default
	// KeepJournal leaves the file in the journal mode that it has.
	KeepJournal bool
	// KeepWAL keeps the WAL beside the file when the last connection closes, so that
	// whoever only looks changes no byte of either.
	KeepWAL bool
	// WritableSchema lets SQL of ours that says PRAGMA writable_schema write the
	// schema table. Never for a connection that clients use.
	WritableSchema bool
}

// Open opens a connection. A file database is put into WAL mode, but for
// [Config.KeepJournal], with automatic checkpoints off; whoever owns the writer
// checkpoints. Errors name the path.
func Open(cfg Config) (*Conn, error) {
	path := cfg.Path
	if path == "" {
		path = ":memory:"
	}
	c, err := open(cfg, path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return c, nil
}

func open(cfg Config, path string) (*Conn, error) {
	if err := checkVersion(lib.Xsqlite3_libversion_number(nil)); err != nil {
		return nil, err
	}
	if strings.IndexByte(path, 0) >= 0 {
		return nil, misuse("path contains a NUL character")
	}
	c := &Conn{tls: libc.NewTLS(), mode: ModeInternal, live: map[*Stmt]struct{}{}, tables: map[string]string{}}
	c.scratch = libc.Xmalloc(c.tls, 64)
	c.cache.init(cacheSize)
	if err := c.connect(cfg, path); err != nil {
		c.release()
		return nil, err
	}
	register(c)
	if err := c.configure(cfg, path); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

func checkVersion(v int32) error {
	if v < MinVersion {
		return fmt.Errorf("SQLite %d is too old: %d or newer is required", v, MinVersion)
	}
	return nil
}

// connect makes c.db, or leaves nothing behind.
func (c *Conn) connect(cfg Config, path string) error {
	name, err := c.newCString(path)
	if err != nil {
		return err
	}
	defer libc.Xfree(c.tls, name)
	// A reader opens read-write too: it may have to make the -shm.
	flags := int32(lib.SQLITE_OPEN_READWRITE | lib.SQLITE_OPEN_NOMUTEX | lib.SQLITE_OPEN_EXRESCODE)
	if path == ":memory:" || cfg.Create && !cfg.ReadOnly {
		flags |= lib.SQLITE_OPEN_CREATE
	}
	vfs := uintptr(0)
	if cfg.VFS != "" {
		if vfs, err = c.newCString(cfg.VFS); err != nil {
			return err
		}
		defer libc.Xfree(c.tls, vfs)
	}
	rc := lib.Xsqlite3_open_v2(c.tls, name, c.scratch, flags, vfs)
	c.db = *(*uintptr)(pointer(c.scratch))
	if rc == lib.SQLITE_OK {
		return nil
	}
	if c.db == 0 {
		return ErrNoMemory
	}
	e := c.fail(rc)
	if n := lib.Xsqlite3_system_errno(c.tls, c.db); n != 0 {
		e.Message += ": " + syscall.Errno(n).Error()
	}
	lib.Xsqlite3_close_v2(c.tls, c.db)
	return e
}

// configure brings a new connection into its lasting state. The order matters:
// busy_timeout first, since everything after it may meet a lock.
func (c *Conn) configure(cfg Config, path string) error {
	timeout := cfg.BusyTimeout
	if timeout == 0 {
		timeout = 5 * time.Second
	}
	lib.Xsqlite3_busy_timeout(c.tls, c.db, int32(max(0, timeout.Milliseconds())))
	lib.Xsqlite3_set_authorizer(c.tls, c.db, authorizeEntry, c.handle)
	lib.Xsqlite3_progress_handler(c.tls, c.db, progressOps, progressEntry, c.handle)
	defensive := int32(1)
	if cfg.WritableSchema {
		defensive = 0
	}
	for op, on := range map[int32]int32{
		lib.SQLITE_DBCONFIG_DEFENSIVE:             defensive,
		lib.SQLITE_DBCONFIG_TRUSTED_SCHEMA:        0,
		lib.SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION: 0,
	} {
		if err := c.setConfig(op, on); err != nil {
			return err
		}
	}
	if cfg.KeepWAL {
		if err := c.setConfig(lib.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1); err != nil {
			return err
		}
	}
	// The first statement that touches the file finds out whether it is one of ours.
	enc, err := c.text("PRAGMA encoding")
	if err != nil {
		return err
	}
	if enc != "UTF-8" {
		return fmt.Errorf("the database is encoded in %s: only UTF-8 is supported", enc)
	}
	if path != ":memory:" {
		if err := c.enterWAL(cfg.ReadOnly || cfg.KeepJournal); err != nil {
			return err
		}
	}
	if err := c.Exec(settings(cfg)); err != nil {
		return err
	}
	// Last, since PRAGMA wal_autocheckpoint takes the hook away.
	lib.Xsqlite3_wal_hook(c.tls, c.db, walEntry, c.handle)
	return c.readNames()
}

// EnterWAL puts the file into WAL mode, after an Open that kept its journal.
func (c *Conn) EnterWAL() error { return c.enterWAL(false) }

// enterWAL puts the file into WAL mode, which lasts in the file, unless the mode
// is to stay as it is.
func (c *Conn) enterWAL(keep bool) error {
	mode, err := c.text("PRAGMA journal_mode")
	if err != nil {
		return err
	}
	if keep {
		return nil
	}
	if lib.Xsqlite3_db_readonly(c.tls, c.db, 0) != 0 {
		return &Error{Code: ErrReadOnly, Message: "the file cannot be written", Offset: -1}
	}
	if mode == "wal" {
		return nil
	}
	if mode, err = c.text("PRAGMA journal_mode=WAL"); err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("journal mode is %s: WAL is not possible here", mode)
	}
	return nil
}

// settings are the pragmas of every connection.
func settings(cfg Config) string {
	synchronous := cfg.Synchronous
	if synchronous == "" {
		synchronous = "FULL"
	}
	b := &strings.Builder{}
	// No mmap: a file truncated under it is a SIGBUS that nobody can catch.
	fmt.Fprintf(b, "PRAGMA mmap_size=0; PRAGMA synchronous=%s; PRAGMA wal_autocheckpoint=0; PRAGMA journal_size_limit=%d;", synchronous, walKept)
	// On darwin a plain fsync leaves the data in the drive's own cache. Elsewhere
	// these two mean nothing.
	b.WriteString("PRAGMA fullfsync=1; PRAGMA checkpoint_fullfsync=1;")
	// recursive_triggers: without it REPLACE fires no delete triggers.
	// Triggers do not fire themselves, as by default everywhere: the preupdate hook
	// sees what REPLACE deletes without recursive_triggers.
	b.WriteString("PRAGMA foreign_keys=0; PRAGMA recursive_triggers=0; PRAGMA temp_store=MEMORY; PRAGMA cell_size_check=1;")
	if cfg.CacheBytes > 0 {
		fmt.Fprintf(b, "PRAGMA cache_size=-%d;", max(1, cfg.CacheBytes>>10))
	}
	if cfg.ReadOnly {
		b.WriteString("PRAGMA query_only=1;")
	}
	return b.String()
}

// text returns the first column of the first row of a query of ours.
func (c *Conn) text(sql string) (text string, err error) {
	err = c.eachRow(sql, func(s *Stmt) {
		if text == "" { // converted to UTF-8 if the database is of another encoding
			text = libc.GoString(lib.Xsqlite3_column_text(c.tls, s.p, 0))
		}
	})
	return text, err
}

// eachRow runs a query of ours outside of the statement cache.
func (c *Conn) eachRow(sql string, fn func(*Stmt)) error {
	s, _, err := c.Prepare(sql)
	if err != nil {
		return err
	}
	defer s.Finalize()
	for {
		row, err := s.Step()
		if err != nil || !row {
			return err
		}
		fn(s)
	}
}

// readNames learns what the authorizer needs to tell tables of the engine from
// tables of the user.
func (c *Conn) readNames() error {
	c.modules, c.pragmas = map[string]bool{}, map[string]bool{}
	err := c.eachRow("PRAGMA module_list", func(s *Stmt) { c.modules[fold(s.Column(0).Text())] = true })
	if err != nil {
		return err
	}
	return c.eachRow("PRAGMA pragma_list", func(s *Stmt) { c.pragmas[fold(s.Column(0).Text())] = true })
}

// setConfig sets a boolean by sqlite3_db_config.
func (c *Conn) setConfig(op, on int32) error {
	va := libc.NewVaList(on, uintptr(0))
	if va == 0 {
		return ErrNoMemory
	}
	defer libc.Xfree(c.tls, va)
	if rc := lib.Xsqlite3_db_config(c.tls, c.db, op, va); rc != lib.SQLITE_OK {
		return c.fail(rc)
	}
	return nil
}
