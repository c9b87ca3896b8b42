package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/hlc"
	"github.com/patinadb/patina/changeset/sqlite"
	"github.com/patinadb/patina/sync/versions"
)

// Errors that callers branch on.
var (
	// ErrStopped: the store is not running, or stopped before the request ran.
	ErrStopped error = stopped{}
	// ErrReplaced: the database file, its -wal or its -shm was replaced, removed or
	// cut short by somebody else; the store refuses to write and Run ends. A write that
	// committed before that was found fails with it too, and may be kept.
	ErrReplaced = errors.New("store: the database was replaced under the running node")
	// ErrForeignCluster: the file belongs to another cluster.
	ErrForeignCluster = errors.New("store: database of another cluster")
	// ErrNewerFormat: the file was written by a newer patina.
	ErrNewerFormat = errors.New("store: database of a newer format")
	// ErrOlderFormat: the file was written by an older patina.
	ErrOlderFormat = errors.New("store: database of an older format")
	// ErrForeignFile: the file is an SQLite database with tables that are not ours.
	ErrForeignFile = errors.New("store: not a patina database")
)

// stopped is the type of ErrStopped; other packages recognise it by method.
type stopped struct{}

func (stopped) Error() string { return "store: stopped" }

// Unavailable reports true: nothing ran, and another attempt may succeed.
func (stopped) Unavailable() bool { return true }

// Config says how to open a store. The zero value of each field but Path means
// its default.
type Config struct {
	Path             string        // of the database file; its folder must exist
	Cluster          string        // name that the file is bound to
	MaxClockDrift    time.Duration // default 500 ms; see hlc.Clock.Observe
	Readers          int           // read connections, default 4
	StatementTimeout time.Duration // of one client statement on the writer, default 30 s
	QueryMaxAge      time.Duration // of one read, default 60 s: a read pins the WAL
	MaxWALBytes      int64         // bound of the WAL, default 256 MiB: see walbound.go
	LogMaxBytes      int64         // of the log of changesets, as stored; default 0, no bound: see prune.go
	LogMaxAge        time.Duration // of an entry of the log by its timestamp; default 0, no bound
	Now              func() time.Time
	Log              *slog.Logger
	// Committed is called by whoever owns the writer, one call at a time, after the
	// fsync of every transaction that made changesets durable here. It must not
	// block, nor write to the store.
	Committed func([]Committed)
	Schema    []SchemaFile
	// Identity names the machine, to recognise a moved copy; default the
	// machine id where there is one.
	Identity string
	// VFS names the SQLite VFS that holds the database and its -wal; "" is
	// SQLite's default. The lock and the identity file are always on the real
	// file system, beside Path.
	VFS string

	adopt *survey // of the file that Adopt opens; nil for everybody else
	// stat looks at the file that SQLite opens at a path: stateOf, but for tests
	// whose VFS is a simulated disk.
	stat func(path string) (fileState, error)
}

// busyTimeout is how long the writer waits for an outside process that writes.
const busyTimeout = 5 * time.Second

// Page caches in bytes, filled as far as they are used; together no more than an
// idle node may keep. A page that is not there comes from the system's cache for a
// microsecond: with a table of 9 MiB, 1 to 16 MiB make 7 % of a point read and 8 %
// of an update.
const (
	writerCache  = 4 << 20
	readerCache  = 2 << 20 // of each connection of clients
	servingCache = 1 << 20 // a log entry is read once
)

// maxValueSize bounds a text, a blob or a row, in bytes. What is larger cannot
// replicate, and one statement must not take a gigabyte.
const maxValueSize = 2 * changeset.MaxEncodedSize

// servingReaders is the number of connections that read the log for peers.
const servingReaders = 2

// Committed tells of a changeset that became durable here: our own, one that
// was merged, or one that was parked.
type Committed struct {
	changeset.Sealed
	Local, Parked bool
}

