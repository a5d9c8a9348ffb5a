package devmongo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/clustertime"
)

// The defaults of Config, and the name of the replica set.
const (
	defaultAddr      = "127.0.0.1:0"
	defaultOplogSize = 100_000
	defaultSort      = 100 << 20        // MongoDB's internalQueryMaxBlockingSortMemoryUsageBytes
	defaultNoop      = 10 * time.Second // MongoDB's periodicNoopIntervalSecs
	defaultTTL       = 60 * time.Second // MongoDB's ttlMonitorSleepSecs
	setName          = "devmongo"
)

// ErrProduction is returned by New when the environment variables indicate production.
var ErrProduction = errors.New("the embedded MongoDB is for development only and does not start in production; unset KEYTAIL_ENV and ENVIRONMENT, or configure a MongoDB server")

// ErrNotLoopback is returned by New for an address that other machines could reach.
var ErrNotLoopback = errors.New("the embedded MongoDB has no users and listens on loopback addresses only, such as 127.0.0.1:27127")

// Config configures a Server. The zero value is a server on a free port of
// 127.0.0.1.
type Config struct {
	// Addr is host:port to listen on. Zero: 127.0.0.1 and a free port.
	Addr string
	// Logger may be nil: nothing is logged.
	Logger *zap.Logger
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
	// Getenv reads the variables that indicate production. Nil: os.Getenv.
	Getenv func(string) string
	// OplogSize is the number of changes in the oplog. Zero: 100,000.
	OplogSize int
	// NoopInterval is how often the oplog gets a no-op. Zero: 10 s, as in MongoDB.
	// Negative: only by Server.TickNoop.
	NoopInterval time.Duration
	// OtherMembers are further addresses that hello reports, as the primary of a larger
	// replica set does. No server listens there: clients need a direct connection.
	OtherMembers []string
	// Release44 makes the server behave like 4.4.1: it reports this version, supports
	// isMaster but not hello, and acknowledges a write without a write concern after one
	// node (from 5.0 on: a majority).
	Release44 bool
	// SortMemory is how many bytes of documents a sort without an index and without
	// allowDiskUse may use. Zero: 100 MiB, as in MongoDB. More is an error, as in 4.4 and
	// 5.0 (from 6.0 on the server uses the disk by default).
	SortMemory int64
	// TTLInterval is how often expired documents are deleted. Zero: 60 s, as in MongoDB.
	// Negative: only by Server.DeleteExpired.
	TTLInterval time.Duration
	// Observe sees each command before it runs, as the profiler of MongoDB would show it.
	// It must not change it, nor call the server. Nil: nobody does.
	Observe func(command bson.D)
}

// Server is a single-node replica set in memory. Create it with New and serve with Run.
type Server struct {
	cfg      Config
	log      *zap.Logger
	listener net.Listener
	started  time.Time

	// mu guards all fields below. changed is closed and replaced after every change that a
	// waiter may wait for.
	mu         sync.Mutex
	changed    chan struct{}
	applied    *catalog
	majority   *catalog // the same as applied unless the majority is held back
	oplog      oplog
	cursors    map[int64]*cursor
	sessions   map[string]*session // by lsid
	fail       failPoint
	conns      map[*conn]struct{}
	lastConn   int32
	electionID bson.ObjectID
	term       int64
	version    uint64 // of the last write to any document
	// steppedDown is not nil while the node is a secondary.
	steppedDown *time.Timer
	// netFault is the fault of the connections of clients with the application name
	// netVictim.
	netFault  int
	netVictim string
	// delayed is which replies are delayed.
	delayed replyDelay
	// clockOffset is how far the wall clock is ahead of Config.Now.
	clockOffset time.Duration
	// slow is which resumes are delayed, slowResumes how many of them are running.
	slow        slowness
	slowResumes int
	// behind is the data that majority reads see while they lag. Nil: they do not lag.
	behind   *catalog
	behindAt clustertime.Time
	history  history
}

