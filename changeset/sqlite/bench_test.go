package sqlite

import (
	"testing"

	"github.com/patinadb/patina/changeset"
)

const benchTable = "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b INTEGER, c REAL)"

// One row per iteration, a thousand rows per transaction.
func BenchmarkInsert(b *testing.B) {
	for _, bb := range []struct {
		desc string
		hook func(*Preupdate)
		mode Mode
	}{
		{"plain", nil, ModeInternal},
		{"apply", nil, ModeApply},
		{"muted hook", func(*Preupdate) {}, ModeInternal},
		{"hook reads the row", func(p *Preupdate) {
			_ = p.Table()
			for i := range p.Count() {
				if _, err := p.New(i); err != nil {
					b.Fatal(err)
				}
			}
		}, ModeInternal},
	} {
		b.Run(bb.desc, func(b *testing.B) {
			c := openMemory(b, benchTable)
			if bb.hook != nil {
				c.SetPreupdate(bb.hook)
			}
			c.MutePreupdate(bb.desc == "muted hook")
			c.SetMode(bb.mode)
			s, err := c.Cached("INSERT INTO t(a, b, c) VALUES(?, ?, ?)")
			if err != nil {
				b.Fatal(err)
			}
			text, real := changeset.TextValue("sixteen bytes ok"), changeset.RealValue(1.5)
			mustExec(b, c, "BEGIN")
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if s.Bind(1, text) != nil || s.BindInteger(2, int64(i)) != nil || s.Bind(3, real) != nil {
					b.Fatal("bind")
				}
				if err := s.Run(); err != nil {
					b.Fatal(err)
				}
				if i%1000 == 999 {
					mustExec(b, c, "COMMIT; BEGIN")
				}
			}
		})
	}
}

// One row per iteration.
func BenchmarkScan(b *testing.B) {
	c := openMemory(b, benchTable, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n LIMIT 10000) INSERT INTO t SELECT i, 'sixteen bytes ok', i, 1.5 FROM n")
	for _, bb := range []struct {
		desc string
		read func(*Stmt)
	}{
		{"views", func(s *Stmt) { _, _, _, _ = s.Integer(0), s.View(1), s.Integer(2), s.Real(3) }},
		{"copies", func(s *Stmt) { _, _, _, _ = s.Column(0), s.Column(1), s.Column(2), s.Column(3) }},
	} {
		b.Run(bb.desc, func(b *testing.B) {
			s, err := c.Cached("SELECT id, a, b, c FROM t")
			if err != nil {
				b.Fatal(err)
			}
			defer s.Reset()
			b.ReportAllocs()
			for b.Loop() {
				row, err := s.Step()
				if err != nil {
					b.Fatal(err)
				}
				if row {
					bb.read(s)
				}
			}
		})
	}
}

func BenchmarkCached(b *testing.B) {
	c := openMemory(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Each("SELECT 1", nil, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPrepare(b *testing.B) {
	c := openMemory(b, benchTable)
	for _, m := range []Mode{ModeInternal, ModeWrite} {
		b.Run(m.String(), func(b *testing.B) {
			c.SetMode(m)
			b.ReportAllocs()
			for b.Loop() {
				s, _, err := c.Prepare("UPDATE t SET a = upper(?), b = b + 1 WHERE id = ?")
				if err != nil {
					b.Fatal(err)
				}
				s.Finalize()
			}
		})
	}
}
