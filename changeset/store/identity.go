package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/hlc"
	"github.com/patinadb/patina/changeset/sqlite"
)

// Never may two different changesets live under one (actor, version). A file
// that was copied, restored or moved must therefore not go on writing as the
// actor it says: it takes a new id, and the old one becomes an ordinary foreign
// actor. A needless new id costs one entry in the vectors.
//
// What makes a continuing copy is recorded twice: in the file (its own inode,
// the machine, a counter of opens) and in a small sidecar beside it (actor,
// counter, head). Any mismatch means a copy.

// sidecar is the small file beside the database.
type sidecar struct {
	Actor changeset.ActorID `json:"actor"`
	Opens int64             `json:"opens"`
	Head  changeset.Version `json:"head"`
	// Order is that of the schema before Eject, which it makes again: see packer.
	Order []schemaEntry `json:"order,omitempty"`
}

func sidecarPath(db string) string { return db + "-id" }

// readSidecar returns the sidecar, or the zero one if there is none or it does
// not parse: both mean that we cannot prove to be the original.
func readSidecar(db string) sidecar {
	var s sidecar
	b, err := os.ReadFile(sidecarPath(db))
	if err != nil || json.Unmarshal(b, &s) != nil {
		return sidecar{}
	}
	return s
}

// writeSidecar replaces the sidecar atomically and durably.
func writeSidecar(db string, s sidecar) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	folder, err := os.Open(filepath.Dir(db))
	if err != nil {
		return err
	}
	defer folder.Close()
	// One name, so that a crash leaves no more than one behind; the lock of the
	// database covers it.
	f, err := os.OpenFile(sidecarPath(db)+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), sidecarPath(db))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return folder.Sync()
}

func (w *writer) saveSidecar() error {
	s := sidecar{Actor: w.meta.actor, Opens: w.meta.opens}
	if w.vector != nil {
		s.Head = w.vector.Entry(w.meta.actor).Applied.Last()
	}
	if err := writeSidecar(w.store.cfg.Path, s); err != nil {
		return fmt.Errorf("write %s: %w", sidecarPath(w.store.cfg.Path), err)
	}
	return nil
}

// machineIdentity names the machine where that is known, else "".
func machineIdentity() string {
	b, err := os.ReadFile("/etc/machine-id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// settleIdentity compares the records and takes a new actor id on a mismatch.
// It runs inside the transaction of open.
func (w *writer) settleIdentity() error {
	cfg := w.store.cfg
	file, err := cfg.stat(cfg.Path)
	if err != nil {
		return err
	}
	if !w.meta.created {
		if reason := w.copyReason(file.inode); reason != "" {
			old := w.meta.actor
			w.newIdentity(0)
			w.meta.copied = true
			w.store.renewals.Add(1)
			w.log.Warn("this database is a copy: it goes on under a new actor id", "actor", w.meta.actor, "err", reason+"; it was "+old.String())
		}
	}
	if err := w.writeValue("inode", changeset.TextValue(file.String())); err != nil {
		return err
	}
	return w.writeValue("identity", changeset.TextValue(cfg.Identity))
}

// newIdentity makes this copy another actor, whose timestamps start above mark.
func (w *writer) newIdentity(mark hlc.Timestamp) {
	w.meta.actor, w.meta.secret, w.meta.forced, w.meta.mark = changeset.NewActorID(), randomSecret(), 0, mark
}

// renewActor takes a new actor id inside the open transaction.
func (w *writer) renewActor() error {
	w.newIdentity(w.clock.Last())
	t := *w.actors
	t.self = w.meta.actor
	w.actors = &t
	return w.writeMeta()
}

// announceActor tells who listens to Renewed once a transaction with renewActor
// has committed.
func (w *writer) announceActor() {
	if w.actors.self == w.store.Actor() {
		return
	}
	w.store.renewals.Add(1)
	if err := w.saveSidecar(); err != nil {
		w.log.Warn("the identity file is stale: the next start takes another actor id", "err", err)
	}
	w.log.Warn("this node goes on under a new actor id", "actor", w.actors.self)
	w.publish() // before the notice: who gets it asks for Actor
	select {
	case w.store.renewed <- struct{}{}:
	default: // one notice is enough
	}
}

// Renewals counts the new actor ids that the store took since the start, at its
// open included.
func (s *Store) Renewals() uint64 { return s.renewals.Load() }

// Renewed yields after the store took a new actor id while it ran.
func (s *Store) Renewed() <-chan struct{} { return s.renewed }

// RenewActor takes a new actor id because somebody else lives under this one.
// Nothing happens if Actor is no longer old.
func (s *Store) RenewActor(ctx context.Context, old changeset.ActorID) (err error) {
	failed := s.do(ctx, func() {
		w := s.writer
		if w.actors.self != old {
			return
		}
		if err = w.transaction(w.renewActor); err == nil {
			w.announceActor()
		}
	})
	if failed != nil {
		return failed
	}
	return err
}

func (w *writer) copyReason(file inode) string {
	beside := readSidecar(w.store.cfg.Path)
	head, err := w.ownHead()
	switch {
	case err != nil:
		return err.Error()
	case beside.Actor == changeset.ActorID{}:
		return "no identity file beside it"
	case beside.Actor != w.meta.actor:
		return "the identity file beside it names another actor"
	case beside.Opens != w.meta.opens:
		return fmt.Sprintf("it was opened %d times, the file beside it says %d", w.meta.opens, beside.Opens)
	case head < beside.Head:
		return fmt.Sprintf("its head %d is below the recorded %d", head, beside.Head)
	}
	for name, now := range map[string]string{"inode": file.String(), "identity": w.store.cfg.Identity} {
		was, _, err := w.readValue(name)
		if err != nil {
			return err.Error()
		}
		if was.Text() != now {
			return fmt.Sprintf("%s %q is not the recorded %q", name, now, was.Text())
		}
	}
	return ""
}

// ownHead reads the highest version of our own actor in the log.
func (w *writer) ownHead() (head changeset.Version, err error) {
	err = w.conn.Each(`SELECT max(k) FROM __patina_log, (SELECT ord FROM __patina_actor WHERE id = ?)
		WHERE k BETWEEN ord << 40 AND (ord + 1 << 40) - 1`, []sqlite.Value{changeset.BlobValue(w.meta.actor[:])}, func(s *sqlite.Stmt) error {
		head = changeset.Version(s.Integer(0)) & changeset.MaxVersion
		return nil
	})
	return head, err
}
