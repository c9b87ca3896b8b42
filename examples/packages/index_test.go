package main

import (
	"bytes"
	"compress/gzip"
	"os"
	"reflect"
	"strings"
	"testing"
)

const thousand = "../../testdata/dumpavail-1000.gz"

func openThousand(t *testing.T) *source {
	t.Helper()
	f, err := os.Open(thousand)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s, err := collect(readIndex(f))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRealIndexIsReadWhole(t *testing.T) {
	s := openThousand(t)
	if len(s.packages) != 1000 || s.repeated != 0 || s.rows != 1000+4603 {
		t.Errorf("%d packages, %d repeated, %d rows", len(s.packages), s.repeated, s.rows)
	}
	zeroAD := s.packages[0]
	if zeroAD.Name != "0ad" || zeroAD.Version != "0.0.26-3" || zeroAD.Architecture != "amd64" || zeroAD.Section != "games" ||
		zeroAD.Priority != "optional" || zeroAD.Size != 7891488 || zeroAD.Homepage != "https://play0ad.com/" ||
		zeroAD.Description != "Real-time strategy game of ancient warfare" {
		t.Errorf("0ad: %+v", zeroAD)
	}
	d := zeroAD.Dependencies
	if first := (dependency{"Depends", 1, 1, "0ad-data", ">= 0.0.26"}); len(d) != 27 || d[0] != first {
		t.Errorf("0ad depends on %d: %v", len(d), d)
	}
	if last := (dependency{"Pre-Depends", 1, 1, "dpkg", ">= 1.15.6~"}); d[len(d)-1] != last {
		t.Errorf("0ad: %v is last", d[len(d)-1])
	}
	common := s.packages[2]
	if or := (dependency{"Depends", 1, 2, "ttf-dejavu-core", ""}); common.Name != "0ad-data-common" || common.Dependencies[1] != or {
		t.Errorf("%s: %v", common.Name, common.Dependencies)
	}
	for i := 1; i < len(s.packages); i++ {
		if s.packages[i-1].Name >= s.packages[i].Name {
			t.Fatalf("not in order: %s, %s", s.packages[i-1].Name, s.packages[i].Name)
		}
	}
}

func read(text string) ([]pkg, error) {
	var list []pkg
	for p, err := range readIndex(strings.NewReader(text)) {
		if err != nil {
			return list, err
		}
		list = append(list, p)
	}
	return list, nil
}

func TestStanzasOfEveryShapeAreRead(t *testing.T) {
	got, err := read("\n\n" +
		"Package: a\nVersion: 1:2.0-1~b\nArchitecture: all\nTag: x,\n  y\nDescription: kurz: für Leute\n lang \n .\n\tZeile\nInstalled-Size: 3\n" +
		"\n \t\n" +
		"PACKAGE:b\nversion:1\narchitecture: amd64\nSize: 0\nDepends: libc6:any(>=2.34) | c , , d ( << 1 ) \nPre-Depends:")
	if err != nil {
		t.Fatal(err)
	}
	want := []pkg{
		{Name: "a", Version: "1:2.0-1~b", Architecture: "all", Description: "kurz: für Leute\nlang\n\nZeile", Size: -1},
		{Name: "b", Version: "1", Architecture: "amd64", Size: 0, Dependencies: []dependency{
			{"Depends", 1, 1, "libc6:any", ">=2.34"}, {"Depends", 1, 2, "c", ""}, {"Depends", 2, 1, "d", "<< 1"}}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got, err := read(""); got != nil || err != nil {
		t.Errorf("empty: %v, %v", got, err)
	}
}

func TestBrokenIndexIsRefusedWithItsLine(t *testing.T) {
	const key = "Package: a\nVersion: 1\nArchitecture: all\n"
	for _, c := range []struct{ desc, text, want string }{
		{"no field", key + "hello\n", `line 4: want a field such as Package: name, got "hello"`},
		{"blank in a name", key + "a b: c\n", `line 4: want a field such as Package: name, got "a b: c"`},
		{"no name", key + ": c\n", `line 4: want a field such as Package: name, got ": c"`},
		{"continuation of nothing", key + "\n x\n", `line 5: continuation of nothing: " x"`},
		{"field twice", key + "version: 2\n", "line 4: field version for the second time"},
		{"not UTF-8", key + "Section: \xff\n", `line 4: not UTF-8: "Section: \xff"`},
		{"no version", "\nPackage: a\nArchitecture: all\n\n" + key,
			`package of line 2: want Package, Version and Architecture, got "a", "", "all"`},
		{"size in words", key + "Size: big\n", `package of line 1: want bytes in Size, got "big"`},
		{"negative size", key + "Size: -1\n", `package of line 1: want bytes in Size, got "-1"`},
		{"relation without its end", key + "Depends: b (>= 1\n",
			`package of line 1: want a package and perhaps a relation in Depends, got "b (>= 1"`},
		{"empty alternative", key + "Depends: b |\n",
			`package of line 1: want a package and perhaps a relation in Depends, got ""`},
		{"line without end", key + "Section: " + strings.Repeat("x", maxLine), "line 4: bufio.Scanner: token too long"},
	} {
		list, err := read(c.text)
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: got %v after %d packages, want %s", c.desc, err, len(list), c.want)
		}
	}
}

func TestCutGzipIsAnError(t *testing.T) {
	whole, err := os.ReadFile(thousand)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{5, 100, len(whole) / 2, len(whole) - 1} {
		if _, err := collect(readIndex(bytes.NewReader(whole[:n]))); err == nil {
			t.Errorf("%d bytes of %d passed", n, len(whole))
		}
	}
	if _, err := collect(readIndex(bytes.NewReader(whole))); err != nil {
		t.Error(err)
	}
}

func TestRepeatedKeysAreCounted(t *testing.T) {
	const one = "Package: a\nVersion: 1\nArchitecture: all\n"
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write([]byte("Package: b\nVersion: 1\nArchitecture: all\n\n" + one + "Size: 1\n\n" + one + "Size: 2\n\n" +
		"Package: a\nVersion: 1\nArchitecture: i386\n\nPackage: a\nVersion: 0\nArchitecture: all\n"))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := collect(readIndex(&zipped))
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, p := range s.packages {
		keys = append(keys, p.Name+" "+p.Version+" "+p.Architecture)
	}
	if got := strings.Join(keys, ", "); got != "a 0 all, a 1 all, a 1 i386, b 1 all" || s.repeated != 1 || s.packages[1].Size != 1 {
		t.Errorf("%s; %d repeated", got, s.repeated)
	}
}
