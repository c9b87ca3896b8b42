package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// makeTLS makes a CA and a node's certificate in a folder of their own.
func makeTLS(t *testing.T, name string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	mustPatina(t, "tls", "ca", "--dir", dir)
	mustPatina(t, "tls", "cert", "--dir", dir, "--ca", filepath.Join(dir, "ca.crt"), "--ca-key", filepath.Join(dir, "ca.key"), name)
	return dir
}

func mustPatina(t *testing.T, args ...string) (out string) {
	t.Helper()
	status, out, errs := patina(t, "", args...)
	if status != 0 {
		t.Fatalf("patina %q: %s", args, errs)
	}
	return out
}

func TestKeysAreTheOwnersAlone(t *testing.T) {
	dir := makeTLS(t, "web-1")
	for name, mode := range map[string]os.FileMode{"ca.key": 0o600, "web-1.key": 0o600, "ca.crt": 0o644, "web-1.crt": 0o644} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm()&^mode != 0 {
			t.Errorf("%s: %v, %v, want %v", name, info.Mode(), err, mode)
		}
	}
}

func TestTLSFilesAreNeverWrittenOver(t *testing.T) {
	dir := makeTLS(t, "web-1")
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	cert := []string{"tls", "cert", "--dir", dir, "--ca", filepath.Join(dir, "ca.crt"), "--ca-key", filepath.Join(dir, "ca.key")}
	ca, key := read("ca.key"), read("web-1.key")
	for _, c := range []struct {
		desc string
		args []string
		want string
	}{
		{"CA again", []string{"tls", "ca", "--dir", dir}, "ca.key: file exists"},
		{"certificate again", append(cert, "web-1"), "web-1.key: file exists"},
		{"the CA's own name", append(cert, "ca"), `"ca" is no node's name`},
		{"a path", append(cert, "../x"), `"../x" is no node's name`},
		{"no name", cert, "takes one NAME"},
		{"longer than the CA", append(cert, "--days", "36500", "web-2"), "the CA only until"},
		{"no day", append(cert, "--days", "0", "web-2"), "--days 0 is out of range"},
		{"no CA", []string{"tls", "cert", "--dir", dir, "--ca", dir + "/no.crt", "x"}, `"patina tls ca" makes one`},
		{"a CA that is none", append(cert, "--ca", filepath.Join(dir, "web-1.crt"), "--ca-key", filepath.Join(dir, "web-1.key"), "x"), "not that of an authority"},
		{"bad cluster", append(cert, "--cluster", "a/b", "x"), `cluster "a/b"`},
		{"no verb", []string{"tls", "crt"}, "there are tls ca and tls cert"},
		{"unknown flag", []string{"tls", "ca", "--day", "3"}, "flag provided but not defined"},
	} {
		status, out, errs := patina(t, "", c.args...)
		if status != 1 || out != "" || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, c.want) {
			t.Errorf("%s: status %d, %q, want %q", c.desc, status, errs, c.want)
		}
	}
	if read("ca.key") != ca || read("web-1.key") != key {
		t.Error("a key was written over")
	}
	if err := os.Remove(filepath.Join(dir, "web-1.key")); err != nil {
		t.Fatal(err)
	}
	if status, _, errs := patina(t, "", append(cert, "web-1")...); status != 1 || !strings.Contains(errs, "web-1.crt: file exists") {
		t.Errorf("status %d, %q", status, errs)
	}
	if _, err := os.Stat(filepath.Join(dir, "web-1.key")); err == nil {
		t.Error("a key was left without its certificate")
	}
}

// TestStockOpenSSLVerifies: the files are what any other program takes them for.
func TestStockOpenSSLVerifies(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("there is no openssl here")
	}
	dir := makeTLS(t, "web-1")
	ca, cert := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "web-1.crt")
	for _, purpose := range []string{"sslserver", "sslclient"} {
		out, err := exec.Command(openssl, "verify", "-x509_strict", "-purpose", purpose, "-CAfile", ca, cert).CombinedOutput()
		if err != nil || string(out) != cert+": OK\n" {
			t.Errorf("%s: %v: %s", purpose, err, out)
		}
	}
	if out, err := exec.Command(openssl, "verify", "-CAfile", filepath.Join(makeTLS(t, "x"), "ca.crt"), cert).CombinedOutput(); err == nil {
		t.Errorf("under another CA: %s", out)
	}
	out, err := exec.Command(openssl, "x509", "-in", cert, "-noout", "-text").CombinedOutput()
	for _, want := range []string{"URI:patina://default/node/web-1", "NIST CURVE: P-256"} {
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%v, no %q in %s", err, want, out)
		}
	}
	if out, err := exec.Command(openssl, "pkey", "-in", filepath.Join(dir, "web-1.key"), "-noout", "-check").CombinedOutput(); err != nil {
		t.Errorf("the key: %v: %s", err, out)
	}
}
