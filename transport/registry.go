package transport

import (
	"math"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/patinadb/patina/changeset"
)

const maxAliases = 8 // addresses remembered per peer

// registry holds the links of a transport. All decisions about which link of a
// pair is used are made here, under one mutex, by better.
type registry struct {
	self changeset.ActorID
	wake chan struct{} // tells the notifier that dirty is not empty

	mu       sync.Mutex
	peers    map[changeset.ActorID]*peerLinks
	sessions uint64                         // numbers peerLinks
	dirty    map[changeset.ActorID]struct{} // actors whose session may have changed since the notifier looked
	conns    map[*quic.Conn]struct{}        // all connections, links or not yet
	closing  bool
	past     traffic // of links that ended
}

// peerLinks are the live links to one process of a peer, one after arbitration.
type peerLinks struct {
	session  uint64 // ends when the last link does, or when the peer restarted
	actor    changeset.ActorID
	links    []*link // best first
	aliases  []netip.AddrPort
	received time.Time     // last sign of life over all links, to the sample period
	up       chan struct{} // closed once PeerUp was said
	past     traffic       // of links that ended
	loss     lossMeter     // over all links
}

type traffic struct{ in, out uint64 }

// lossWindow is how long lost packets count, roughly.
const lossWindow = time.Minute

// lossMeter is the share of packets lost over about the last lossWindow: both
// numbers fade. QUIC takes back what it declared lost too early.
type lossMeter struct {
	at         time.Time
	sent, lost float64 // faded
}

// fade brings the meter to now.
func (m *lossMeter) fade(now time.Time) {
	if !m.at.IsZero() {
		keep := math.Exp(-max(0, now.Sub(m.at)).Seconds() / lossWindow.Seconds())
		m.sent, m.lost = m.sent*keep, m.lost*keep
	}
	m.at = now
}

func (m *lossMeter) share() float64 {
	if m.sent < 1 {
		return 0
	}
	return min(1, max(0, m.lost/m.sent))
}

func newRegistry(self changeset.ActorID) *registry {
	return &registry{
		self:  self,
		wake:  make(chan struct{}, 1),
		peers: map[changeset.ActorID]*peerLinks{},
		dirty: map[changeset.ActorID]struct{}{},
		conns: map[*quic.Conn]struct{}{},
	}
}

// track counts a connection, or refuses it.
func (r *registry) track(c *quic.Conn) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closing {
		return refusal(CodeLeaving, "this node stops")
	}
	if len(r.conns) >= maxLinks {
		return refusal(CodeBusy, "%d connections", maxLinks)
	}
	r.conns[c] = struct{}{}
	return nil
}

func (r *registry) untrack(c *quic.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
}

// shut refuses further connections and returns those there are.
func (r *registry) shut() []*quic.Conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closing = true
	conns := make([]*quic.Conn, 0, len(r.conns))
	for c := range r.conns {
		conns = append(conns, c)
	}
	return conns
}

// all returns every link.
func (r *registry) all() (out []*link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.peers {
		out = append(out, p.links...)
	}
	return out
}

// rivals returns the live links to another process under the same actor id.
func (r *registry) rivals(actor changeset.ActorID, nonce [16]byte) []*link {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*link
	if p := r.peers[actor]; p != nil {
		for _, l := range p.links {
			if l.live() && l.peer.nonce != nonce {
				out = append(out, l)
			}
		}
	}
	return out
}

// add registers a link and arbitrates. ok is false if a live link to another
// process under that actor id is in the way.
func (r *registry) add(l *link, now time.Time) (up <-chan struct{}, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	actor := l.peer.actor
	p := r.peers[actor]
	if p != nil && p.links[0].peer.nonce != l.peer.nonce {
		if slices.ContainsFunc(p.links, (*link).live) {
			return nil, false
		}
		for _, old := range p.links { // dead, about to be removed
			r.account(p, old)
		}
		p = nil
	}
	if p == nil {
		r.sessions++
		p = &peerLinks{session: r.sessions, actor: actor, up: make(chan struct{})}
		r.peers[actor] = p
		r.touch(actor)
	}
	l.received, p.received = now, now
	p.links = append(p.links, l)
	r.arbitrate(p, now)
	if n := len(p.links); n > maxPeerLinks { // whoever dials without end keeps nobody else out
		p.links[n-1].close(CodeBusy, "too many links to one peer")
	}
	r.alias(p, l.addr)
	return p.up, true
}

