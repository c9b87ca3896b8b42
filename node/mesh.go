package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/sync/antientropy"
	"github.com/patinadb/patina/sync/broadcast"
	"github.com/patinadb/patina/sync/members"
	"github.com/patinadb/patina/sync/transfer"
	"github.com/patinadb/patina/sync/verify"
	"github.com/patinadb/patina/transport"
)

// Kinds of streams (transport/WIRE.md, kinds).
const (
	kindMembership  transport.Kind = 1 // bi
	kindBroadcast   transport.Kind = 2 // uni
	kindAntiEntropy transport.Kind = 3 // bi
	kindState       transport.Kind = 4 // bi
	kindVerify      transport.Kind = 5 // bi
)

// mesh is everything that lives under one actor id: the links and the five
// protocols that use them. A node that takes a new id makes a new mesh. It is the
// transport's Handler and adapts it to what the protocols ask for.
type mesh struct {
	node        *Node
	actor       changeset.ActorID
	links       *transport.Transport
	members     *members.Members
	broadcast   *broadcast.Loop
	antientropy *antientropy.Loop
	transfer    *transfer.Loop
	verify      *verify.Loop
	wake        chan struct{} // capacity 1: a member came up, link to it
}

func (n *Node) newMesh(conn net.PacketConn) (*mesh, error) {
	m := &mesh{node: n, actor: n.store.Actor(), wake: make(chan struct{}, 1)}
	advertise, err := n.advertise()
	if err != nil {
		return nil, err
	}
	name, _ := os.Hostname()
	live, identity := n.liveConfig()
	m.links, err = transport.New(transport.Config{
		Conn: conn, Cluster: n.cfg.Gossip.Cluster, Identity: identity, Name: name,
		Membership: kindMembership, BytesPerSecond: live.MaxBytesPerSecond,
		Actor: m.actor, Epoch: n.store.Epoch(), SchemaDigest: n.store.SchemaDigest, Advertise: advertise,
		ResetKey: n.store.Secret(), Now: n.cfg.Now, Log: n.log, Handler: m,
	})
	if err != nil {
		return nil, err
	}
	m.broadcast = broadcast.New(broadcast.Config{Self: m.actor, Sender: m, Deliver: n.store.TryApply, Held: n.holds, Log: n.log})
	m.antientropy = antientropy.New(antientropy.Config{
		Self: m.actor, Store: n.store, Open: m.openSession, NotInLog: notInLog, Log: n.log,
	})
	m.transfer, m.verify = m.newTransfer(), m.newVerify()
	m.members, err = members.New(members.Config{
		Actor: m.actor, Epoch: n.store.Epoch(), Addr: advertise, APIAddr: n.APIAddr(), Version: Version,
		Cluster: n.cfg.Gossip.Cluster, Seeds: live.Bootstrap, Links: memberLinks{m.links}, Log: n.log,
		Digest:   func() [32]byte { return n.store.Vector().Digest() },
		OnDigest: m.antientropy.Digest, OnChange: m.memberChanged,
	})
	return m, err
}

// memberChanged is told of every member that comes, changes or goes.
func (m *mesh) memberChanged(e members.Event) {
	m.node.store.KnowPeer(e.Member.Actor)
	m.connect()
}

// advertise returns the address that peers are told: gossip.advertise, else the
// bound one. A wildcard address cannot be dialled by anybody else.
func (n *Node) advertise() (netip.AddrPort, error) {
	if a := n.cfg.Gossip.Advertise; a != "" {
		u, err := net.ResolveUDPAddr("udp", a)
		if err != nil {
			return netip.AddrPort{}, fmt.Errorf("gossip.advertise %s: %w", a, err)
		}
		p := u.AddrPort()
		return netip.AddrPortFrom(p.Addr().Unmap(), p.Port()), nil
	}
	if n.udp.Addr().IsUnspecified() {
		return netip.AddrPort{}, fmt.Errorf("gossip.addr %s is every address of the machine: set gossip.advertise to the one that peers dial", n.udp)
	}
	return n.udp, nil
}

// run drives the mesh until ctx ends, then says good-bye and stops the protocols
// before the links they use. Duplicate reports that somebody else lives under
// our actor id.
func (m *mesh) run(ctx context.Context) error {
	up, down := context.WithCancel(context.Background())
	defer down()
	linked, unlink := context.WithCancel(context.Background())
	defer unlink()
	var protocols, links sync.WaitGroup
	failed := make(chan error, 7)
	start := func(group *sync.WaitGroup, ctx context.Context, name string, run func(context.Context) error) {
		group.Go(func() {
			if err := run(ctx); err != nil {
				failed <- fmt.Errorf("%s: %w", name, err)
			}
		})
	}
	start(&links, linked, "transport", m.links.Run)
	start(&protocols, up, "broadcast", m.broadcast.Run)
	start(&protocols, up, "anti-entropy", m.antientropy.Run)
	start(&protocols, up, "transfer of state", m.transfer.Run)
	start(&protocols, up, "verification", m.verify.Run)
	start(&protocols, up, "members", m.members.Run)
	start(&protocols, up, "links to members", m.keepLinks)

	var err error
	select {
	case <-ctx.Done():
	case <-m.links.Duplicate():
		err = errDuplicate
	case <-m.node.store.Renewed():
		err = errRenewed
	case err = <-failed:
	}
	if leave := m.members.Leave(leaveTime); leave != nil && err == nil {
		m.node.log.Debug("no good-bye", "err", leave)
	}
	down()
	protocols.Wait()
	unlink()
	links.Wait()
	return err
}

