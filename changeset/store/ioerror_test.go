package store

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/patinadb/patina/changeset/sqlite/faultdisk"
)

// TestFailingDisk fails writes and syncs of the disk under a running store. What was
// acknowledged stays, memory agrees with the database, and the store works after
// the fault is gone.
func TestFailingDisk(t *testing.T) {
	nth := 6
	if testing.Short() {
		nth = 2
	}
	for _, op := range []faultdisk.Op{faultdisk.Write, faultdisk.Sync} {
		for _, full := range []bool{false, true} {
			for _, lasting := range []bool{false, true} {
				t.Run(fmt.Sprintf("%v,full=%v,lasting=%v", op, full, lasting), func(t *testing.T) {
					failDisk(t, nth, faultdisk.Fault{Op: op, Full: full, Lasting: lasting})
				})
			}
		}
	}
}

func failDisk(t *testing.T, nth int, fault faultdisk.Fault) {
	r := rand.New(rand.NewPCG(1, 2))
	f := startFaulty(t)
	remote := foreign(t, r, 24)
	failed := 0
	for fault.Nth = 1; fault.Nth <= nth; fault.Nth++ {
		f.disk.Fail(fault)
		refused := 0
		for range 5 {
			if f.write(t, r, &remote) != nil {
				refused++
			}
		}
		hits := f.disk.Clear()
		failed += hits
		// The keeper's checkpoints meet the fault too, and no client's write fails.
		t.Logf("call %d: %d failed, %d writes refused", fault.Nth, hits, refused)
		if err := f.write(t, r, &remote); err != nil {
			t.Fatalf("after call %d the fault is gone, and still: %v", fault.Nth, err)
		}
		f.note(t)
		if err := f.checkPromised(f.node, f.disk.Point()); err != nil {
			t.Fatalf("after call %d: %v", fault.Nth, err)
		}
	}
	if failed == 0 {
		t.Error("no call failed")
	}
	f.restart(t)
	if err := f.checkPromised(f.node, f.disk.Point()); err != nil {
		t.Fatal(err)
	}
}
