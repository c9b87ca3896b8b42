package node_test

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset/sqlite"
	"github.com/patinadb/patina/node"
	"github.com/patinadb/patina/node/nodetest"
)

// TestOutsideReaderMakesWritesUnavailable at db.max_wal_bytes: 503 with the reason,
// shown in the status, until it ends. For the store a connection beside it is
// another process.
func TestOutsideReaderMakesWritesUnavailable(t *testing.T) {
	bubble(t, nodetest.Config{}, func(t *testing.T, c *nodetest.Cluster) {
		m := c.Add(func(cfg *node.Config) { cfg.DB.MaxWALBytes = 16 << 20 })
		m.Start()
		outside, err := sqlite.Open(sqlite.Config{Path: m.Path(), ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		defer outside.Close()
		read := func(sql string) {
			if err := outside.Each(sql, nil, func(*sqlite.Stmt) error { return nil }); err != nil {
				t.Fatal(err)
			}
		}
		read("BEGIN")
		read("SELECT count(*) FROM item")
		client := m.Listener().Client()
		write := func() (status int, retryAfter, body string) {
			const sql = `["INSERT OR REPLACE INTO item(id, a) VALUES(1, hex(randomblob(250000)))"]`
			res, err := client.Post("http://"+m.Listener().Addr().String()+"/v1/transactions", "application/json", strings.NewReader(sql))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			b, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			return res.StatusCode, res.Header.Get("Retry-After"), string(b)
		}
		status, retryAfter, body := 200, "", ""
		for n := 0; status == 200 && n < 100; n++ {
			status, retryAfter, body = write()
		}
		if status != 503 || retryAfter == "" || !strings.Contains(body, "db.max_wal_bytes is 16777216") || !strings.Contains(body, "another process") {
			t.Errorf("%d, Retry-After %q, %.300s", status, retryAfter, body)
		}
		c.Await("the reader is told of", 10*time.Second, func() bool { return m.Node().Status().WAL.OutsideRead > 0 })
		if w := m.Node().Status().WAL; w.Refused == "" || w.Bytes < 16<<20 || w.Bytes > 20<<20 || w.OutsideRead > 60 {
			t.Errorf("%+v", w)
		}
		read("COMMIT")
		c.Await("writes are taken", 10*time.Second, func() bool { status, _, _ := write(); return status == 200 })
		if w := m.Node().Status().WAL; w.Refused != "" || w.OutsideRead != 0 || w.Bytes > 4<<20 {
			t.Errorf("%+v", w)
		}
	})
}
