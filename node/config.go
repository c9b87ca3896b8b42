package node

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"time"
)

// Config is what a node is started with. The four sections are the YAML of
// config.yaml, which lists every key with its default, unit and reason; the
// fields below them are for callers in the same process. A zero field means its
// default; a list that is empty but not nil means none.
type Config struct {
	DB     DBConfig
	API    APIConfig
	Gossip GossipConfig
	Log    LogConfig

	// Conn, if set, is the socket of the mesh in place of one bound to
	// Gossip.Addr; the node closes it. Whole clusters run in virtual time on
	// such sockets.
	Conn net.PacketConn
	// Listen, if set, binds the socket of the mesh in place of the system, at
	// the start unless Conn is given, and again under the same address whenever
	// the node takes a new actor id and the links of the old one are closed.
	Listen func(ctx context.Context) (net.PacketConn, error)
	// Listener, if set, serves the HTTP API in place of one bound to API.Addr;
	// the node closes it.
	Listener net.Listener
	// Now, if set, is the wall clock of this node.
	Now func() time.Time
	// Reread, if set, reads the configuration again, for Reload.
	Reread func() (Config, error)
	// Logger, if set, is written to in place of one made from Log.
	Logger *slog.Logger
}

// DBConfig is the section db: the database file and its limits.
type DBConfig struct {
	Path             string        // file; its folder must exist
	SchemaPaths      []string      // .sql files, or folders of them
	MaxClockDrift    time.Duration // how far a remote clock may pull ours ahead
	StatementTimeout time.Duration // longest run of one client request on the writer
	QueryMaxAge      time.Duration // longest life of one read, which pins the WAL
	MaxWALBytes      int64         // of SQLite's write-ahead log, when readers keep it from being reset
	Log              DBLogConfig
}

// DBLogConfig is the section db.log: how much of the changeset log is kept to
// serve peers that were away.
type DBLogConfig struct {
	MaxBytes int64
	MaxAge   time.Duration
}

// APIConfig is the section api: the HTTP server.
type APIConfig struct {
	Addr          string // host:port to listen on, port 0 for any
	Advertise     string // host:port that other nodes and clients are told; empty: the bound address
	Insecure      bool   // accept an Addr off loopback although nothing authenticates clients
	MaxStatements int    // in one request
	MaxBodyBytes  int64
}

// GossipConfig is the section gossip: the mesh between nodes.
type GossipConfig struct {
	Addr      string   // host:port of the UDP socket, port 0 for any
	Advertise string   // host:port that peers dial; empty: the bound address
	Bootstrap []string // host:port of nodes to meet first
	Cluster   string   // nodes of other clusters are refused
	Secret    Secret   // what every node's identity is derived from
	OldSecret Secret   // what Secret replaces, believed as well
	TLS       TLSConfig
	// MaxBytesPerSecond is what this node sends to all peers together; 0: no bound.
	MaxBytesPerSecond int64
}

// TLSConfig is the section gossip.tls: an identity by certificates, in place of a
// secret or beside it. All three are PEM files, or none is set.
type TLSConfig struct {
	CA   string // certificates of the authorities that are believed
	Cert string // the node's certificate, and those between it and the CA
	Key  string // its private key
}

// LogConfig is the section log: what is written to standard error.
type LogConfig struct {
	Level  string // debug, info, warn or error
	Format string // text or json
}

// SlogLevel returns Level as slog's number; an unknown one is info.
func (c LogConfig) SlogLevel() slog.Level {
	var l slog.Level
	if l.UnmarshalText([]byte(c.Level)) != nil {
		return slog.LevelInfo
	}
	return l
}

// Secret is text that no log, error or dump shows. Reveal is the only way to
// read it.
type Secret string

// redacted stands in for a secret that is set.
const redacted = "[redacted]"

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// String returns a stand-in, or nothing for an empty secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString keeps %#v from printing the secret.
func (s Secret) GoString() string { return `"` + s.String() + `"` }

// LogValue keeps slog from printing the secret.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText keeps encoders (JSON, YAML) from printing the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// DefaultConfig returns the defaults, which config.yaml repeats.
func DefaultConfig() Config {
	return Config{
		DB: DBConfig{
			Path:             "./patina.db",
			SchemaPaths:      []string{"./schema"},
			MaxClockDrift:    500 * time.Millisecond,
			StatementTimeout: 30 * time.Second,
			QueryMaxAge:      time.Minute,
			MaxWALBytes:      256 << 20,
			Log:              DBLogConfig{MaxBytes: 1 << 50, MaxAge: 10 * 365 * 24 * time.Hour},
		},
		API: APIConfig{
			Addr:          "127.0.0.1:8080",
			MaxStatements: 1000,
			MaxBodyBytes:  4 << 20,
		},
		Gossip: GossipConfig{
			Addr:      "127.0.0.1:8787",
			Bootstrap: []string{},
			Cluster:   "default",
		},
		Log: LogConfig{Level: "info", Format: "text"},
	}
}

// WithDefaults returns c with every zero setting replaced by its default.
func (c Config) WithDefaults() Config {
	d := DefaultConfig()
	for _, k := range configKeys {
		if p := k.at(&c); isZero(p) {
			assignField(p, loadField(k.at(&d)))
		}
	}
	return c
}

// Validate reports every setting of c that a node would refuse, joined, one to
// a line; each is a *ConfigError. Load has already done this for what it
// returns.
func (c Config) Validate() error {
	r := configReader{cfg: c}
	for _, k := range configKeys {
		if problem := k.kind.check(loadField(k.at(&c))); problem != "" {
			r.report(configOrigin{}, k.path, problem)
		}
	}
	r.crossCheck()
	return r.err()
}

// Diff compares c, which a node runs with, with next, which was read again. It
// returns the paths of the keys that differ: those that take effect while the
// node runs, and those that need a restart.
func (c Config) Diff(next Config) (changed, needsRestart []string) {
	for _, k := range configKeys {
		switch {
		case sameSetting(k.at(&c), k.at(&next)):
		case k.live:
			changed = append(changed, k.path)
		default:
			needsRestart = append(needsRestart, k.path)
		}
	}
	return changed, needsRestart
}

// Reloaded returns c with those settings of next that take effect while a node
// runs; the others stay as they were at the start.
func (c Config) Reloaded(next Config) Config {
	for _, k := range configKeys {
		if k.live {
			assignField(k.at(&c), loadField(k.at(&next)))
		}
	}
	return c
}

// String lists every setting as path=value, the secret redacted.
func (c Config) String() string {
	var b strings.Builder
	for i, k := range configKeys {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(k.path + "=" + showField(k.at(&c)))
	}
	return b.String()
}

// LogValue logs what String returns.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }
