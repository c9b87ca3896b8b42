package sqlite

import (
	"testing"

	lib "modernc.org/sqlite/lib"
)

// cacheUsed returns the bytes that the connection's page caches hold.
func cacheUsed(c *Conn) int {
	n := (*[2]int32)(pointer(c.scratch + 32))
	lib.Xsqlite3_db_status(c.tls, c.db, lib.SQLITE_DBSTATUS_CACHE_USED, c.scratch+32, c.scratch+36, 0)
	return int(n[0])
}

// TestCachesAreSeparate: with one list for all, a full cache takes over the pages
// that others do not use at the moment, and grows beyond its size.
func TestCachesAreSeparate(t *testing.T) {
	if !cachesAreSeparate {
		t.Fatal("the library's page cache is not as separateCaches expects: connections share one, under a mutex")
	}
	path := newPath(t)
	idle := openWith(t, Config{Path: path, Create: true, CacheBytes: 8 << 20}, "CREATE TABLE t(a)",
		"INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 400) SELECT randomblob(3000) FROM n")
	small := openWith(t, Config{Path: path, CacheBytes: 100 << 10})
	const scan = "SELECT sum(length(a)) FROM t"
	want(t, query(t, idle, scan), "1200000")
	before := cacheUsed(idle)
	if before < 400*4096 {
		t.Fatalf("the first holds %d bytes of 400 pages", before)
	}
	for range 3 {
		want(t, query(t, small, scan), "1200000")
	}
	if n := cacheUsed(small); n > 200<<10 {
		t.Errorf("%d bytes in a cache of 100 KiB", n)
	}
	if after := cacheUsed(idle); after != before {
		t.Errorf("the other's reads took an idle cache from %d to %d bytes", before, after)
	}
}
