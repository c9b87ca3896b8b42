package store

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/patinadb/patina/changeset"
)

// branches seals two histories of one actor, of n versions each, that have nothing in
// common but the actor.
func branches(t *testing.T, actor changeset.ActorID, n int) (mine, other []changeset.Sealed) {
	t.Helper()
	var a, b [][]changeset.TableChanges
	for v := range n {
		a = append(a, row("item", 1, v, "a", "mine"))
		b = append(b, row("item", 1, 100+v, "a", "other"))
	}
	return sealAll(t, actor, testTime(), a...), sealAll(t, actor, testTime(), b...)
}

// forgetLinks makes the store look into its log.
func (n *node) forgetLinks() {
	n.onWriter(func(w *writer) { w.links = make(recentLinks, keptLinks) })
}

// alarms counts log records by message.
type alarms struct {
	mu    sync.Mutex
	lines []string // guarded by mu
}

func (a *alarms) Write(b []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lines = append(a.lines, string(b))
	return len(b), nil
}

func (a *alarms) logger() *slog.Logger { return slog.New(slog.NewTextHandler(a, nil)) }

func (a *alarms) count(text string) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, line := range a.lines {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// TestForkIsShownByTheHashChain in every way in which two branches can meet.
func TestForkIsShownByTheHashChain(t *testing.T) {
	t.Parallel()
	actor := changeset.NewActorID()
	mine, other := branches(t, actor, 4)
	misfit := func(branch []changeset.Sealed, version int, table string, cells ...any) changeset.Sealed {
		t.Helper()
		s, err := changeset.Seal(&changeset.Changeset{
			Header: changeset.Header{Actor: actor, Version: changeset.Version(version), Time: testTime(), Previous: branch[version-2].Hash},
			Tables: row(table, 1, 50, cells...),
		})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	parked := misfit(mine, 3, "later", "v", "x")
	for _, test := range []struct {
		desc   string
		held   []changeset.Sealed
		arrive changeset.Sealed
		reason string // begins so; empty: no fork
	}{
		{"the same again", mine[:3], mine[1], ""},
		{"the next", mine[:3], mine[3], ""},
		{"the head again", mine[:3], mine[2], ""},
		{"one that closes a gap", []changeset.Sealed{mine[0], mine[2]}, mine[1], ""},
		{"one with neither neighbour here", []changeset.Sealed{mine[0]}, other[2], ""},
		{"another under a version in the log", mine[:3], other[1], "version 2 is "},
		{"another under version 1", mine[:3], other[0], "version 1 is "},
		{"another under the head", mine[:3], other[2], "version 3 is "},
		{"another under a parked version", []changeset.Sealed{mine[1], parked}, other[2], "version 3 is "},
		{"one that follows another head", mine[:3], other[3], "version 3 is "},
		{"one that follows another parked version", []changeset.Sealed{parked}, other[3], "version 3 is "},
		{"one that follows another version in the log", []changeset.Sealed{mine[0], other[2]}, other[1], "version 1 is "},
		{"one that is followed by another", []changeset.Sealed{mine[2]}, other[1], "version 3 here follows "},
		{"one that parks and follows another head", mine[:2], misfit(other, 3, "later", "v", "x"), "version 2 is "},
		{"one that does not fit and follows another head", mine[:2], misfit(other, 3, "item", "a", "x", "b", nil), "version 2 is "},
	} {
		for _, cold := range []bool{false, true} {
			t.Run(test.desc+map[bool]string{true: ", from the log"}[cold], func(t *testing.T) {
				log := &alarms{}
				n := start(t, Config{Schema: schemaOf(itemsSchema), Log: log.logger()})
				for _, s := range test.held {
					apply(t, n, s)
				}
				held, vector := n.content(), n.Vector()
				if cold {
					n.forgetLinks()
				}
				apply(t, n, test.arrive)
				apply(t, n, test.arrive)
				f := n.Forked()
				if marked := len(f) > 0; marked != (test.reason != "") || marked && (len(f) != 1 || f[0].Actor != actor || !strings.HasPrefix(f[0].Reason, test.reason)) {
					t.Errorf("forks %+v, want one that begins with %q", f, test.reason)
				}
				if n.Forks() != uint64(len(f)) || log.count("forked history") != len(f) {
					t.Errorf("%d forks counted, %d alarms for %d marks", n.Forks(), log.count("forked history"), len(f))
				}
				if !n.Vector().Holds(test.arrive.ID()) {
					t.Error("the changeset did not apply")
				}
				if vector.Holds(test.arrive.ID()) && n.content() != held {
					t.Errorf("a version that was held became another:\n%s\nwas\n%s", n.content(), held)
				}
			})
		}
	}
}

// TestOneHistoryIsNoFork in whatever order and however often it comes.
func TestOneHistoryIsNoFork(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		n := start(t, Config{Schema: schemaOf(itemsSchema), Readers: 1})
		mine, _ := branches(t, changeset.NewActorID(), 30)
		yours, _ := branches(t, changeset.NewActorID(), 30)
		all := append(append(append(append([]changeset.Sealed{}, mine...), mine[:9]...), yours...), yours[20:]...)
		r.Shuffle(len(all), func(a, b int) { all[a], all[b] = all[b], all[a] })
		for len(all) > 0 {
			k := 1 + r.IntN(min(len(all), 7))
			apply(t, n, all[:k]...)
			if all = all[k:]; r.IntN(4) == 0 {
				n.forgetLinks()
			}
		}
		if f := n.Forked(); len(f) > 0 {
			t.Fatalf("seed %d: forks %+v in one history", seed, f)
		}
		n.stop()
	}
}

// TestForkAmongWhatComesTogether: both branches in one batch.
func TestForkAmongWhatComesTogether(t *testing.T) {
	t.Parallel()
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	mine, other := branches(t, changeset.NewActorID(), 2)
	apply(t, n, mine[0], other[0], mine[1])
	if f := n.Forked(); len(f) != 1 || !strings.HasPrefix(f[0].Reason, "version 1 is ") {
		t.Errorf("forks %+v", f)
	}
	if got := n.query("SELECT a FROM item"); got != "'mine'\n'mine'" {
		t.Errorf("rows %s", got)
	}
}

// TestWhatIsNotInTheLogShowsNoFork: a pruned log proves nothing; the head does.
func TestWhatIsNotInTheLogShowsNoFork(t *testing.T) {
	t.Parallel()
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	n.damaged = true
	mine, other := branches(t, changeset.NewActorID(), 4)
	apply(t, n, mine[:3]...)
	n.onWriter(func(w *writer) {
		if err := w.transaction(func() error { return w.conn.Exec("DELETE FROM __patina_log") }); err != nil {
			t.Error(err)
		}
	})
	n.forgetLinks()
	apply(t, n, other[0], other[1])
	if f := n.Forked(); len(f) > 0 {
		t.Errorf("forks %+v without a log", f)
	}
	apply(t, n, other[2])
	if f := n.Forked(); len(f) != 1 {
		t.Errorf("forks %+v, want what the head shows", f)
	}
}

// TestForkOfOurOwnTakesANewActor: what we wrote stays ours to serve, under the id
// that it was written with.
func TestForkOfOurOwnTakesANewActor(t *testing.T) {
	t.Parallel()
	log := &alarms{}
	n := start(t, Config{Schema: schemaOf(itemsSchema), Log: log.logger()})
	old := n.Actor()
	first := n.exec("INSERT INTO item(id, a) VALUES(1, 'x')")
	n.exec("INSERT INTO item(id, a) VALUES(2, 'y')")
	_, other := branches(t, old, 2)
	apply(t, n, other[0])
	if n.Actor() == old || n.Renewals() != 1 || log.count("goes on under a new actor id") != 1 || log.count("forked history") != 1 {
		t.Fatalf("actor %v was %v, %d renewals, log %q", n.Actor(), old, n.Renewals(), log.lines)
	}
	select {
	case <-n.Renewed():
	default:
		t.Error("nobody was told")
	}
	if f := n.Forked(); len(f) != 1 || f[0].Actor != old {
		t.Errorf("forks %+v, want %v", f, old)
	}
	if id := n.exec("INSERT INTO item(id, a) VALUES(3, 'z')"); id.Actor != n.Actor() || id.Version != 1 {
		t.Errorf("next version %+v", id)
	}
	if s, err := n.Changeset(t.Context(), first); err != nil || s.Hash == other[0].Hash {
		t.Errorf("what we wrote as the old actor is served: %v", err)
	}
	if got := n.query("SELECT id FROM item"); got != "1\n2\n3" {
		t.Errorf("rows %s", got)
	}
	apply(t, n, other[1])
	if n.Renewals() != 1 || n.Forks() != 1 {
		t.Errorf("%d renewals, %d forks after more of the other branch", n.Renewals(), n.Forks())
	}
}

func TestForkMarkIsDurable(t *testing.T) {
	t.Parallel()
	cfg := Config{Path: filepath.Join(t.TempDir(), "n.db"), Schema: schemaOf(itemsSchema)}
	n := start(t, cfg)
	for range 3 {
		mine, other := branches(t, changeset.NewActorID(), 2)
		apply(t, n, mine[0], other[1])
	}
	want := n.Forked()
	if len(want) != 3 || want[0].Actor.Compare(want[1].Actor) >= 0 || want[1].Actor.Compare(want[2].Actor) >= 0 {
		t.Fatalf("forks %+v, want three in order", want)
	}
	n.stop()
	log := &alarms{}
	cfg.Log = log.logger()
	n = start(t, cfg)
	got := n.Forked()
	if len(got) != 3 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Errorf("forks %+v after a restart, were %+v", got, want)
	}
	if n.Forks() != 0 || log.count("forked history") != 0 {
		t.Errorf("%d forks counted anew", n.Forks())
	}
}

