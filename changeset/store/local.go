package store

import (
	"fmt"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// What was left local when a file was adopted stays local, also if a later version
// of this program could hold it, or if somebody changes it so that this one can: its
// rows have no clocks, and nobody asked for them to travel. Each such table has a
// value local:NAME in __patina_meta, with the reason, for as long as it is there.

const localPrefix = "local:"

// readLocal returns the reasons by folded name.
func (w *writer) readLocal() (map[string]string, error) {
	local := map[string]string{}
	err := w.conn.Each("SELECT name, value FROM __patina_meta WHERE name >= 'local:' AND name < 'local;'", nil, func(st *sqlite.Stmt) error {
		local[string(st.View(0))[len(localPrefix):]] = string(st.View(1))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read what is local: %w", err)
	}
	return local, nil
}

// writeLocal records that the table of that name is local.
func (w *writer) writeLocal(name, reason string) error {
	return w.writeValue(localPrefix+foldName(name), changeset.TextValue(reason))
}

// readOwnSchema introspects the database and leaves out what is local or lost.
func (w *writer) readOwnSchema() (*schema, error) {
	s, err := readSchema(w.conn)
	if err != nil {
		return nil, err
	}
	local, err := w.readLocal()
	if err != nil {
		return nil, err
	}
	for name, reason := range local {
		if t := s.lookup(name); t != nil {
			s.exclude(t, reason)
		}
	}
	return s, w.findLost(s)
}

// forgetLocal takes note of local tables that somebody dropped: the name is free
// again. It runs in a transaction.
func (w *writer) forgetLocal(s *schema) error {
	local, err := w.readLocal()
	if err != nil {
		return err
	}
	for name := range local {
		if _, there := s.local[name]; there {
			continue
		}
		err := w.conn.Each("DELETE FROM __patina_meta WHERE name = ?", []sqlite.Value{changeset.TextValue(localPrefix + name)}, nil)
		if err != nil {
			return err
		}
	}
	return nil
}
