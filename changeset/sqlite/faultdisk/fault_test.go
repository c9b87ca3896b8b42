package faultdisk

import (
	"bytes"
	"testing"

	lib "modernc.org/sqlite/lib"
)

// call makes one call of a kind and returns SQLite's answer.
type call struct {
	op    Op
	do    func(h *handle) int32
	fails int32 // with an I/O error
	full  int32 // with a full disk
}

var calls = []call{
	{Open, func(h *handle) int32 { _, rc := open(h.t, h.d, "/a"); return rc }, lib.SQLITE_CANTOPEN, lib.SQLITE_FULL},
	{Read, func(h *handle) int32 { _, rc := h.read(10, 0); return rc }, lib.SQLITE_IOERR_READ, lib.SQLITE_IOERR_READ},
	{Write, func(h *handle) int32 { return h.write(filled(9, 10), 0) }, lib.SQLITE_IOERR_WRITE, lib.SQLITE_FULL},
	{Truncate, func(h *handle) int32 { return truncateC(h.tls, h.p, 100) }, lib.SQLITE_IOERR_TRUNCATE, lib.SQLITE_IOERR_TRUNCATE},
	{Sync, func(h *handle) int32 { return h.sync() }, lib.SQLITE_IOERR_FSYNC, lib.SQLITE_FULL},
	{Size, func(h *handle) int32 { return sizeC(h.tls, h.p, h.p+dataAt) }, lib.SQLITE_IOERR_FSTAT, lib.SQLITE_IOERR_FSTAT},
	{Access, func(h *handle) int32 {
		name := cName("/a")
		return accessC(h.tls, h.d.c.vfs, name, lib.SQLITE_ACCESS_EXISTS, h.p+dataAt)
	}, lib.SQLITE_IOERR_ACCESS, lib.SQLITE_IOERR_ACCESS},
	{Lock, func(h *handle) int32 {
		rc := lockC(h.tls, h.p, lib.SQLITE_LOCK_SHARED)
		unlockC(h.tls, h.p, lib.SQLITE_LOCK_NONE)
		return rc
	}, lib.SQLITE_IOERR_LOCK, lib.SQLITE_IOERR_LOCK},
	{ShmMap, func(h *handle) int32 { return shmMapC(h.tls, h.p, 0, 4096, 1, h.p+dataAt) }, lib.SQLITE_IOERR_SHMMAP, lib.SQLITE_IOERR_SHMMAP},
	{ShmLock, func(h *handle) int32 {
		const shared = lib.SQLITE_SHM_LOCK | lib.SQLITE_SHM_SHARED
		rc := shmLockC(h.tls, h.p, 3, 1, shared)
		shmLockC(h.tls, h.p, 3, 1, lib.SQLITE_SHM_UNLOCK|lib.SQLITE_SHM_SHARED)
		return rc
	}, lib.SQLITE_IOERR_SHMLOCK, lib.SQLITE_IOERR_SHMLOCK},
	{Delete, func(h *handle) int32 {
		mustOpen(h.t, h.d, "/gone")
		name := cName("/gone")
		return removeC(h.tls, h.d.c.vfs, name, 0)
	}, lib.SQLITE_IOERR_DELETE, lib.SQLITE_IOERR_DELETE},
}

func faultTarget(t *testing.T) *handle {
	h := mustOpen(t, newTestDisk(t, Image{}), "/a")
	h.write(filled(1, 1000), 0)
	if rc := shmMapC(h.tls, h.p, 0, 4096, 1, h.p+dataAt); rc != lib.SQLITE_OK {
		t.Fatal(rc)
	}
	return h
}

// TestFaultHitsTheCallItIsTold: the n-th of its kind, or all from there on, until
// Clear; no other kind, and no other file.
func TestFaultHitsTheCallItIsTold(t *testing.T) {
	if len(calls) != int(opCount) {
		t.Fatalf("%d of %d kinds", len(calls), opCount)
	}
	for _, c := range calls {
		t.Run(c.op.String(), func(t *testing.T) {
			for _, full := range []bool{false, true} {
				checkFault(t, c, Fault{Op: c.op, Nth: 3, Full: full})
				checkFault(t, c, Fault{Op: c.op, Nth: 3, Full: full, Lasting: true})
			}
		})
	}
}

