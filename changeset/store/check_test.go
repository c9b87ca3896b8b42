package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// found prints the findings, a line each, with the first word of an example where
// the whole is not foreseeable.
func found(r *Report) string {
	var b strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%s: %s: %d", f.Table, f.What, f.Count)
		if f.Table != "" && f.What != WrongSum {
			fmt.Fprintf(&b, " %s", strings.Join(f.Examples, "; "))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func checked(t *testing.T, path string) *Report {
	t.Helper()
	r, err := Check(t.Context(), Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// lived makes a stopped node whose file has rows of every layout, living and
// deleted, of two actors, and something parked.
func lived(t *testing.T) (cfg Config) {
	t.Helper()
	n := start(t, Config{Path: filepath.Join(t.TempDir(), "n.db"), Schema: schemaOf(itemsSchema)})
	n.exec("INSERT INTO item(id, a) VALUES(1, 'x'), (2, 'y'), (3, 'z')", "INSERT INTO flag VALUES('f', 1), ('g', 2), ('h', 3)")
	n.exec("INSERT INTO service(region, name) VALUES('eu', 'web'), ('eu', 'db'), ('us', 'web')", "INSERT INTO edge VALUES('p', 'q'), ('q', 'r'), ('r', 's')")
	apply(t, n, sealAll(t, changeset.NewActorID(), testTime(), row("item", 1, 9, "a", "peer"), row("later", 1, 1))...)
	n.exec("DELETE FROM item WHERE id = 3", "DELETE FROM flag WHERE name = 'h'", "DELETE FROM service WHERE region = 'us'", "DELETE FROM edge WHERE a = 'r'", "UPDATE item SET b = 5 WHERE id = 1")
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	return n.cfg
}

func TestCheckFindsNothingInAHistory(t *testing.T) {
	t.Parallel()
	cfg := lived(t)
	r := checked(t, cfg.Path)
	if !r.Clean() || r.Tables != 4 || r.Rows != 9 || r.Clocks != 13 || r.Log != 4 || r.Parked != 1 {
		t.Errorf("%+v", r)
	}
}

// damages are what somebody did to the file of lived, and what Check says then.
var damages = []struct{ desc, sql, want string }{
	{"row inserted", "INSERT INTO item(id) VALUES(7)", "item: rows without a clock: 1 7\n"},
	{"row inserted by text key", "INSERT INTO flag VALUES('new', 1)", "flag: rows without a clock: 1 'new'\n"},
	{"row inserted by composite key", "INSERT INTO edge VALUES('a', 'b')", "edge: rows without a clock: 1 'a', 'b'\n"},
	{"row inserted without rowid", "INSERT INTO service(region, name) VALUES('a', 'b')", "service: rows without a clock: 1 'a', 'b'\n"},
	{"row deleted", "DELETE FROM item WHERE id = 2", "item: clocks of living rows without a row: 1 2\n"},
	{"row deleted by text key", "DELETE FROM flag WHERE name = 'g'", "flag: clocks of living rows without a row: 1 rowid 2\nflag: the clock sum that is kept is not that of the clocks: 1\n"},
	{"row deleted without rowid", "DELETE FROM service WHERE name = 'db'", "service: clocks of living rows without a row: 1 'eu', 'db'\n"},
	{"deleted row inserted", "INSERT INTO item(id) VALUES(3)", "item: clocks of deleted rows whose key has a row: 1 3\n"},
	{"deleted row inserted by text key", "INSERT INTO flag VALUES('h', 1)", "flag: clocks of deleted rows whose key has a row: 1 'h'\n"},
	{"deleted row inserted without rowid", "INSERT INTO service(region, name) VALUES('us', 'web')", "service: clocks of deleted rows whose key has a row: 1 'us', 'web'\n"},
	{"tombstone of a living row", "INSERT INTO __patina_tomb_flag SELECT 'f', m FROM __patina_tomb_flag", "flag: clocks of deleted rows whose key has a row: 1 'f'\nflag: the clock sum that is kept is not that of the clocks: 1\n"},
	{"rows renumbered", "UPDATE flag SET rowid = rowid + 100", "flag: rows without a clock: 2 'f'; 'g'\nflag: clocks of living rows without a row: 2 rowid 1; rowid 2\nflag: the clock sum that is kept is not that of the clocks: 1\n"},
	{"key changed", "UPDATE flag SET name = 'other' WHERE name = 'f'", "flag: clocks at the row of another key: 1 'other'\nflag: the clock sum that is kept is not that of the clocks: 1\n"},
	{"clock lost", "DELETE FROM __patina_clk_item WHERE id = 1", "item: rows without a clock: 1 1\nitem: the clock sum that is kept is not that of the clocks: 1\n"},
	{"clock cut", "UPDATE __patina_clk_item SET m = substr(m, 1, 5) WHERE id = 1", "item: clocks that cannot be read: 1 1\nitem: the clock sum that is kept is not that of the clocks: 1\n"},
	{"clock by rowid cut", "UPDATE __patina_clk_flag SET m = substr(m, 1, 12) WHERE rid = 1", "flag: clocks that cannot be read: 1 'f'\nflag: the clock sum that is kept is not that of the clocks: 1\n"},
	{"clock of a column that is not there", "UPDATE __patina_clk_item SET m = x'01' || x'7e' || substr(m, 3) WHERE id = 2", "item: clocks that cannot be read: 1 2\nitem: the clock sum that is kept is not that of the clocks: 1\n"},
	{"clock of an unknown actor", "UPDATE __patina_clk_item SET m = substr(m, 1, 10) || x'7f' || substr(m, 12) WHERE id = 2", "item: clocks that cannot be read: 1 2\nitem: the clock sum that is kept is not that of the clocks: 1\n"},
	{"clock of another time", "UPDATE __patina_clk_item SET m = substr(m, 1, 9) || x'00' || substr(m, 11) WHERE id = 2", "item: the clock sum that is kept is not that of the clocks: 1\n"},
	{"tombstone that lives", "UPDATE __patina_tomb_flag SET m = x'01' || substr(m, 2)", "flag: clocks that cannot be read: 1 'h'\nflag: the clock sum that is kept is not that of the clocks: 1\n"},
	{"no clock table", "DROP TABLE __patina_clk_edge", "edge: no table of clocks: 1 \n"},
	{"key that cannot replicate", "INSERT INTO edge VALUES('a', '" + strings.Repeat("x", changeset.MaxKeySize) + "')", "edge: rows whose key cannot replicate: 1 'a', '" + strings.Repeat("x", 120-6) + "…: the key has 65537 bytes, more than 65536\n"},
	{"sum changed", "UPDATE __patina_sum SET sum = zeroblob(16) WHERE name = 'edge'", "edge: the clock sum that is kept is not that of the clocks: 1\n"},
	{"sum that cannot be read", "UPDATE __patina_sum SET sum = x'00' WHERE name = 'edge'", "edge: the clock sum that is kept is not that of the clocks: 1\n"},
	{"log entry cut", "UPDATE __patina_log SET data = substr(data, 1, 40) WHERE k & 1099511627775 = 2", ": log entries that cannot be read: 1\n"},
	{"log entries exchanged", "UPDATE __patina_log SET data = (SELECT data FROM __patina_log ORDER BY k LIMIT 1) WHERE k & 1099511627775 = 2", ": log entries that cannot be read: 1\n"},
	{"newest log entry lost", "DELETE FROM __patina_log WHERE k = (SELECT max(k) FROM __patina_log WHERE k < 1 << 40)", ": what is recorded as applied is not what the log holds: 1\n"},
	{"older log entry lost", "DELETE FROM __patina_log WHERE k & 1099511627775 = 2 AND k < 1 << 40", ""},
	{"share in the sums cut", "UPDATE __patina_log SET sums = x'00' WHERE k & 1099511627775 = 2 AND k < 1 << 40", ": log entries that cannot be read: 1\n"},
	{"another head recorded", "UPDATE __patina_actor SET held = zeroblob(32) || substr(held, 33) WHERE ord = 0", ": what is recorded as applied is not what the log holds: 1\n"},
	{"what is applied cannot be read", "UPDATE __patina_actor SET held = x'00' WHERE ord = 1", ": what is recorded as applied is not what the log holds: 1\n"},
	{"parked that cannot be read", "INSERT INTO __patina_parked VALUES(99, x'00', 'why')", ": parked changesets that cannot be read: 1\n"},
}

func TestCheckFindsDamage(t *testing.T) {
	t.Parallel()
	for _, test := range damages {
		t.Run(test.desc, func(t *testing.T) {
			t.Parallel()
			cfg := lived(t)
			outside(t, cfg.Path, test.sql)
			if got := found(checked(t, cfg.Path)); got != test.want {
				t.Errorf("found\n%s, want\n%s", got, test.want)
			}
		})
	}
}

// TestCheckFindsABrokenChain: versions of one actor that two histories wrote, unless
// that is known of it.
func TestCheckFindsABrokenChain(t *testing.T) {
	t.Parallel()
	cfg := lived(t)
	actor := changeset.NewActorID()
	one := sealAll(t, actor, testTime(), row("item", 1, 50), row("item", 1, 51))
	other := sealAll(t, actor, testTime(), row("item", 1, 60), row("item", 1, 61))
	n := start(t, cfg)
	apply(t, n, one[0])
	apply(t, n, other[1])
	n.stop()
	if got := found(checked(t, cfg.Path)); got != "" || len(n.Forked()) != 1 {
		t.Errorf("found %s, marked %v", got, n.Forked())
	}
	for _, sql := range []string{"DELETE FROM __patina_fork", "DROP TABLE __patina_fork"} {
		outside(t, cfg.Path, sql)
		if got := found(checked(t, cfg.Path)); got != ": log entries that do not follow the one before: 1\n" {
			t.Errorf("found %s", got)
		}
	}
}

// TestCheckSeesDamagedPages, by SQLite's own check.
func TestCheckSeesDamagedPages(t *testing.T) {
	t.Parallel()
	cfg := lived(t)
	c, err := sqlite.Open(sqlite.Config{Path: cfg.Path, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	root := 0
	err = c.Each("SELECT rootpage FROM sqlite_schema WHERE name = 'item'", nil, func(st *sqlite.Stmt) error { root = int(st.Integer(0)); return nil })
	size, _ := c.PageSize()
	if err = errors.Join(err, c.Close()); err != nil || root == 0 {
		t.Fatal(root, err)
	}
	b, err := os.ReadFile(cfg.Path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range size / 2 {
		b[(root-1)*size+i] ^= 0x5a
	}
	if err := os.WriteFile(cfg.Path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := Check(t.Context(), cfg)
	if err != nil || r.Clean() || r.Findings[0].What != DamagedFile {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestCheckChangesNothing: no byte of the database or of a WAL that a crash left,
// and neither actor nor counter of opens.
func TestCheckChangesNothing(t *testing.T) {
	t.Parallel()
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	n.exec("INSERT INTO item(id, a) VALUES(1, 'x')")
	for _, test := range []struct{ desc, path string }{{"after a crash", snapshotOf(t, n)}, {"after a stop", lived(t).Path}} {
		before := hashFiles(t, test.path)
		if r := checked(t, test.path); !r.Clean() || r.Rows == 0 {
			t.Errorf("%s: %+v", test.desc, r)
		}
		if after := hashFiles(t, test.path); after != before {
			t.Errorf("%s: the files changed: %s, before %s", test.desc, after, before)
		}
	}
}

// hashFiles prints hashes of the database, of its -wal and of its identity file.
func hashFiles(t *testing.T, path string) (out string) {
	for _, suffix := range []string{"", "-wal", "-id"} {
		b, err := os.ReadFile(path + suffix)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		out += fmt.Sprintf("%d %x ", len(b), sha256.Sum256(b))
	}
	return out
}

func TestCheckRefuses(t *testing.T) {
	t.Parallel()
	running := start(t, Config{Schema: schemaOf(itemsSchema)})
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain.db")
	outside(t, plain, "CREATE TABLE a(b)")
	newer := lived(t).Path
	outside(t, newer, fmt.Sprintf("UPDATE __patina_meta SET value = %d WHERE name = 'format'", formatVersion+1))
	for _, test := range []struct {
		desc, path, want string
		is               error
	}{
		{"a node runs", running.cfg.Path, "stop that process first", ErrInUse},
		{"not ours", plain, "none of its tables is ours", ErrForeignFile},
		{"a newer format", newer, "", ErrNewerFormat},
		{"no file", filepath.Join(dir, "none.db"), "none.db", os.ErrNotExist},
	} {
		_, err := Check(t.Context(), Config{Path: test.path})
		if !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.desc, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "none.db*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Check(ctx, Config{Path: lived(t).Path}); err == nil {
		t.Error("checked although its context had ended")
	}
}

// checkFile checks the file that a store left. It runs at the end of every store
// of every test, but with -short: the race detector makes it minutes.
func (n *node) checkFile() {
	n.t.Helper()
	if testing.Short() || n.tampered || n.damaged || n.t.Failed() || n.cfg.VFS != "" || n.writer.lost != nil {
		return
	}
	r, err := Check(context.Background(), Config{Path: n.cfg.Path})
	if err != nil {
		n.t.Error(err)
		return
	}
	if !r.Clean() {
		n.t.Errorf("the file of a store disagrees with itself:\n%s", found(r))
	}
}
