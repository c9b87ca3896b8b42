package members

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/patinadb/patina/changeset"
)

// refreshEvery is how often the library's table is read at least; joins and deaths
// are noticed at once.
const refreshEvery = time.Second

// signOfLife is how old what a link brought may be to refute a suspicion: there is
// time in it for three questions on a path that loses packets.
const signOfLife = 3 * time.Second

// Errors of New, Run and Leave.
var (
	ErrConfig     = errors.New("members: configuration")
	ErrRunning    = errors.New("members: was run before")
	ErrNotRunning = errors.New("members: not running")
)

// Config is what Members needs. Actor, Addr and Links are required.
type Config struct {
	Actor   changeset.ActorID
	Epoch   uint64         // of this process; higher than that of every earlier one
	Addr    netip.AddrPort // that others reach our links at
	APIAddr string         // that clients reach us at, up to 255 bytes
	Version string         // of the software, up to 128 bytes
	Cluster string         // up to 255 bytes; packets of another one are refused
	Seeds   []string       // host:port, names are resolved again at each try
	// Digest returns the digest of the vector of applied versions, for the answer to
	// a probe. It must not block.
	Digest func() [32]byte
	// OnDigest is told the digest that a peer answered a probe with. It must not block.
	OnDigest func(peer changeset.ActorID, digest [32]byte)
	// OnChange is told what changes, by one goroutine. It must not block.
	OnChange func(Event)
	Links    Links
	Resolve  func(ctx context.Context, host string) ([]netip.Addr, error) // default net.DefaultResolver
	Now      func() time.Time                                             // default time.Now
	Log      *slog.Logger                                                 // default slog.Default()
}

// Queue is the state of one bounded queue.
type Queue struct {
	Name            string
	Depth, Capacity int
	Dropped         uint64
}

// Members is this node's view of the cluster.
type Members struct {
	cfg     Config
	name    string
	meta    []byte
	carrier *carrier
	bridge  *logBridge
	kick    chan struct{} // capacity 1: the table changed
	call    chan struct{} // capacity 1: the seeds changed
	met     chan struct{}
	started atomic.Bool

	mu      sync.Mutex
	roster  *roster
	seeds   []seed
	hasMet  bool
	leaving bool
	refused Refused
	limit   int                    // MaxMembers; less in tests
	names   map[string]bool        // that the library knows: its table when last read, and who came since
	list    *memberlist.Memberlist // nil unless running
	users   sync.WaitGroup         // of list, outside of Run
}

// New checks the configuration. It starts nothing.
func New(cfg Config) (*Members, error) {
	switch {
	case cfg.Actor.IsZero() || cfg.Links == nil:
		return nil, fmt.Errorf("%w: actor and links are required", ErrConfig)
	case !cfg.Addr.IsValid() || cfg.Addr.Port() == 0:
		return nil, fmt.Errorf("%w: address %s cannot be advertised", ErrConfig, cfg.Addr)
	case len(cfg.Cluster) > memberlist.LabelMaxSize:
		return nil, fmt.Errorf("%w: cluster name of %d bytes, at most %d", ErrConfig, len(cfg.Cluster), memberlist.LabelMaxSize)
	case len(cfg.APIAddr) > maxAPIAddr:
		return nil, fmt.Errorf("%w: API address of %d bytes, at most %d", ErrConfig, len(cfg.APIAddr), maxAPIAddr)
	case len(cfg.Version) > maxSoftware:
		return nil, fmt.Errorf("%w: version of %d bytes, at most %d", ErrConfig, len(cfg.Version), maxSoftware)
	}
	seeds, err := parseSeeds(cfg.Seeds)
	if err != nil {
		return nil, err
	}
	if cfg.Resolve == nil {
		cfg.Resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	cfg.Addr = netip.AddrPortFrom(cfg.Addr.Addr().Unmap(), cfg.Addr.Port())
	m := &Members{
		cfg:  cfg,
		name: formatName(cfg.Actor, cfg.Epoch),
		meta: appendMeta(nil, meta{cfg.Actor, ProtocolVersion, cfg.APIAddr, cfg.Version}),
		kick: make(chan struct{}, 1),
		call: make(chan struct{}, 1),
		met:  make(chan struct{}),
		roster: newRoster(Member{Actor: cfg.Actor, Epoch: cfg.Epoch, Addr: cfg.Addr,
			APIAddr: cfg.APIAddr, Version: cfg.Version, State: Alive}),
		seeds: seeds,
		names: map[string]bool{}, limit: MaxMembers,
	}
	m.bridge = &logBridge{log: cfg.Log, now: cfg.Now}
	m.carrier = newCarrier(cfg.Links, cfg.Addr, cfg.Cluster, m)
	return m, nil
}

// Run takes part in membership until ctx is done, and returns nil when what it
// started has ended. It says no good-bye: that is Leave. Members runs once.
func (m *Members) Run(ctx context.Context) error {
	if !m.started.CompareAndSwap(false, true) {
		return ErrRunning
	}
	list, err := memberlist.Create(m.settings())
	if err != nil {
		m.carrier.cancel()
		return fmt.Errorf("members: start: %w", err)
	}
	m.mu.Lock()
	m.list = list
	m.mu.Unlock()

	var group sync.WaitGroup
	group.Go(m.carrier.pump)
	group.Go(func() { m.seek(ctx, list) })
	m.watch(ctx)

	m.mu.Lock()
	m.list = nil
	m.mu.Unlock()
	m.users.Wait()
	err = list.Shutdown()
	group.Wait()
	return err
}

// watch reads the library's table whenever it changed, and once a second.
func (m *Members) watch(ctx context.Context) {
	ticker := time.NewTicker(refreshEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.kick:
		case <-ticker.C:
		}
		rows, err := m.carrier.table()
		if err != nil {
			m.cfg.Log.Debug("membership table not read", "component", "members", "err", err)
			continue
		}
		m.refresh(rows)
	}
}

