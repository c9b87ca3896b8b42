package store

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/hlc"
	"github.com/patinadb/patina/changeset/sqlite"
)

// formatVersion numbers the layout of the internal tables. A file of another one
// is refused.
const formatVersion = 2

// internalPrefix begins the name of every table of ours. Client SQL can neither
// read nor write such tables, and schemas cannot define them.
const internalPrefix = "__patina_"

// metaSchema is everything but the clock tables, which come and go with the
// user's tables (see clockTable). Log keys are ordinal<<40 | version.
const metaSchema = `
CREATE TABLE IF NOT EXISTS __patina_meta(name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS __patina_actor(ord INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, held BLOB);
CREATE TABLE IF NOT EXISTS __patina_log(k INTEGER PRIMARY KEY, sums BLOB NOT NULL, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS __patina_sum(ord INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, columns BLOB NOT NULL, sum BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS __patina_parked(k INTEGER PRIMARY KEY, data BLOB NOT NULL, reason TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS __patina_fork(id BLOB PRIMARY KEY, reason TEXT NOT NULL) WITHOUT ROWID;
`

// meta is what the file says of itself.
type meta struct {
	actor   changeset.ActorID
	opens   int64    // counts opens of this copy
	epoch   uint64   // see Store.Epoch
	secret  [32]byte // see Store.Secret
	created bool     // by this open
	copied  bool     // the file is not the one that was closed: see rekeyAll
	// forced is the last version of ours whose time was pushed beyond what the
	// clock said, to dominate a stamp far ahead; mark is the clock's own time
	// then. Later versions carry the clock's time themselves.
	forced changeset.Version
	mark   hlc.Timestamp
}

// openMeta creates or checks the internal tables and settles who we are.
func (w *writer) openMeta() error {
	w.conn.SetMode(sqlite.ModeInternal)
	if err := w.conn.Exec("BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("lock for writing: %w", err)
	}
	if err := w.settleMeta(); err != nil {
		return w.rollback(err)
	}
	if err := w.conn.Exec("COMMIT"); err != nil {
		return w.rollback(err)
	}
	return w.saveSidecar()
}

func (w *writer) settleMeta() error {
	cfg := w.store.cfg
	fresh, err := w.checkOwnership()
	if err != nil {
		return err
	}
	if fresh {
		if err := w.checkSurvey(); err != nil {
			return err
		}
	}
	if err := w.conn.Exec(metaSchema); err != nil { // a table can be newer than the file
		return err
	}
	if fresh {
		w.meta = meta{actor: changeset.NewActorID(), secret: randomSecret(), created: true}
		if err := w.writeValue("format", changeset.IntegerValue(formatVersion)); err != nil {
			return err
		}
		if err := w.writeValue("cluster", changeset.TextValue(cfg.Cluster)); err != nil {
			return err
		}
		if err := w.beginAdoption(); err != nil {
			return err
		}
	} else if err := w.readMeta(); err != nil {
		return err
	}
	if err := w.settleIdentity(); err != nil {
		return err
	}
	w.meta.opens++
	w.meta.epoch = max(w.meta.epoch+1, uint64(cfg.Now().UnixMilli()))
	return w.writeMeta()
}

// enterWAL puts the file into WAL mode, unless it is somebody else's: that keeps the
// mode that it has.
func (w *writer) enterWAL() error {
	if _, err := w.isFresh(); err != nil {
		return err
	}
	return w.conn.EnterWAL()
}

// isFresh tells a file that has nothing of ours, and of nobody else unless it is
// being adopted, from one of ours, and refuses all others.
func (w *writer) isFresh() (fresh bool, err error) {
	ours, foreign, err := w.whose()
	if err == nil && !ours && foreign && w.store.cfg.adopt == nil {
		err = fmt.Errorf("%w: it has tables already; patina adopt makes it one, or start with a new file", ErrForeignFile)
	}
	return !ours, err
}

