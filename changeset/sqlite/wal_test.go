package sqlite

import (
	"path/filepath"
	"testing"
)

func TestWALFramesFollowCommits(t *testing.T) {
	c, err := Open(Config{Path: filepath.Join(t.TempDir(), "a.db"), Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Exec("CREATE TABLE t(a); INSERT INTO t VALUES(zeroblob(40000))"); err != nil {
		t.Fatal(err)
	}
	before := c.WALFrames()
	if before < 10 {
		t.Fatalf("%d frames after ten pages were written", before)
	}
	if err := c.Exec("INSERT INTO t VALUES(zeroblob(40000))"); err != nil {
		t.Fatal(err)
	}
	if after := c.WALFrames(); after < before+10 {
		t.Errorf("%d frames, then %d", before, after)
	}
	if _, _, err := c.Checkpoint(true); err != nil {
		t.Fatal(err)
	}
	if err := c.Exec("INSERT INTO t VALUES(1)"); err != nil {
		t.Fatal(err)
	}
	if after := c.WALFrames(); after >= before {
		t.Errorf("%d frames after the WAL started over", after)
	}
}
