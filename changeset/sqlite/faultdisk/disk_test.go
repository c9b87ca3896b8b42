package faultdisk

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"testing"

	"modernc.org/libc"
	"modernc.org/libc/sys/types"
	lib "modernc.org/sqlite/lib"
)

func newTestDisk(t *testing.T, img Image) *Disk {
	t.Helper()
	d, err := New(img)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// handle is an open file as SQLite has it.
type handle struct {
	t   *testing.T
	d   *Disk
	tls *libc.TLS
	p   uintptr // of its cFile, followed by 4 KiB for data
}

const dataAt = 64

func cName(name string) uintptr {
	p, err := libc.CString(name)
	if err != nil {
		panic(err)
	}
	return p
}

// open returns a handle, and SQLite's answer.
func open(t *testing.T, d *Disk, name string) (*handle, int32) {
	t.Helper()
	h := &handle{t: t, d: d, tls: libc.NewTLS()}
	h.p = libc.Xcalloc(h.tls, 1, types.Size_t(dataAt+4096))
	path := cName(name)
	rc := openC(h.tls, d.c.vfs, path, h.p, lib.SQLITE_OPEN_READWRITE|lib.SQLITE_OPEN_CREATE, 0)
	t.Cleanup(func() {
		if at[cFile](h.p).methods != 0 {
			closeC(h.tls, h.p)
		}
		libc.Xfree(h.tls, path)
		libc.Xfree(h.tls, h.p)
		h.tls.Close()
	})
	return h, rc
}

func mustOpen(t *testing.T, d *Disk, name string) *handle {
	t.Helper()
	h, rc := open(t, d, name)
	if rc != lib.SQLITE_OK {
		t.Fatalf("open %s: %d", name, rc)
	}
	return h
}

func (h *handle) write(data []byte, offset int64) int32 {
	copy(bytesAt(h.p+dataAt, int32(len(data))), data)
	return writeC(h.tls, h.p, h.p+dataAt, int32(len(data)), offset)
}

func (h *handle) read(n int, offset int64) ([]byte, int32) {
	rc := readC(h.tls, h.p, h.p+dataAt, int32(n), offset)
	return bytes.Clone(bytesAt(h.p+dataAt, int32(n))), rc
}

func (h *handle) sync() int32 { return syncC(h.tls, h.p, 0) }

func (h *handle) remove(durably int32) int32 {
	path := cName(fileOf(h.p).name)
	defer libc.Xfree(h.tls, path)
	return removeC(h.tls, h.d.c.vfs, path, durably)
}

func filled(b byte, n int) []byte { return bytes.Repeat([]byte{b}, n) }

// losses are the contents of a file after a power loss now, by many seeds.
func losses(d *Disk, name string, seeds uint64) (out [][]byte) {
	h := d.History()
	h.Forward(d.Point())
	for seed := range seeds {
		img := h.PowerLoss(seed)
		inode, ok := img.files[name]
		if !ok {
			out = append(out, nil)
			continue
		}
		out = append(out, append([]byte{}, img.data[inode]...))
	}
	return out
}

// TestSyncedStays whatever the seed, and all of it.
func TestSyncedStays(t *testing.T) {
	d := newTestDisk(t, Image{})
	h := mustOpen(t, d, "/a")
	h.write(filled(1, 2000), 0)
	h.write(filled(2, 700), 1000)
	truncateC(h.tls, h.p, 1900)
	h.sync()
	want := append(filled(1, 1000), append(filled(2, 700), filled(1, 200)...)...)
	for seed, got := range losses(d, "/a", 200) {
		if !bytes.Equal(got, want) {
			t.Fatalf("seed %d: %d bytes", seed, len(got))
		}
	}
}

// TestUnsyncedIsLostTornAndReordered: of what came after the last sync each seed
// keeps another part, and what was there before shows where nothing is kept.
func TestUnsyncedIsLostTornAndReordered(t *testing.T) {
	d := newTestDisk(t, Image{})
	h := mustOpen(t, d, "/a")
	h.write(filled(1, 4*sector), 0)
	h.sync()
	h.write(filled(2, 4*sector), 0)
	h.write(filled(3, 4*sector), 0)
	var none, all, older, torn, laterFirst int
	for _, got := range losses(d, "/a", 3000) {
		if len(got) != 4*sector {
			t.Fatalf("%d bytes", len(got))
		}
		var values []byte // at the begin of each sector
		for s := range 4 {
			b := got[s*sector : (s+1)*sector]
			values = append(values, b[0])
			if !bytes.Equal(b, filled(b[0], sector)) {
				torn++
			}
			for _, v := range b {
				if v < 1 || v > 3 {
					t.Fatalf("a byte %d that nobody wrote", v)
				}
			}
		}
		switch {
		case bytes.Equal(got, filled(1, len(got))):
			none++
		case bytes.Equal(got, filled(3, len(got))):
			all++
		}
		if bytes.Contains(values, []byte{2}) {
			older++ // the later write of this sector is lost, or came before
		}
		if values[0] == 1 && values[3] == 3 {
			laterFirst++
		}
	}
	for name, n := range map[string]int{"nothing kept": none, "all kept": all, "the older write": older, "torn sectors": torn, "a hole before what was kept": laterFirst} {
		if n < 30 {
			t.Errorf("%s: %d of 3000", name, n)
		}
	}
}

// TestNamesAreKeptInOrder: of two files that were made, the second alone is never
// there; a sync keeps the name of its file and those before it; a removal can be
// undone unless the folder was synced with it.
func TestNamesAreKeptInOrder(t *testing.T) {
	d := newTestDisk(t, Image{})
	a, b := mustOpen(t, d, "/a"), mustOpen(t, d, "/b")
	count := func() map[string]int {
		h := d.History()
		h.Forward(d.Point())
		out := map[string]int{}
		for seed := range uint64(300) {
			key := ""
			img := h.PowerLoss(seed)
			for _, name := range []string{"/a", "/b"} {
				if _, ok := img.files[name]; ok {
					key += name
				}
			}
			out[key]++
		}
		return out
	}
	has := func(want ...string) {
		t.Helper()
		got := count()
		for _, w := range want {
			if got[w] == 0 {
				t.Errorf("never %q: %v", w, got)
			}
			delete(got, w)
		}
		if len(got) > 0 {
			t.Errorf("and also %v", got)
		}
	}
	has("", "/a", "/a/b")
	b.sync()
	has("/a/b")
	a.remove(0)
	has("/a/b", "/b")
	b.remove(1)
	has("")
}

// TestFailedSyncMayLoseItsWrites, and a later sync does not bring them back, though
// reads see them.
func TestFailedSyncMayLoseItsWrites(t *testing.T) {
	lost, kept := 0, 0
	for i := range 60 {
		d := newTestDisk(t, Image{})
		h := mustOpen(t, d, "/a")
		h.write(filled(1, sector), 0)
		h.sync()
		for range i { // the moment decides
			h.write(filled(1, sector), 0)
			h.sync()
		}
		h.write(filled(2, sector), 0)
		d.Fail(Fault{Op: Sync, Nth: 1})
		if rc := h.sync(); rc != lib.SQLITE_IOERR_FSYNC {
			t.Fatalf("sync: %d", rc)
		}
		if rc := h.sync(); rc != lib.SQLITE_OK {
			t.Fatalf("sync again: %d", rc)
		}
		if got, _ := h.read(sector, 0); !bytes.Equal(got, filled(2, sector)) {
			t.Fatal("the write is not seen")
		}
		all := losses(d, "/a", 20)
		for _, got := range all[1:] {
			if !bytes.Equal(got, all[0]) {
				t.Fatal("the later sync settled nothing")
			}
		}
		switch {
		case bytes.Equal(all[0], filled(1, sector)):
			lost++
		case bytes.Equal(all[0], filled(2, sector)):
			kept++
		}
	}
	if lost == 0 || kept == 0 {
		t.Errorf("lost %d times, kept %d times", lost, kept)
	}
}

// TestPowerLossIsDeterministic: one seed and one point are one image.
func TestPowerLossIsDeterministic(t *testing.T) {
	d := newTestDisk(t, Image{})
	for _, name := range []string{"/a", "/b", "/c"} {
		h := mustOpen(t, d, name)
		h.write(filled(1, 3000), 0)
		h.sync()
		h.write(filled(2, 3000), 500)
	}
	differ := false
	var first Image
	for seed := range uint64(50) {
		x, y := d.History(), d.History()
		x.Forward(d.Point())
		for p := range d.Point() + 1 {
			y.Forward(p)
		}
		a, b := x.PowerLoss(seed), y.PowerLoss(seed)
		if !sameImage(a, b) {
			t.Fatalf("seed %d gives two images", seed)
		}
		if seed == 0 {
			first = a
		}
		differ = differ || !sameImage(first, a)
	}
	if !differ {
		t.Error("the seed decides nothing")
	}
}

func sameImage(a, b Image) bool {
	return maps.Equal(a.files, b.files) && maps.EqualFunc(a.data, b.data, bytes.Equal)
}

// TestImageIsADisk: what was left is durable on a disk made of it, and the image
// stays as it is.
func TestImageIsADisk(t *testing.T) {
	d := newTestDisk(t, Image{})
	h := mustOpen(t, d, "/a")
	h.write(filled(1, 1000), 0)
	h.sync()
	past := d.History()
	past.Forward(d.Point())
	img := past.PowerLoss(1)
	again := newTestDisk(t, img)
	g := mustOpen(t, again, "/a")
	if got, rc := g.read(1000, 0); rc != lib.SQLITE_OK || !bytes.Equal(got, filled(1, 1000)) {
		t.Fatalf("read: %d", rc)
	}
	g.write(filled(2, 1000), 0)
	for _, got := range losses(again, "/a", 50) {
		if len(got) != 1000 {
			t.Fatal("what was durable is lost")
		}
	}
	if !bytes.Equal(img.data[img.files["/a"]], filled(1, 1000)) {
		t.Error("the image was changed")
	}
	if _, size, err := again.Stat("/a"); size != 1000 || err != nil {
		t.Errorf("size %d, %v", size, err)
	}
	if _, _, err := again.Stat("/b"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("stat of no file: %v", err)
	}
}

// TestUnsyncedIsReordered: the earlier of two writes that overlap lies on top where
// both were kept.
func TestUnsyncedIsReordered(t *testing.T) {
	d := newTestDisk(t, Image{})
	h := mustOpen(t, d, "/a")
	h.write(filled(1, sector), 0)
	h.sync()
	h.write(filled(2, 300), 0)
	h.write(filled(3, 300), 200)
	earlier, later := 0, 0
	for _, got := range losses(d, "/a", 1000) {
		switch {
		case got[299] == 2 && got[300] == 3:
			earlier++
		case got[199] == 2 && got[200] == 3:
			later++
		}
	}
	if earlier < 30 || later < 30 {
		t.Errorf("the earlier on top %d times, the later %d times", earlier, later)
	}
}