// TestForkMarkIsUndoneWithItsTransaction, in the file and in memory, and can be made
// again; of the new id that came with it nobody hears.
func TestForkMarkIsUndoneWithItsTransaction(t *testing.T) {
	t.Parallel()
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	own, failure := n.Actor(), errors.New("as if the disk failed")
	mark := func(result error) {
		t.Helper()
		n.onWriter(func(w *writer) {
			err := w.transaction(func() error {
				if err := w.markForked(own, "test"); err != nil {
					return err
				}
				return result
			})
			if !errors.Is(err, result) {
				t.Error(err)
			}
			w.announce()
		})
	}
	mark(failure)
	if f, stored := n.Forked(), n.internal("SELECT count(*) FROM __patina_fork"); len(f) != 0 || stored != "0" || n.Actor() != own || n.Renewals() != 0 {
		t.Fatalf("forks %+v, %s stored, actor %v was %v after a rollback", f, stored, n.Actor(), own)
	}
	if id := n.exec("INSERT INTO item(id) VALUES(1)"); id.Actor != own {
		t.Errorf("version %+v", id)
	}
	mark(nil)
	if f, stored := n.Forked(), n.internal("SELECT count(*) FROM __patina_fork"); len(f) != 1 || stored != "1" || n.Actor() == own {
		t.Errorf("forks %+v, %s stored, actor %v", f, stored, n.Actor())
	}
}

// TestFileFromBeforeForkMarksOpens: the table comes with the first open that knows it.
func TestFileFromBeforeForkMarksOpens(t *testing.T) {
	t.Parallel()
	cfg := Config{Path: filepath.Join(t.TempDir(), "n.db"), Schema: schemaOf(itemsSchema)}
	n := start(t, cfg)
	n.exec("INSERT INTO item(id) VALUES(1)")
	actor := n.Actor()
	n.stop()
	outside(t, cfg.Path, "DROP TABLE __patina_fork")
	n = start(t, cfg)
	mine, other := branches(t, changeset.NewActorID(), 2)
	apply(t, n, mine[0], other[1])
	if len(n.Forked()) != 1 || n.Actor() != actor || n.query("SELECT count(*) FROM item") != "3" {
		t.Errorf("forks %+v, actor %v was %v", n.Forked(), n.Actor(), actor)
	}
}
