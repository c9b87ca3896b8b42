package node

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// clusterName is what gossip.cluster may be: it becomes part of certificates
// and of the label of every membership packet.
var clusterName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$`)

// CheckCluster says what is wrong with a cluster's name, "" if nothing.
func CheckCluster(s string) string {
	if clusterName.MatchString(s) && !strings.Contains(s, "..") {
		return ""
	}
	return quote(s) + " is no cluster name: allowed are 1 to 64 of A-Z a-z 0-9 . _ -, beginning and ending with a letter or digit, without two dots in a row"
}

// checkPath refuses what SQLite or the system would read as something other
// than a path.
func checkPath(s string) string {
	switch {
	case s == "":
		return "a path cannot be empty"
	case strings.ContainsRune(s, 0):
		return "a path cannot hold a NUL"
	case s == ":memory:", strings.HasPrefix(s, "file:"):
		return quote(s) + " is no file path"
	}
	return ""
}

// maxHost is the longest name that DNS knows.
const maxHost = 253

// checkListen checks the address of a socket of ours: an empty host means every
// interface, port 0 any free port.
func checkListen(s string) string { return checkAddr(s, 0) }

// checkRemote checks an address that somebody dials.
func checkRemote(s string) string {
	if problem := checkAddr(s, 1); problem != "" {
		return problem
	}
	host, _, _ := net.SplitHostPort(s)
	if a, err := netip.ParseAddr(host); host == "" || err == nil && a.IsUnspecified() {
		return quote(s) + " cannot be dialled: it names no host"
	}
	return ""
}

func checkAddr(s string, lowest int) string {
	host, port, err := net.SplitHostPort(s)
	if err != nil || len(host) > maxHost || strings.ContainsAny(host, " \t\r\n/\x00") {
		return fmt.Sprintf("want host:port, such as 127.0.0.1:8787 or [::1]:8787, got %s", quote(s))
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || int(n) < lowest {
		return fmt.Sprintf("port %s of %s is out of range: allowed are %d to 65535", quote(port), quote(s), lowest)
	}
	return ""
}

// optional lets an empty text pass.
func optional(check func(string) string) func(string) string {
	return func(s string) string {
		if s == "" {
			return ""
		}
		return check(s)
	}
}

// isLoopback reports whether only this machine can reach a socket bound to
// addr. A name other than localhost counts as reachable: what it resolves to can
// change.
func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

// crossCheck reports the settings that are right alone and wrong together. A
// socket that the caller brought is the caller's decision.
func (r *configReader) crossCheck() {
	c := &r.cfg
	if !r.bad["api.addr"] && !r.bad["api.insecure"] &&
		c.Listener == nil && !isLoopback(c.API.Addr) && !c.API.Insecure {
		r.report(r.origins["api.addr"], "api.addr", quote(c.API.Addr)+
			" is not a loopback address, and nothing authenticates clients: set api.insecure to true if the network around it is trusted")
	}
	if !r.bad["gossip.addr"] && !r.bad["gossip.secret"] && !r.bad["gossip.tls.ca"] &&
		c.Conn == nil && !isLoopback(c.Gossip.Addr) && c.Gossip.Secret == "" && c.Gossip.TLS == (TLSConfig{}) {
		r.report(r.origins["gossip.addr"], "gossip.addr", quote(c.Gossip.Addr)+
			fmt.Sprintf(" is not a loopback address, and without gossip.secret or gossip.tls anyone could join: set gossip.secret to the same %d or more characters on every node", minSecret))
	}
	r.crossCheckIdentity()
}

// crossCheckIdentity reports an identity of which a part is missing.
func (r *configReader) crossCheckIdentity() {
	g := &r.cfg.Gossip
	if g.OldSecret != "" && g.Secret == "" && !r.bad["gossip.secret"] {
		r.report(r.origins["gossip.old_secret"], "gossip.old_secret", "is set without gossip.secret, which replaces it")
	}
	parts := []struct{ path, file string }{
		{"gossip.tls.ca", g.TLS.CA}, {"gossip.tls.cert", g.TLS.Cert}, {"gossip.tls.key", g.TLS.Key},
	}
	for _, p := range parts {
		if p.file == "" && g.TLS != (TLSConfig{}) && !r.bad[p.path] {
			r.report(r.origins[p.path], p.path, "is missing: gossip.tls needs ca, cert and key")
		}
	}
}