// arbitrate puts the best link first and starts the drain of the others.
func (r *registry) arbitrate(p *peerLinks, now time.Time) {
	slices.SortFunc(p.links, func(a, b *link) int {
		switch {
		case a == b:
			return 0
		case better(a.order, b.order, r.self, p.actor):
			return -1
		}
		return 1
	})
	for i, l := range p.links {
		if i == 0 {
			l.demoted = time.Time{}
			continue
		}
		if l.demoted.IsZero() {
			l.demoted = now
		}
		select {
		case l.kick <- struct{}{}:
		default:
		}
	}
}

// alias remembers that addr leads to p, most recent last.
func (r *registry) alias(p *peerLinks, addr netip.AddrPort) {
	if slices.Contains(p.aliases, addr) {
		return
	}
	if len(p.aliases) == maxAliases {
		p.aliases = slices.Delete(p.aliases, 0, 1)
	}
	p.aliases = append(p.aliases, addr)
}

// remove takes a link out whose connection has ended.
func (r *registry) remove(l *link, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.peers[l.peer.actor]
	if p == nil {
		return
	}
	i := slices.Index(p.links, l)
	if i < 0 {
		return
	}
	r.account(p, l)
	p.links = slices.Delete(p.links, i, i+1)
	if len(p.links) > 0 {
		r.arbitrate(p, now)
		return
	}
	delete(r.peers, p.actor)
	r.touch(p.actor)
}

// account moves a link's traffic to the past.
func (r *registry) account(p *peerLinks, l *link) {
	s := l.conn.ConnectionStats()
	for _, t := range []*traffic{&p.past, &r.past} {
		t.in += s.BytesReceived
		t.out += s.BytesSent
	}
}

func (r *registry) touch(actor changeset.ActorID) {
	r.dirty[actor] = struct{}{}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// best returns the link in use to an actor. A link that has just ended is
// never returned, even before it is removed.
func (r *registry) best(actor changeset.ActorID) *link {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.peers[actor]; p != nil {
		return p.best()
	}
	return nil
}

func (p *peerLinks) best() *link {
	for _, l := range p.links {
		if l.live() {
			return l
		}
	}
	return nil
}

// at returns the link in use to whoever is known to live at addr.
func (r *registry) at(addr netip.AddrPort) *link {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.peers {
		if slices.Contains(p.aliases, addr) {
			if l := p.best(); l != nil {
				return l
			}
		}
	}
	return nil
}

// drained says whether a link's drain is over, or after how long to ask again;
// 0 means that it is not draining.
func (r *registry) drained(l *link, now time.Time) (over bool, again time.Duration) {
	r.mu.Lock()
	since := l.demoted
	r.mu.Unlock()
	if since.IsZero() {
		return false, 0
	}
	if now.Sub(since) >= drainMax {
		return true, 0
	}
	if l.streams.Load() > 0 {
		return false, time.Second
	}
	// What the last stream wrote may still have to be sent again.
	if quiet := l.born.Add(time.Duration(l.quiet.Load())); quiet.After(since) {
		since = quiet
	}
	if left := drainTime - now.Sub(since); left > 0 {
		return false, left
	}
	return true, 0
}

// sample notes which links received something since the last sample, and returns
// the bytes that all of them have ever sent.
func (r *registry) sample(now time.Time) (sent uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	sent = r.past.out
	for _, p := range r.peers {
		for _, l := range p.links {
			p.sample(l, now)
			sent += l.conn.ConnectionStats().BytesSent
		}
	}
	return sent
}

func (p *peerLinks) sample(l *link, now time.Time) {
	s := l.conn.ConnectionStats()
	p.loss.fade(now)
	p.loss.sent += float64(s.PacketsSent) - float64(l.sent)
	p.loss.lost += float64(s.PacketsLost) - float64(l.lost)
	l.sent, l.lost = s.PacketsSent, s.PacketsLost
	if n := s.PacketsReceived; n > l.packets {
		l.packets, l.received = n, now
		if now.After(p.received) {
			p.received = now
		}
	}
}