func (c Config) withDefaults() Config {
	c.Path = RealPath(c.Path)
	if c.MaxClockDrift == 0 {
		c.MaxClockDrift = 500 * time.Millisecond
	}
	if c.Readers == 0 {
		c.Readers = 4
	}
	if c.StatementTimeout == 0 {
		c.StatementTimeout = 30 * time.Second
	}
	if c.QueryMaxAge == 0 {
		c.QueryMaxAge = time.Minute
	}
	if c.MaxWALBytes == 0 {
		c.MaxWALBytes = 256 << 20
	}
	if c.stat == nil {
		c.stat = stateOf
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Committed == nil {
		c.Committed = func([]Committed) {}
	}
	if c.Cluster == "" {
		c.Cluster = "default"
	}
	if c.Identity == "" {
		c.Identity = machineIdentity()
	}
	return c
}

// Store is an open replicated database. Open makes one, Run drives it, Close
// ends it; every other method may be called from any goroutine while Run runs.
type Store struct {
	cfg     Config
	writer  *writer
	readers *readerPool // of clients
	serving *readerPool // of peers, so that clients cannot hold up replication
	lock    *databaseLock
	wal     *walKeeper
	queues  queues

	// Snapshots that the writer publishes after each commit.
	vector   atomic.Pointer[versions.Vector]
	actors   atomic.Pointer[actorTable]
	parked   atomic.Pointer[[]Parked]
	forked   atomic.Pointer[[]Fork]
	filling  atomic.Pointer[Fill]
	settled  atomic.Bool
	schema   atomic.Pointer[schema]
	sums     atomic.Pointer[publishedSums]
	secret   atomic.Pointer[[32]byte]
	epoch    uint64        // of this open
	drifted  atomic.Uint64 // remote timestamps beyond the drift bound
	forks    atomic.Uint64 // see Forks
	renewals atomic.Uint64 // see Renewals
	reruns   atomic.Uint64 // see Reruns
	dropped  atomic.Uint64 // see IndexesDropped

	logState logState
	peers    knownPeers

	renewed  chan struct{}             // capacity 1; see Renewed
	stopped  chan struct{}             // closed when Run has ended
	baton    chan struct{}             // capacity 1: full while the writer waits; see runAlone
	crowded  chan struct{}             // capacity 1: the WAL is to be moved; see leaveRoom
	endAt    atomic.Pointer[time.Time] // of EndStatements
	stopOnce sync.Once

	closeOnce sync.Once
	closed    error // of Close
}

// Open opens or creates the database, checks that it is ours and of this
// cluster, takes a new actor id if the file is a copy, and applies the schema
// files. It starts nothing. Errors name the file that is at fault.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	cfg = cfg.withDefaults()
	if err := checkLinks(cfg.Path); err != nil {
		return nil, err
	}
	conn, err := sqlite.Open(sqlite.Config{Path: cfg.Path, VFS: cfg.VFS, Create: true, BusyTimeout: busyTimeout, CacheBytes: writerCache, KeepJournal: true})
	if err != nil {
		return nil, explainOpen(err, cfg.Path)
	}
	s, err := newStore(cfg, conn)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if err := s.writer.enterWAL(); err != nil {
		return nil, errors.Join(explainOpen(fmt.Errorf("%s: %w", cfg.Path, err), cfg.Path), conn.Close())
	}
	if s.lock, err = lockDatabase(cfg.Path); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, conn.Close(), s.lock.discard())
	}
	s.epoch = s.writer.meta.epoch
	s.writer.publish()
	return s, nil
}

// newStore is a store on the writer's connection that has read nothing yet.
func newStore(cfg Config, conn *sqlite.Conn) (*Store, error) {
	conn.SetLimit(sqlite.LimitLength, maxValueSize)
	s := &Store{cfg: cfg, renewed: make(chan struct{}, 1), stopped: make(chan struct{}), baton: make(chan struct{}, 1), crowded: make(chan struct{}, 1), queues: newQueues()}
	s.writer = &writer{store: s, conn: conn, log: cfg.Log.With("component", "store"), waiting: newWaitingRoom(), links: make(recentLinks, keptLinks), capture: newCaptureBuffer(), groupTime: groupTime, lookAge: lookAge}
	if err := conn.CreateInternal(moveFunction, 2, s.writer.moveClock); err != nil {
		return nil, fmt.Errorf("%s: %w", cfg.Path, err)
	}
	return s, nil
}