// New starts to listen. It returns an error in production and for an address that is
// not loopback. Nothing is served before Run.
func New(cfg Config) (*Server, error) {
	if err := refuseProduction(&cfg); err != nil {
		return nil, err
	}
	cfg = withDefaults(cfg)
	listener, err := listenLoopback(cfg.Addr)
	if err != nil {
		return nil, err
	}
	return newServer(cfg, listener), nil
}

// refuseProduction is ErrProduction if the environment indicates production.
func refuseProduction(cfg *Config) error {
	if cfg.Getenv == nil {
		cfg.Getenv = os.Getenv
	}
	for _, name := range []string{"KEYTAIL_ENV", "ENVIRONMENT"} {
		if strings.EqualFold(strings.TrimSpace(cfg.Getenv(name)), "production") {
			return ErrProduction
		}
	}
	return nil
}

// newServer makes a server. listener is nil if it does not listen.
func newServer(cfg Config, listener net.Listener) *Server {
	s := &Server{
		cfg: cfg, log: cfg.Logger, listener: listener, started: cfg.Now(), changed: make(chan struct{}), applied: newCatalog(),
		oplog: oplog{limit: cfg.OplogSize}, cursors: map[int64]*cursor{}, sessions: map[string]*session{},
		conns: map[*conn]struct{}{}, electionID: bson.NewObjectID(), term: 1,
	}
	s.majority = s.applied
	s.oplog.add(cfg.Now(), &logEntry{kind: kindNoop})
	return s
}

func withDefaults(cfg Config) Config {
	if cfg.Addr == "" {
		cfg.Addr = defaultAddr
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.OplogSize <= 0 {
		cfg.OplogSize = defaultOplogSize
	}
	if cfg.SortMemory <= 0 {
		cfg.SortMemory = defaultSort
	}
	if cfg.NoopInterval == 0 {
		cfg.NoopInterval = defaultNoop
	}
	if cfg.TTLInterval == 0 {
		cfg.TTLInterval = defaultTTL
	}
	return cfg
}

func listenLoopback(addr string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("the embedded MongoDB cannot listen on %q: %w", addr, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("%w; not %q", ErrNotLoopback, addr)
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("the embedded MongoDB cannot listen on %s: %w", addr, err)
	}
	return listener, nil
}

// Addr is the address that the server listens on.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// URI is a connection string for any driver or shell. It contains the name of the
// replica set, so that clients discover the primary.
func (s *Server) URI() string {
	return fmt.Sprintf("mongodb://%s/?replicaSet=%s", s.Addr(), setName)
}

// Run serves until the context ends. It then closes every connection and returns nil
// when all of its goroutines have stopped. Call it once.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var group sync.WaitGroup
	group.Go(func() {
		<-ctx.Done()
		_ = s.listener.Close()
	})
	group.Go(func() { s.every(ctx, s.cfg.NoopInterval, s.TickNoop) })
	group.Go(func() { s.every(ctx, s.cfg.TTLInterval, func() { s.DeleteExpired() }) })
	err := s.serve(ctx, &group)
	cancel(errShutdown)
	group.Wait()
	s.StepUp() // stops the timer of a step-down
	return err
}

func (s *Server) serve(ctx context.Context, group *sync.WaitGroup) error {
	for {
		nc, err := s.listener.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = nc.Close()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("the embedded MongoDB cannot accept connections: %w", err)
		}
		c := s.addConn(nc)
		group.Go(func() { c.serve(ctx) })
	}
}

func (s *Server) every(ctx context.Context, interval time.Duration, do func()) {
	if interval < 0 {
		return
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			do()
		}
	}
}

// TickNoop writes one no-op to the log, as MongoDB does every ten seconds. It advances
// the high-water marks of idle streams.
func (s *Server) TickNoop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.record(&logEntry{kind: kindNoop})
}

// notify wakes every waiter. The caller holds the lock.
func (s *Server) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// await releases the lock until cond is true, and holds it again when it returns. It
// returns the context's cause when the context ends first.
func (s *Server) await(ctx context.Context, cond func() bool) error {
	for !cond() {
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		s.mu.Lock()
		if ctx.Err() != nil && !cond() {
			return context.Cause(ctx)
		}
	}
	return nil
}