func (m *Members) refresh(rows []row) {
	m.mu.Lock()
	doubted := m.roster.doubted(rows)
	m.mu.Unlock()
	alive := map[changeset.ActorID]bool{}
	for _, actor := range doubted {
		if m.cfg.Links.Answers(actor, signOfLife) {
			alive[actor] = true
		}
	}
	m.mu.Lock()
	clear(m.names)
	for _, w := range rows {
		m.names[w.name] = true
	}
	events := m.roster.update(rows, alive, m.cfg.Now())
	if len(m.roster.refuted()) > 0 {
		poke(m.call)
	}
	if !m.hasMet && m.roster.company() {
		m.hasMet = true
		close(m.met)
	}
	m.mu.Unlock()
	for _, e := range events {
		m.cfg.Log.Info(stateMessages[e.Member.State], "component", "members", "peer", e.Member.Actor)
		if m.cfg.OnChange != nil {
			m.cfg.OnChange(e)
		}
	}
}

var stateMessages = map[State]string{
	Alive: "member is alive", Suspect: "member is suspect", Dead: "member is dead", Left: "member has left",
}

// Members returns every member, self included, sorted by actor. An actor is listed
// once, by its latest process. Those that left stay for an hour, dead ones until
// this node restarts.
func (m *Members) Members() []Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.roster.list()
}

// Met returns a channel that is closed once another member was met.
func (m *Members) Met() <-chan struct{} { return m.met }

// SetSeeds replaces the seeds, unless one of them is not host:port.
func (m *Members) SetSeeds(seeds []string) error {
	parsed, err := parseSeeds(seeds)
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.seeds = parsed
	m.mu.Unlock()
	poke(m.call)
	return nil
}

// Datagram takes a membership datagram of a peer, which owns b no more. It never
// blocks; when 256 wait, the datagram is lost.
func (m *Members) Datagram(from changeset.ActorID, b []byte) {
	if err := checkPacket(b); err != nil {
		m.refuse(from, &m.refused.Packets, err)
		return
	}
	m.carrier.datagram(from, b)
}

// Stream takes a membership stream of a peer and returns when it is done with, and
// closed.
func (m *Members) Stream(from changeset.ActorID, conn net.Conn) {
	m.carrier.stream(m.guard(from, conn, true))
}

// guard implements directory.
func (m *Members) guard(peer changeset.ActorID, conn net.Conn, incoming bool) net.Conn {
	return &guardedConn{Conn: conn, incoming: incoming, refused: func(err error) {
		m.refuse(peer, &m.refused.Streams, err)
	}}
}

// Leave says good-bye and returns when that was sent, which takes about a second,
// or when the timeout is over. Run goes on until its context is done.
func (m *Members) Leave(timeout time.Duration) error {
	m.mu.Lock()
	list := m.list
	if list == nil {
		m.mu.Unlock()
		return ErrNotRunning
	}
	m.users.Add(1)
	m.leaving = true
	m.roster.self.State = Left
	m.mu.Unlock()
	defer m.users.Done()
	if err := list.Leave(max(timeout, time.Millisecond)); err != nil {
		return fmt.Errorf("members: leave: %w", err)
	}
	return nil
}

// Queues returns the state of the queues between links and library.
func (m *Members) Queues() []Queue {
	c := m.carrier
	c.mu.Lock()
	incoming := c.incoming
	c.mu.Unlock()
	return []Queue{
		{"members.packets", len(c.queue), packetQueue, c.packetsDropped.Load()},
		{"members.streams", incoming, streamsLimit, c.streamsDropped.Load()},
		{"members.connect", c.dials.depth(), dialQueue, c.dials.dropped.Load()},
	}
}

// address implements directory.
func (m *Members) address(actor changeset.ActorID) netip.AddrPort {
	m.mu.Lock()
	defer m.mu.Unlock()
	if rec := m.roster.records[actor]; rec != nil {
		return rec.Addr
	}
	return netip.AddrPort{}
}

// admits implements directory.
func (m *Members) admits(actor changeset.ActorID, epoch uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.roster.admits(actor, epoch)
}

// poke sets a flag that is a channel of capacity 1.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