// checkFault makes five calls of the fault's kind among others.
func checkFault(t *testing.T, c call, fault Fault) {
	t.Helper()
	h := faultTarget(t)
	failure, hits := c.fails, 1
	if fault.Full {
		failure = c.full
	}
	if fault.Lasting {
		hits = 3
	}
	h.d.Fail(fault)
	before := h.d.Count(c.op)
	for i := 1; i <= 5; i++ {
		want := int32(lib.SQLITE_OK)
		if i == 3 || i > 3 && fault.Lasting {
			want = failure
		}
		for _, other := range calls {
			opens := other.op == Delete && c.op == Open // which is a call too
			if other.op == c.op || opens {
				continue
			}
			if rc := other.do(h); rc != lib.SQLITE_OK {
				t.Errorf("%v: %d", other.op, rc)
			}
		}
		if rc := c.do(h); rc != want {
			t.Errorf("call %d, %+v: %d, want %d", i, fault, rc, want)
		}
	}
	if n := h.d.Count(c.op) - before; n != 5 {
		t.Errorf("%d calls", n)
	}
	if h.d.Hits() != hits || h.d.Clear() != hits || h.d.Hits() != 0 {
		t.Errorf("hits are not %d", hits)
	}
	if rc := c.do(h); rc != lib.SQLITE_OK {
		t.Errorf("after Clear: %d", rc)
	}
}

// TestFaultOfAnyKind counts all calls together.
func TestFaultOfAnyKind(t *testing.T) {
	for nth := 1; nth <= 4; nth++ {
		h := faultTarget(t)
		before := h.d.Count(Any)
		h.d.Fail(Fault{Op: Any, Nth: nth})
		var got []int32
		for _, c := range calls[1:5] {
			got = append(got, c.do(h))
		}
		for i, rc := range got {
			if (rc != lib.SQLITE_OK) != (i+1 == nth) {
				t.Errorf("call %d of the fault at %d: %d", i+1, nth, rc)
			}
		}
		if n := h.d.Count(Any) - before; n != 4 {
			t.Errorf("%d calls", n)
		}
	}
}

// TestFaultOfOneFile leaves the others alone, and does not count their calls.
func TestFaultOfOneFile(t *testing.T) {
	d := newTestDisk(t, Image{})
	a, b := mustOpen(t, d, "/a"), mustOpen(t, d, "/b")
	d.Fail(Fault{Op: Write, Name: "/b", Nth: 2})
	for i, want := range []int32{lib.SQLITE_OK, lib.SQLITE_IOERR_WRITE, lib.SQLITE_OK} {
		if rc := a.write(filled(1, 10), 0); rc != lib.SQLITE_OK {
			t.Errorf("write %d of /a: %d", i, rc)
		}
		if rc := b.write(filled(1, 10), 0); rc != want {
			t.Errorf("write %d of /b: %d, want %d", i, rc, want)
		}
	}
}

// TestFailedWriteLeavesHalf of its data, in the file and after a power loss.
func TestFailedWriteLeavesHalf(t *testing.T) {
	d := newTestDisk(t, Image{})
	h := mustOpen(t, d, "/a")
	h.write(filled(1, 1000), 0)
	d.Fail(Fault{Op: Write, Nth: 1, Full: true})
	h.write(filled(2, 1000), 0)
	h.sync()
	want := append(filled(2, 500), filled(1, 500)...)
	if got, _ := h.read(1000, 0); !bytes.Equal(got, want) {
		t.Error("the file holds something else")
	}
	if got := losses(d, "/a", 1)[0]; !bytes.Equal(got, want) {
		t.Error("the disk holds something else")
	}
}