// Times of the mesh.
const (
	leaveTime  = time.Second     // to announce that we leave
	dialTime   = 5 * time.Second // for one link
	linkPeriod = firstPause      // between looks for members without a link
	deadPeriod = 2 * time.Second // between calls of one of the dead, and words of round-trip times
)

// Why a mesh ends although the node goes on.
var (
	errDuplicate = errors.New("another live node has this actor id")
	errRenewed   = errors.New("the database took a new actor id")
)

// Datagram implements transport.Handler.
func (m *mesh) Datagram(from changeset.ActorID, b []byte) { m.members.Datagram(from, b) }

// Stream implements transport.Handler: it hands a stream to its protocol.
func (m *mesh) Stream(ctx context.Context, from changeset.ActorID, s *transport.Stream) {
	var err error
	switch s.Kind() {
	case kindMembership:
		m.members.Stream(from, s.NetConn())
	case kindBroadcast:
		err = m.broadcast.Receive(ctx, from, s)
	case kindAntiEntropy:
		err = m.antientropy.Serve(ctx, from, s)
	case kindState:
		err = m.transfer.Serve(ctx, from, s)
	case kindVerify:
		err = m.verify.Serve(ctx, from, s)
	default:
		s.Cancel(uint64(transport.CodeFrameUnsupported))
	}
	if err != nil && ctx.Err() == nil {
		m.node.log.Debug("stream ended", "peer", from, "err", err)
	}
}

// PeerUp implements transport.Handler.
func (m *mesh) PeerUp(p transport.Peer) {
	m.broadcast.PeerUp(p.Actor, p.RTT)
	m.antientropy.PeerUp(p.Actor)
}

// PeerDown implements transport.Handler.
func (m *mesh) PeerDown(actor changeset.ActorID) {
	m.broadcast.PeerDown(actor)
	m.antientropy.PeerDown(actor)
	m.connect()
}

// SendBatch implements broadcast.Sender: one uni stream per batch.
func (m *mesh) SendBatch(ctx context.Context, to changeset.ActorID, batch []broadcast.Frame) error {
	s, err := m.links.OpenUni(ctx, to, kindBroadcast)
	if err != nil {
		return err
	}
	cancelled := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { defer close(cancelled); s.Cancel(0) })
	defer func() {
		if !stop() {
			<-cancelled
		}
	}()
	for _, f := range batch {
		if err := s.Send(f.Kind, f.Payload); err != nil {
			s.Cancel(0)
			return err
		}
	}
	return s.Close()
}

// holds reports whether a changeset is here, applied or parked.
func (n *Node) holds(id changeset.ID) bool { return n.store.Vector().Holds(id) }

func (m *mesh) openSession(ctx context.Context, to changeset.ActorID) (antientropy.Stream, error) {
	return openStream[antientropy.Stream](ctx, m.links, to, kindAntiEntropy)
}

// openStream opens a bidirectional stream as what a protocol calls one.
func openStream[S any](ctx context.Context, links *transport.Transport, to changeset.ActorID, k transport.Kind) (out S, err error) {
	s, err := links.OpenBi(ctx, to, k)
	if err != nil {
		return out, err
	}
	return any(s).(S), nil
}

func notInLog(err error) bool {
	var n interface{ NotInLog() bool }
	return errors.As(err, &n) && n.NotInLog()
}

// memberLinks adapts the transport to what membership asks for.
type memberLinks struct{ *transport.Transport }

// SendDatagram implements members.Links.
func (l memberLinks) SendDatagram(to changeset.ActorID, b []byte) error {
	return memberError(l.Transport.SendDatagram(to, b))
}

// OpenStream implements members.Links.
func (l memberLinks) OpenStream(ctx context.Context, to changeset.ActorID) (net.Conn, error) {
	s, err := l.OpenBi(ctx, to, kindMembership)
	if err != nil {
		return nil, memberError(err)
	}
	return s.NetConn(), nil
}

// Answers implements members.Links.
func (l memberLinks) Answers(actor changeset.ActorID, within time.Duration) bool {
	l.Probe(actor)
	at, ok := l.LastReceived(actor)
	return ok && time.Since(at) <= within
}

// Connect implements members.Links.
func (l memberLinks) Connect(ctx context.Context, addr netip.AddrPort) (changeset.ActorID, error) {
	p, err := l.Dial(ctx, addr)
	return p.Actor, err
}

func memberError(err error) error {
	if errors.Is(err, transport.ErrNoLink) {
		return members.ErrNoLink
	}
	return err
}
