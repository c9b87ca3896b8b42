package nodetest

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
	"github.com/patinadb/patina/node"
)

// stopTime is how long a graceful stop may take.
const stopTime = 5 * time.Second

// Member is one node of a cluster, running or not: its name, address and files
// stay over restarts.
type Member struct {
	Name string
	Addr netip.AddrPort // of the mesh
	Dir  string         // database, schema files, identity file

	cluster *Cluster
	change  func(*node.Config)
	skew    atomic.Int64 // nanoseconds

	mu       sync.Mutex // guards what follows: a node starts and stops while others look
	node     *node.Node // nil unless running
	conn     *PacketConn
	listener *Listener
	cancel   context.CancelFunc
	ended    chan error
}

// Path returns the database file.
func (m *Member) Path() string { return filepath.Join(m.Dir, "node.db") }

// Node returns the running node, nil if there is none. It may be called from any
// goroutine.
func (m *Member) Node() *node.Node {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.node
}

// Listener returns the API's socket of the running node.
func (m *Member) Listener() *Listener { return m.listener }

// SetSkew sets how far the member's clock is ahead.
func (m *Member) SetSkew(d time.Duration) { m.skew.Store(int64(d)) }

// Now is the member's wall clock.
func (m *Member) Now() time.Time { return time.Now().Add(time.Duration(m.skew.Load())) }

// SetSchema writes the schema file, which the next start or Reload applies.
func (m *Member) SetSchema(sql string) {
	m.cluster.t.Helper()
	dir := filepath.Join(m.Dir, "schema")
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "schema.sql"), []byte(sql), 0o600)); err != nil {
		m.cluster.t.Fatal(err)
	}
}

// Reload makes the running node apply its schema file.
func (m *Member) Reload() {
	m.cluster.t.Helper()
	if _, err := m.Node().Reload(context.Background()); err != nil {
		m.cluster.t.Fatalf("%s: %v", m.Name, err)
	}
}

// listen binds the member's socket; the node closes it.
func (m *Member) listen() (net.PacketConn, error) {
	conn, err := m.cluster.Network.Listen(m.Addr)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conn = conn
	return conn, nil
}

func (m *Member) config() node.Config {
	var others []string
	for _, o := range m.cluster.members {
		if o != m {
			others = append(others, o.Addr.String())
		}
	}
	m.listener = NewListener(netip.AddrPortFrom(m.Addr.Addr(), 8080))
	cfg := node.Config{
		DB: node.DBConfig{Path: m.Path(), SchemaPaths: []string{filepath.Join(m.Dir, "schema")}},
		Gossip: node.GossipConfig{
			Addr: m.Addr.String(), Cluster: DefaultCluster, Secret: DefaultSecret, Bootstrap: slices.Clip(others),
		},
		Listen:   func(context.Context) (net.PacketConn, error) { return m.listen() },
		Listener: m.listener, Now: m.Now, Logger: m.cluster.log.logger(m.Name),
	}
	if change := m.cluster.cfg.Change; change != nil {
		change(&cfg)
	}
	if m.change != nil {
		m.change(&cfg)
	}
	return cfg
}

// Start opens the node on its files, as they are, and runs it.
func (m *Member) Start() {
	m.cluster.t.Helper()
	n, err := node.New(context.Background(), m.config())
	if err != nil {
		m.cluster.t.Fatalf("start %s: %v", m.Name, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.node, m.cancel, m.ended = n, cancel, ended
}

// Stop stops the node gracefully, if it runs: it says good-bye.
func (m *Member) Stop() {
	m.cluster.t.Helper()
	m.mu.Lock()
	cancel, ended := m.cancel, m.ended
	m.node, m.cancel = nil, nil
	m.mu.Unlock()
	if cancel == nil {
		return
	}
	began := time.Now()
	cancel()
	if err := <-ended; err != nil {
		m.cluster.t.Errorf("stop %s: %v", m.Name, err)
	}
	if d := time.Since(began); d > stopTime {
		m.cluster.t.Errorf("%s took %v to stop", m.Name, d)
	}
}

// Kill takes the node away without a good-bye: its socket falls silent first.
// What was acknowledged is on its files; whatever the process still writes there
// while it ends, a graceful end would have written too.
func (m *Member) Kill() {
	m.cluster.t.Helper()
	m.mu.Lock()
	conn := m.conn
	m.mu.Unlock()
	conn.Kill()
	m.Stop()
}

// Restart starts a node that runs no more, after a graceful stop if it does.
func (m *Member) Restart() {
	m.cluster.t.Helper()
	m.Stop()
	m.Start()
}

// Actor returns the id under which the running node writes.
func (m *Member) Actor() changeset.ActorID { return m.Node().Actor() }

// Transact runs statements as one transaction. Unlike the other methods it may
// be called from any goroutine, and its errors are the caller's: ErrNotRunning,
// or what a statement or the store said.
func (m *Member) Transact(ctx context.Context, statements ...sqlite.Statement) (changeset.ID, error) {
	n := m.Node()
	if n == nil {
		return changeset.ID{}, ErrNotRunning
	}
	results, id, err := n.Store().Transact(ctx, statements)
	if err != nil {
		return changeset.ID{}, err
	}
	if len(results) > 0 {
		err = results[len(results)-1].Err
	}
	return id, err
}

// ErrNotRunning says that a member has no running node.
var ErrNotRunning = errors.New("the member does not run")

// Exec runs statements as one transaction that must succeed.
func (m *Member) Exec(statements ...string) changeset.ID {
	m.cluster.t.Helper()
	list := make([]sqlite.Statement, len(statements))
	for i, s := range statements {
		list[i].SQL = s
	}
	id, err := m.Transact(context.Background(), list...)
	if err != nil {
		m.cluster.t.Fatalf("%s: %q: %v", m.Name, statements, err)
	}
	return id
}
