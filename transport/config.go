package transport

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/quic-go/quic-go"

	"github.com/patinadb/patina/changeset"
)

// MinSecret is the least length of Identity.Secret in bytes.
const MinSecret = 16

// Settings that were measured; the reasons are in WIRE.md, limits.
const (
	handshakeIdleTimeout = 5 * time.Second
	maxIdleTimeout       = 30 * time.Second
	keepAlivePeriod      = 10 * time.Second
	initialPacketSize    = 1280
	maxIncomingUni       = 1024
	maxIncomingBi        = 256

	uniWorkers = 64 // incoming streams handled at once, per link
	biWorkers  = 32

	maxLinks      = 4096 // links, and connections that are still saying hello
	maxPeerLinks  = 8    // of them to one peer, those that drain included
	maxHellos     = 256  // incoming connections that are still saying hello
	maxDials      = 128
	handshakeRate = 50 // incoming handshakes per second above which addresses are validated

	prodPeriod   = 250 * time.Millisecond
	maxProds     = 30               // below the 32 datagrams at which QUIC's queue blocks
	helloTimeout = 10 * time.Second // covers two rounds of asking an older link whether it is alive
	dialTimeout  = 20 * time.Second
	kindTimeout  = 10 * time.Second // from the opening of a stream to its first byte
	drainTime    = 5 * time.Second  // of a superseded link, after its last stream was closed
	drainMax     = 30 * time.Second // the same whatever streams are open on it
	samplePeriod = time.Second      // of link statistics
)

// Config is what New needs. Conn, Cluster, Actor and Handler are required.
type Config struct {
	Identity                         // without Secret and CA: loopback addresses only
	Conn           net.PacketConn    // the node's one UDP socket; Run closes it
	Cluster        string            // 1 to 64 of a-z A-Z 0-9 . - _
	Name           string            // the node's name for people, at most 64 bytes
	Actor          changeset.ActorID // the key of this node's links
	Epoch          uint64            // higher at each start of the node
	SchemaDigest   func() [32]byte   // said in hello; nil: zero
	Membership     Kind              // of bi streams that are as urgent as datagrams; 0: none
	BytesPerSecond int64             // that this node sends in all, UDP payload; 0: no budget; else ≥ MinBytesPerSecond
	Advertise      netip.AddrPort    // where others can dial this node; zero: unsaid
	ResetKey       [32]byte          // kept over restarts so that old links die at once; zero: none
	Now            func() time.Time  // wall clock, for certificates only; nil: time.Now
	Log            *slog.Logger      // nil: discarded
	Handler        Handler           // receives what peers send
}

// Handler receives what peers send. Its methods are called on the transport's
// goroutines.
type Handler interface {
	// Datagram receives one datagram and may keep b. It must not block: the
	// link's further datagrams wait.
	Datagram(from changeset.ActorID, b []byte)
	// Stream serves one stream that a peer opened. ctx ends with the link.
	// Returning closes the stream.
	Stream(ctx context.Context, from changeset.ActorID, s *Stream)
	// PeerUp says that a peer is linked. It returns before the first Datagram
	// or Stream of that peer. It must not block: other announcements wait.
	PeerUp(p Peer)
	// PeerDown says that the last link to a peer is gone, once per PeerUp.
	PeerDown(actor changeset.ActorID)
}

// InsecureAddrError says that a transport with neither secret nor certificates
// was to listen on an address that others can reach.
type InsecureAddrError struct{ Addr net.Addr }

// Error names the address and the way out.
func (e *InsecureAddrError) Error() string {
	return fmt.Sprintf("transport: gossip.addr %s is not a loopback address, and with neither gossip.secret nor gossip.tls only loopback is allowed", e.Addr)
}

func (c Config) withDefaults() Config {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.SchemaDigest == nil {
		c.SchemaDigest = func() [32]byte { return [32]byte{} }
	}
	return c
}

func (c Config) validate() error {
	switch {
	case c.Conn == nil || c.Handler == nil:
		return errors.New("transport: Conn and Handler are required")
	case c.Actor.IsZero():
		return errors.New("transport: zero actor id")
	case !validCluster(c.Cluster):
		return clusterError(c.Cluster)
	case len(c.Name) > maxNameBytes || !utf8.ValidString(c.Name):
		return nameError(c.Name)
	case c.BytesPerSecond < 0 || c.BytesPerSecond > 0 && c.BytesPerSecond < MinBytesPerSecond:
		return fmt.Errorf("transport: budget of %d bytes per second, the least is %d", c.BytesPerSecond, MinBytesPerSecond)
	}
	if err := c.Identity.validate(); err != nil {
		return err
	}
	local, err := addrPort(c.Conn.LocalAddr())
	if err != nil {
		return err
	}
	if !c.proven() && !local.Addr().IsLoopback() {
		return &InsecureAddrError{Addr: c.Conn.LocalAddr()}
	}
	return nil
}

func clusterError(s string) error {
	return fmt.Errorf("transport: cluster %.80q is not 1 to %d of a-z A-Z 0-9 . - _, beginning and ending with a letter or digit, without two dots in a row", s, maxNameBytes)
}

func nameError(s string) error {
	return fmt.Errorf("transport: node name %.80q is not UTF-8 of at most %d bytes", s, maxNameBytes)
}

// validCluster holds names to what a URI's host part and certificates carry
// unchanged.
func validCluster(s string) bool {
	if s == "" || len(s) > maxNameBytes || strings.Contains(s, "..") {
		return false
	}
	for i, c := range []byte(s) {
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		inner := i > 0 && i < len(s)-1
		if !alnum && !(inner && (c == '.' || c == '-' || c == '_')) {
			return false
		}
	}
	return true
}

// addrPort is the address in its one comparable form.
func addrPort(a net.Addr) (netip.AddrPort, error) {
	if u, ok := a.(*net.UDPAddr); ok {
		return unmap(u.AddrPort()), nil
	}
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("transport: local address: %w", err)
	}
	return unmap(ap), nil
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

func quicConfig() *quic.Config {
	return &quic.Config{
		HandshakeIdleTimeout:           handshakeIdleTimeout,
		MaxIdleTimeout:                 maxIdleTimeout,
		KeepAlivePeriod:                keepAlivePeriod,
		InitialStreamReceiveWindow:     256 << 10,
		MaxStreamReceiveWindow:         4 << 20,
		InitialConnectionReceiveWindow: 512 << 10,
		MaxConnectionReceiveWindow:     16 << 20,
		MaxIncomingStreams:             maxIncomingBi,
		MaxIncomingUniStreams:          maxIncomingUni,
		InitialPacketSize:              initialPacketSize,
		EnableDatagrams:                true,
		Allow0RTT:                      false,
	}
}

func newNonce() (n [16]byte) {
	rand.Read(n[:])
	return n
}