func (s *Store) open(ctx context.Context) (err error) {
	if err := s.writer.open(ctx); err != nil {
		return err
	}
	if s.readers, err = newReaderPool(s.cfg, s.cfg.Readers, readerCache); err != nil {
		return err
	}
	if s.serving, err = newReaderPool(s.cfg, servingReaders, servingCache); err != nil {
		s.readers.close()
		return err
	}
	if s.wal, err = newWALKeeper(s.cfg); err != nil {
		s.readers.close()
		s.serving.close()
	}
	return err
}

// Run drives the writer until ctx ends or the store cannot go on (ErrReplaced).
// Requests that were accepted before are answered. It must be called once.
func (s *Store) Run(ctx context.Context) error {
	defer s.stopOnce.Do(func() { close(s.stopped) })
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var keeper sync.WaitGroup
	keeper.Go(func() { s.wal.run(ctx) })
	err := s.writer.run(ctx)
	cancel()
	keeper.Wait()
	return err
}

// Close releases every connection. Call it after Run has ended, or instead of
// Run; closing twice is allowed. The last connection to close empties the WAL
// into the file.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		s.stopOnce.Do(func() { close(s.stopped) })
		s.readers.close()
		s.serving.close()
		err := s.writer.close()
		s.closed = errors.Join(err, s.wal.close(), s.lock.Close())
	})
	return s.closed
}

// Actor returns the id under which this copy writes. It changes when the store
// finds that it is a copy.
func (s *Store) Actor() changeset.ActorID { return s.actors.Load().self }

// Vector returns what is applied and parked here, as of the last commit. The
// caller must not change it.
func (s *Store) Vector() *versions.Vector { return s.vector.Load() }

// SchemaDigest returns the digest of the replicated schema (DESIGN section 7).
func (s *Store) SchemaDigest() [32]byte { return s.schema.Load().digest }

// Parked lists the changesets that are held but cannot be merged yet, sorted by
// actor and version. The caller must not change it.
func (s *Store) Parked() []Parked { return *s.parked.Load() }

// Epoch numbers the opens of this copy: higher at each open, and at least the
// wall clock in milliseconds at open.
func (s *Store) Epoch() uint64 { return s.epoch }

// Secret returns 32 random bytes that stay with this copy of the database and
// never leave the machine, for keys that must survive a restart. It changes with
// the actor id.
func (s *Store) Secret() [32]byte { return *s.secret.Load() }

// Drifted counts remote changesets whose time was further ahead of the wall
// clock here than MaxClockDrift.
func (s *Store) Drifted() uint64 { return s.drifted.Load() }

// Reruns counts requests that ran again because another one took the transaction
// down that they shared, or needed one of its own.
func (s *Store) Reruns() uint64 { return s.reruns.Load() }

// IndexesDropped counts indexes that another process made and that were dropped
// here because they made remote changesets fail.
func (s *Store) IndexesDropped() uint64 { return s.dropped.Load() }

