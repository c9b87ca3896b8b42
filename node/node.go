package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/patinadb/patina/api"
	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/store"
	"github.com/patinadb/patina/transport"
)

// Version is the software's version, as the status and the mesh say it. The
// command sets it at start.
var Version = "devel"

// Node is one running member of a cluster. New opens everything, Run drives it.
type Node struct {
	cfg      Config
	log      *slog.Logger
	level    *slog.LevelVar
	store    *store.Store
	udp      netip.AddrPort // bound
	listener net.Listener
	mesh     atomic.Pointer[mesh]
	started  time.Time
	settled  atomic.Bool     // it was ready: see Ready
	seen     map[string]bool // missing schema paths that were logged

	reloading sync.Mutex // one Reload at a time; guards live and identity
	live      Config     // cfg with what Reload took over
	identity  transport.Identity
}

// New opens the database, applies the schema files and binds the sockets. It
// starts nothing. Errors name the file, the key or the address that is at fault,
// and nothing stays open after one.
func New(ctx context.Context, cfg Config) (*Node, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, level: new(slog.LevelVar), started: time.Now(), seen: map[string]bool{}}
	n.level.Set(cfg.Log.SlogLevel())
	n.log = cfg.Logger
	if n.log == nil {
		n.log = newLogger(os.Stderr, cfg.Log.Format, n.level)
	}
	if cfg.Now == nil {
		n.cfg.Now = time.Now
	}
	n.live = n.cfg
	if err := n.open(ctx); err != nil {
		return nil, errors.Join(err, n.closeSockets())
	}
	return n, nil
}

func newLogger(w io.Writer, format string, level *slog.LevelVar) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

func (n *Node) open(ctx context.Context) error {
	files, missing, err := schemaFiles(n.cfg.DB)
	if err != nil {
		return err
	}
	if n.identity, err = readIdentity(n.cfg); err != nil {
		return err
	}
	if err := n.bind(ctx); err != nil {
		return err
	}
	n.store, err = store.Open(ctx, store.Config{
		Path: n.cfg.DB.Path, Cluster: n.cfg.Gossip.Cluster, MaxClockDrift: n.cfg.DB.MaxClockDrift,
		StatementTimeout: n.cfg.DB.StatementTimeout, QueryMaxAge: n.cfg.DB.QueryMaxAge, MaxWALBytes: n.cfg.DB.MaxWALBytes,
		LogMaxBytes: n.cfg.DB.Log.MaxBytes, LogMaxAge: n.cfg.DB.Log.MaxAge,
		Now: n.cfg.Now, Log: n.log, Committed: n.committed, Schema: files,
	})
	if err != nil {
		return err
	}
	n.settled.Store(n.store.Settled())
	m, err := n.newMesh(n.cfg.Conn)
	if err != nil {
		return errors.Join(err, n.store.Close())
	}
	n.mesh.Store(m)
	n.logMissing(missing) // no earlier: a refused start is one line
	n.logExpiry(m)
	return nil
}

// bind takes the two addresses. The listener accepts nothing before Run, which
// is after the schema was applied.
func (n *Node) bind(ctx context.Context) (err error) {
	if n.cfg.Conn == nil {
		if n.cfg.Conn, err = n.listen(ctx, n.cfg.Gossip.Addr); err != nil {
			return err
		}
	}
	if n.udp, err = addrPort(n.cfg.Conn.LocalAddr()); err != nil {
		return err
	}
	n.listener = n.cfg.Listener
	if n.listener == nil {
		if n.listener, err = new(net.ListenConfig).Listen(ctx, "tcp", n.cfg.API.Addr); err != nil {
			return fmt.Errorf("listen on api.addr %s: %w", n.cfg.API.Addr, cause(err))
		}
	}
	return nil
}

// listen binds a socket for the mesh.
func (n *Node) listen(ctx context.Context, addr string) (net.PacketConn, error) {
	if n.cfg.Listen != nil {
		return n.cfg.Listen(ctx)
	}
	c, err := new(net.ListenConfig).ListenPacket(ctx, "udp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on gossip.addr %s: %w", addr, cause(err))
	}
	return c, nil
}

// cause strips the address that net repeats in its errors.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

func addrPort(a net.Addr) (netip.AddrPort, error) {
	if u, ok := a.(interface{ AddrPort() netip.AddrPort }); ok {
		p := u.AddrPort()
		return netip.AddrPortFrom(p.Addr().Unmap(), p.Port()), nil
	}
	return netip.ParseAddrPort(a.String())
}

func (n *Node) closeSockets() (err error) {
	if n.cfg.Conn != nil {
		err = n.cfg.Conn.Close()
	}
	if n.listener != nil {
		err = errors.Join(err, n.listener.Close())
	}
	return err
}

// schemaFiles reads the schema files and returns the paths that are missing,
// which count as empty.
func schemaFiles(cfg DBConfig) (out []store.SchemaFile, missing []string, err error) {
	files, missing, err := loadSchema(cfg.SchemaPaths, cfg.Path)
	for _, f := range files {
		out = append(out, store.SchemaFile(f))
	}
	return out, missing, err
}

// logMissing names each missing schema path once.
func (n *Node) logMissing(paths []string) {
	for _, path := range paths {
		if !n.seen[path] {
			n.seen[path] = true
			n.log.Info("schema folder is missing: it counts as empty", "err", path)
		}
	}
}

// Actor returns the id under which this node writes.
func (n *Node) Actor() changeset.ActorID { return n.store.Actor() }

// Store returns the node's database, for tests and programs that embed a node.
func (n *Node) Store() *store.Store { return n.store }

// GossipAddr returns the bound address of the mesh.
func (n *Node) GossipAddr() netip.AddrPort { return n.udp }

// APIAddr returns the address that clients are told: api.advertise, else the
// bound one.
func (n *Node) APIAddr() string {
	if a := n.cfg.API.Advertise; a != "" {
		return a
	}
	return n.listener.Addr().String()
}

// committed is the store's callback: it runs on the writer after the fsync.
func (n *Node) committed(list []store.Committed) {
	m := n.mesh.Load()
	for i := range list {
		if list[i].Local && m != nil {
			m.broadcast.Publish(list[i].Sealed)
		}
	}
}

// Handler returns the HTTP API of the node.
func (n *Node) Handler() *api.Config {
	return &api.Config{
		Database: n.store, Status: n.Status, Ready: n.Ready, Reload: n.Reload, Log: n.log,
		MaxStatements: n.cfg.API.MaxStatements, MaxBodyBytes: n.cfg.API.MaxBodyBytes,
	}
}
