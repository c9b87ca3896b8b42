package store

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset/sqlite"
)

const endless = "INSERT INTO item(id) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n WHERE i < 0"

// TestEndOfStatements: a statement that would hold up the stop ends with
// ErrStopped, its whole request is void, and short ones beside it are committed.
func TestEndOfStatements(t *testing.T) {
	n := start(t, Config{Schema: schemaOf(itemsSchema), StatementTimeout: time.Hour})
	n.EndStatements(time.Now().Add(200 * time.Millisecond))
	outcomes := n.together(
		[]sqlite.Statement{text("INSERT INTO item(id) VALUES(1)")},
		[]sqlite.Statement{text("INSERT INTO item(id) VALUES(2)"), text(endless)},
		[]sqlite.Statement{text("INSERT INTO item(id) VALUES(3)")},
	)
	if outcomes[0].failure() != "" || outcomes[2].failure() != "" || !errors.Is(outcomes[1].err, ErrStopped) {
		t.Errorf("outcomes %+v", outcomes)
	}
	if got := n.query("SELECT group_concat(id) FROM item"); got != "'1,3'" {
		t.Errorf("rows %s", got)
	}
}

func TestEndOfStatementsEndsSchemaChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n.db")
	n := start(t, Config{Path: path, Schema: schemaOf(itemsSchema)})
	n.exec("INSERT INTO item(id, a) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) SELECT i, 'x' FROM n")
	digest := n.SchemaDigest()
	const index = "CREATE INDEX item_by_a ON item(a)"
	n.EndStatements(time.Now())
	if _, _, err := n.Migrate(t.Context(), []sqlite.Statement{text(index)}); !errors.Is(err, ErrStopped) {
		t.Errorf("migration: %v, want ErrStopped", err)
	}
	if err := n.Reload(t.Context(), schemaOf(itemsSchema+index)); !errors.Is(err, ErrStopped) {
		t.Errorf("reload: %v, want ErrStopped", err)
	}
	if got := n.query("SELECT count(*) FROM pragma_index_list('item') WHERE name = 'item_by_a'"); got != "0" || n.SchemaDigest() != digest {
		t.Errorf("%s indexes, digest changed: %v", got, n.SchemaDigest() != digest)
	}
	n.stop()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s, err := Open(ctx, Config{Path: path, Schema: schemaOf(itemsSchema + index)}); !errors.Is(err, context.Canceled) {
		if err == nil {
			s.Close()
		}
		t.Errorf("open: %v, want context.Canceled", err)
	}
	n = start(t, Config{Path: path, Schema: schemaOf(itemsSchema + index)})
	if got := n.query("SELECT count(*) FROM item"); got != "20000" {
		t.Errorf("%s rows after it was made", got)
	}
}