// whose reports whether the file has our internal tables, and tables of somebody
// else. A name of ours in a file that is not is an error: it would be taken for ours
// from then on.
func (w *writer) whose() (ours, foreign bool, err error) {
	reserved := ""
	err = w.conn.Each("SELECT type, name FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'", nil, func(s *sqlite.Stmt) error {
		kind, name := columnText(s, 0), columnText(s, 1)
		switch {
		case kind == "table" && name == "__patina_meta":
			ours = true
		case hasPrefixFold(name, internalPrefix):
			reserved = kind + " " + name
		case kind == "table":
			foreign = true
		}
		return nil
	})
	if ours && err == nil {
		if ours, err = w.isMeta(); !ours {
			reserved = "table __patina_meta"
		}
	}
	if err == nil && !ours && reserved != "" {
		err = fmt.Errorf("%w, but it has the %s: names that begin with %s are reserved", ErrForeignFile, reserved, internalPrefix)
	}
	return ours, foreign, err
}

// isMeta tells our table of that name, whatever its format, from somebody else's.
func (w *writer) isMeta() (ours bool, err error) {
	var columns []string
	err = w.conn.Each("SELECT name FROM pragma_table_xinfo('__patina_meta')", nil, func(st *sqlite.Stmt) error {
		columns = append(columns, columnText(st, 0))
		return nil
	})
	if err != nil || !slices.Equal(columns, []string{"name", "value"}) {
		return false, err
	}
	err = w.conn.Each("SELECT 1 FROM __patina_meta WHERE name = 'format' AND typeof(value) = 'integer'", nil, func(*sqlite.Stmt) error {
		ours = true
		return nil
	})
	return ours, err
}

// checkOwnership tells a fresh file from one of ours and refuses all others.
func (w *writer) checkOwnership() (fresh bool, err error) {
	if fresh, err = w.isFresh(); fresh || err != nil {
		return fresh, err
	}
	if err := w.checkFormat(); err != nil {
		return false, err
	}
	cluster, _, err := w.readValue("cluster")
	if err != nil {
		return false, err
	}
	if c := cluster.Text(); c != w.store.cfg.Cluster {
		return false, fmt.Errorf("%w: it belongs to cluster %q, this node to %q", ErrForeignCluster, c, w.store.cfg.Cluster)
	}
	return false, w.checkAdopting()
}

// checkFormat refuses a file of ours whose internal tables have another layout.
func (w *writer) checkFormat() error {
	format, _, err := w.readValue("format")
	if err != nil {
		return err
	}
	if n := format.Integer(); n > formatVersion {
		return fmt.Errorf("%w: format %d, this program reads up to %d", ErrNewerFormat, n, formatVersion)
	} else if n < formatVersion {
		return fmt.Errorf("%w: format %d, this program reads %d; start the node with a new file, to which its peers bring the data", ErrOlderFormat, n, formatVersion)
	}
	return nil
}

func (w *writer) readMeta() error {
	blob := func(name string, into []byte) error {
		v, ok, err := w.readValue(name)
		if err == nil && (!ok || copy(into, v.Bytes()) != len(into)) {
			err = fmt.Errorf("internal table __patina_meta has no valid %q", name)
		}
		return err
	}
	if err := blob("actor", w.meta.actor[:]); err != nil {
		return err
	}
	if err := blob("secret", w.meta.secret[:]); err != nil {
		return err
	}
	number := func(name string, into *uint64) error {
		v, _, err := w.readValue(name)
		*into = uint64(v.Integer())
		return err
	}
	var opens, forced, mark uint64
	for name, into := range map[string]*uint64{"opens": &opens, "epoch": &w.meta.epoch, "forced": &forced, "mark": &mark} {
		if err := number(name, into); err != nil {
			return err
		}
	}
	w.meta.opens, w.meta.forced, w.meta.mark = int64(opens), changeset.Version(forced), hlc.Timestamp(mark)
	return nil
}