// writer is the state of the writer goroutine; see the package documentation.
type writer struct {
	store   *Store
	conn    *sqlite.Conn
	log     *slog.Logger
	clock   *hlc.Clock
	meta    meta
	files   fileStates      // at the last look; see checkFiles
	index   sqlite.WALIndex // then
	covered pageCover
	looked  time.Time
	lookAge time.Duration // the constant, but in tests

	actors  *actorTable
	vector  *versions.Vector
	schema  *schema
	parked  []Parked
	forked  []Fork // sorted by actor; replaced, never changed
	links   recentLinks
	unread  []int // tables whose kept sum could not be read
	waiting *waitingRoom

	sums     []changeset.Sum // by table.sum; the writer's own
	logBytes int64           // of the changesets in the log, as they are stored
	saved    *state
	unsaved  int       // versions since
	moving   *clockRun // what moveFunction works on
	// nextPrune is when the log is looked at next, and nextAged when an entry of it
	// may be too old.
	nextPrune, nextAged time.Time
	retries             retries

	turns      turns
	unfinished *applyJob     // taken from the queue, and not yet applied whole
	rowTime    time.Duration // that one remote row took lately

	capture   captureBuffer
	groupTime time.Duration // the constant, but in tests

	// What ends the statement that runs; see limit.
	limitCtx context.Context
	limitEnd time.Time
	limitNow func() time.Time
	returned returnedBytes
	refused  error // why no transaction may begin: the WAL is at its bound
	lost     error // why none ever may again: see checkFiles
	scratch  []byte
	// schemaVersion is SQLite's, at the last introspection.
	schemaVersion int64
	noted         map[string]bool             // what the schema files leave alone and was logged
	unjudged      bool                        // the schema moved without us since the parked were judged
	tables        map[string]*tableStatements // by name; dropped when the schema moves
	touched       map[*sqlite.Access]*touchedSet
	summed        []*tableStatements // whose delta the version in work has changed
}

// open brings the file into shape: format, identity, actors, vector, schema.
func (w *writer) open(ctx context.Context) error {
	cfg := w.store.cfg
	if err := w.openMeta(); err != nil {
		return fmt.Errorf("%s: %w", cfg.Path, err)
	}
	var err error
	if w.files, err = cfg.watchFiles(); err != nil {
		return err
	}
	if err := w.loadState(); err != nil {
		return fmt.Errorf("%s: read what is applied: %w", cfg.Path, err)
	}
	w.nextPrune = cfg.Now().Add(pruneAfterStart)
	mark, err := w.timeMark()
	if err != nil {
		return fmt.Errorf("%s: read time mark: %w", cfg.Path, err)
	}
	w.clock = hlc.New(cfg.Now, cfg.MaxClockDrift, mark)
	if err := w.loadParked(); err != nil {
		return fmt.Errorf("%s: read parked changesets: %w", cfg.Path, err)
	}
	if err := w.loadFill(); err != nil {
		return fmt.Errorf("%s: read how far the transfer of state was: %w", cfg.Path, err)
	}
	if err := w.loadForks(); err != nil {
		return fmt.Errorf("%s: read fork marks: %w", cfg.Path, err)
	}
	w.conn.SetPreupdate(w.onPreupdate)
	w.conn.MutePreupdate(true)
	if err := w.transaction(func() error { return w.loadSchema(false) }); err != nil {
		return fmt.Errorf("%s: %w", cfg.Path, err)
	}
	w.unjudged = true // it may have moved while we were away
	_, err = w.applySchemaFiles(ctx, cfg.Schema)
	return err
}

// publish hands the state after a commit to the readers of snapshots.
func (w *writer) publish() {
	vector := w.vector.Clone()
	w.store.vector.Store(vector)
	w.store.actors.Store(w.actors)
	w.store.schema.Store(w.schema)
	w.store.logState.bytes.Store(w.logBytes)
	w.store.sums.Store(&publishedSums{vector, w.schema, slices.Clone(w.sums)})
	parked, forked := w.parked, w.forked // replaced, never changed
	w.store.parked.Store(&parked)
	w.store.forked.Store(&forked)
	if known := w.store.secret.Load(); known == nil || *known != w.meta.secret {
		secret := w.meta.secret
		w.store.secret.Store(&secret)
	}
}

func (w *writer) close() error {
	err := w.saveOnClose()
	return errors.Join(err, w.conn.Close())
}

func randomSecret() (b [32]byte) {
	rand.Read(b[:])
	return b
}
