package store

import (
	"errors"
	"fmt"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// What works on the database of a node that is stopped: Check, Repair, Adopt,
// Eject. Each holds the lock that keeps nodes off the file, and none but Adopt
// ever makes an actor id.

// offlineTimeout is how long an offline command waits for another process that
// has the file locked.
const offlineTimeout = 5 * time.Second

// openOffline opens the database at cfg.Path, which must exist, under the lock of
// a node. how says in which way; nothing is read yet.
func openOffline(cfg Config, how sqlite.Config) (*Store, error) {
	cfg = cfg.withDefaults()
	if err := checkThere(cfg); err != nil {
		return nil, err
	}
	lock, err := lockDatabase(cfg.Path)
	if err != nil {
		if errors.Is(err, ErrInUse) {
			err = fmt.Errorf("%w: stop that process first", err)
		}
		return nil, err
	}
	s, err := openUnlocked(cfg, how)
	if err != nil {
		return nil, errors.Join(err, lock.discard())
	}
	s.lock = lock
	return s, nil
}

// checkThere refuses a database that is not there, or under several names.
func checkThere(cfg Config) error {
	if _, err := cfg.stat(cfg.Path); err != nil {
		return err
	}
	return checkLinks(cfg.Path)
}

// openUnlocked is openOffline without the lock, for who only reads.
func openUnlocked(cfg Config, how sqlite.Config) (*Store, error) {
	how.Path, how.VFS, how.BusyTimeout = cfg.Path, cfg.VFS, offlineTimeout
	how.KeepWAL = how.ReadOnly && hasWAL(cfg.Path)
	conn, err := sqlite.Open(how)
	if err != nil {
		return nil, err
	}
	s, err := newStore(cfg, conn)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	conn.SetMode(sqlite.ModeInternal)
	return s, nil
}

// closeOffline ends what openOffline began.
func (s *Store) closeOffline() error {
	return errors.Join(s.writer.conn.Close(), s.lock.discard())
}

// readOurs reads what a database of ours says of itself, of whatever cluster, and
// changes nothing. Its schema is that of the next open, but for tables whose
// clocks are missing or those of another key.
func (w *writer) readOurs() error {
	ours, _, err := w.whose()
	if err != nil {
		return err
	}
	if !ours {
		return fmt.Errorf("%w: none of its tables is ours", ErrForeignFile)
	}
	cluster, _, err := w.readValue("cluster")
	if err != nil {
		return err
	}
	w.store.cfg.Cluster = cluster.Text()
	if _, err := w.checkOwnership(); err != nil {
		return err
	}
	if err := w.readMeta(); err != nil {
		return err
	}
	if w.schema, err = w.readOwnSchema(); err != nil {
		return fmt.Errorf("read the schema: %w", err)
	}
	return nil
}

// clockTableFault says what keeps t's clocks from being read, "" if nothing: a
// table of them is missing, or is of another key.
func (w *writer) clockTableFault(t *table) (missing, foreign bool, err error) {
	for name, want := range clockTables(t) {
		found := ""
		err := w.conn.Each("SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ? COLLATE NOCASE", []sqlite.Value{changeset.TextValue(name)}, func(st *sqlite.Stmt) error {
			found = string(st.View(0))
			return nil
		})
		if err != nil {
			return false, false, err
		}
		missing = missing || found == ""
		foreign = foreign || found != "" && foldName(found) != foldName(want)
	}
	return missing, foreign, nil
}