func (w *writer) writeMeta() error {
	m := &w.meta
	values := []struct {
		name  string
		value sqlite.Value
	}{
		{"actor", changeset.BlobValue(m.actor[:])},
		{"secret", changeset.BlobValue(m.secret[:])},
		{"opens", changeset.IntegerValue(m.opens)},
		{"epoch", changeset.IntegerValue(int64(m.epoch))},
		{"forced", changeset.IntegerValue(int64(m.forced))},
		{"mark", changeset.IntegerValue(int64(m.mark))},
	}
	for _, v := range values {
		if err := w.writeValue(v.name, v.value); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) readValue(name string) (v sqlite.Value, ok bool, err error) {
	err = w.conn.Each("SELECT value FROM __patina_meta WHERE name = ?", []sqlite.Value{changeset.TextValue(name)}, func(s *sqlite.Stmt) error {
		v, ok = s.Column(0), true
		return nil
	})
	return v, ok, err
}

func (w *writer) writeValue(name string, v sqlite.Value) error {
	return w.conn.Each("INSERT OR REPLACE INTO __patina_meta VALUES(?, ?)", []sqlite.Value{changeset.TextValue(name), v}, nil)
}

// timeMark returns the timestamp that the clock must stay above after a restart,
// also when the wall clock was set back: our newest version's, unless that one
// was forced ahead (meta.forced).
func (w *writer) timeMark() (hlc.Timestamp, error) {
	head := w.vector.Entry(w.meta.actor).Applied.Last()
	if head == 0 || head == w.meta.forced {
		return w.meta.mark, nil
	}
	sealed, err := w.readLog(changeset.ID{Actor: w.meta.actor, Version: head})
	return max(sealed.Time, w.meta.mark), err
}

// saveOnClose saves the state, so that the next open reads no log, and records
// the head beside the file, so that a restored older copy is recognised then.
func (w *writer) saveOnClose() error {
	if w.clock == nil {
		return nil // open failed
	}
	if w.unsaved > 0 && w.refused == nil && w.lost == nil {
		if err := w.transaction(w.saveState); err != nil {
			w.log.Warn("the state of the log was not saved: the next start reads it from there", "err", err)
		}
	}
	return w.saveSidecar()
}

// actorTable maps actors to the small ordinals that internal tables use for
// them. It is replaced, never changed, so that readers can share it.
type actorTable struct {
	self changeset.ActorID
	ids  []changeset.ActorID // by ordinal
	ords map[changeset.ActorID]int
}

// logKey is the key of id in the log and among the parked.
func logKey(ord int, v changeset.Version) int64 { return int64(ord)<<40 | int64(v) }

func (t *actorTable) splitKey(k int64) (changeset.ID, bool) {
	ord := int(k >> 40)
	if ord < 0 || ord >= len(t.ids) {
		return changeset.ID{}, false
	}
	return changeset.ID{Actor: t.ids[ord], Version: changeset.Version(k) & changeset.MaxVersion}, true
}

func (t *actorTable) key(id changeset.ID) (int64, bool) {
	ord, ok := t.ords[id.Actor]
	return logKey(ord, id.Version), ok
}

func (t *actorTable) with(a changeset.ActorID) *actorTable {
	n := &actorTable{self: t.self, ids: append(t.ids[:len(t.ids):len(t.ids)], a), ords: make(map[changeset.ActorID]int, len(t.ids)+1)}
	for i, id := range n.ids {
		n.ords[id] = i
	}
	return n
}

// ordinal returns the ordinal of a, giving it one inside the open transaction
// if it has none. A rollback must restore w.actors (see transaction).
func (w *writer) ordinal(a changeset.ActorID) (int, error) {
	if ord, ok := w.actors.ords[a]; ok {
		return ord, nil
	}
	ord := len(w.actors.ids)
	err := w.conn.Each("INSERT INTO __patina_actor(ord, id) VALUES(?, ?)", []sqlite.Value{changeset.IntegerValue(int64(ord)), changeset.BlobValue(a[:])}, nil)
	if err != nil {
		return 0, fmt.Errorf("give actor %v an ordinal: %w", a, err)
	}
	w.actors = w.actors.with(a)
	return ord, nil
}

// appendStamp writes a stamp with the actor's ordinal: 8 bytes of time, then
// two uvarints.
func (t *actorTable) appendStamp(b []byte, s changeset.Stamp) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(s.Time))
	b = binary.AppendUvarint(b, uint64(t.ords[s.Actor]))
	return binary.AppendUvarint(b, uint64(s.Version))
}
