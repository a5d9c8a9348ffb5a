// Package keytail validates API keys from memory, and is never wrong for longer
// than a stated bound: a cache of keys that follows the change stream of their
// MongoDB collection. README.md says how to run it as a daemon; this package is
// the same thing for use inside a Go program.
//
//	service, err := keytail.New(ctx, keytail.Config{Client: client, Database: "app"})
//	...
//	go service.Run(ctx)
//	router.Use(service.Authenticate())
//	router.GET("/orders", keytail.RequireScope("orders:read"), func(c *gin.Context) {
//		c.JSON(http.StatusOK, ordersOf(keytail.Principal(c).UserID))
//	})
package keytail

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/changestream"
	"github.com/keytail/keytail/internal/coreauth"
	"github.com/keytail/keytail/internal/extauthz"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/keyadmin"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/preload"
	"github.com/keytail/keytail/internal/routes"
	"github.com/keytail/keytail/internal/tokens"
	"github.com/keytail/keytail/internal/usage"
	"github.com/keytail/keytail/internal/validator"
)

// startTimeout bounds the checks of New: a wrong address shows within seconds.
const startTimeout = 15 * time.Second

// Config of a Service. Client and Database are required; the zero value of every
// other field is a default.
type Config struct {
	// Client reaches the replica set that holds the keys. Its read concern, write
	// concern and read preference are not used: the Service sets its own. It must
	// have no timeout of its own (SetTimeout), which would end an idle change stream,
	// and no direct connection to a set of several members. It should have a connect
	// timeout and a heartbeat interval of a few seconds (SetConnectTimeout,
	// SetHeartbeatInterval): with the driver's 30 s and 10 s, a network that failed
	// for a moment keeps reads waiting for as long (docs/mongodb-uri.md). The Service
	// does not disconnect it.
	Client *mongo.Client
	// Database and Collection hold the keys. Collection's zero: "api_keys".
	Database   string
	Collection string
	// Mapping says how the collection's documents are made. Zero: DefaultMapping.
	Mapping Mapping
	// DefaultScopes are those of a key whose document has none (absent or null).
	// Nil: none.
	DefaultScopes []string
	// StreamScope is what the change stream watches: "database" or, where the
	// credential may watch no more than the keys, "collection" (README.md,
	// Privileges). Empty: "database".
	StreamScope string
	// StateDatabase holds keytail's own collection, the heartbeats. Another
	// database than the keys' needs StreamScope "collection". Empty: Database.
	StateDatabase string
	// EnsureSchema creates the collection and its unique index where they are
	// missing. False: New says what is missing.
	EnsureSchema bool
	// MaxStale is the age past which no answer is given from memory. Zero: 15 s.
	MaxStale time.Duration
	// HeartbeatInterval is the time between two heartbeats, whose way back through
	// the change stream proves that answers from memory are fresh; at most a third
	// of MaxStale. Zero: 1 s, or a third of MaxStale if that is shorter.
	HeartbeatInterval time.Duration
	// InstanceName is how the fleet calls this instance. Empty: the host's name.
	InstanceName string
	// MaxReads is how many reads of keys may be under way at once: the client's
	// pool size less four. Past it a key that is not held is UNAVAILABLE. Zero: 96.
	MaxReads int64
	// CacheSizeMiB is the hard limit of what the cached records take, in MiB.
	// Zero: 512.
	CacheSizeMiB int
	// Preload says whether the whole collection is held, so that unknown keys cost
	// no read: "auto" (unless it cannot fit), "on" or "off". Empty: "auto".
	Preload string
	// AuditInterval is the time between two scans that compare what is held with
	// the database. Zero: 1 h.
	AuditInterval time.Duration
	// KeyPrefix is that of keys made by keytail, whose checksum is held against
	// them. Empty: "kt".
	KeyPrefix string
	// KeySources say where forward-auth looks for the key, as --key-sources does.
	// Empty: bearer and x-api-key.
	KeySources []string
	// TrustedProxies may say in X-Forwarded-For whom they speak for, as addresses
	// or networks. Empty: the peer is the client.
	TrustedProxies []string
	// Policies are what forward-auth asks for under /v1/auth/policy/{name}, by
	// name. Nil: none.
	Policies map[string]Policy
	// HideCredentials lets Envoy take the key out of a request that is allowed, by
	// the answers of ExtAuthz. False: what the client sent goes on to the API.
	HideCredentials bool
	// CallerTokenFile says who may use verify, in lines of name=token; it is read
	// again when it changes. Empty: whoever reaches the handler.
	CallerTokenFile string
	// AdminTokenFile says who may use the admin handler, in the same form. Empty:
	// there is no admin handler.
	AdminTokenFile string
	// NoUsage leaves last_used and usage_count alone. False: they are written behind,
	// every 10 s and when Run stops (README.md, "last_used"), if the credential may.
	NoUsage bool
	// Logger: nil is silent. No log line holds a key.
	Logger *zap.Logger
	// Registry takes the metrics, and is what /metrics shows. Nil: one of its own.
	Registry *prometheus.Registry
	// Version is shown in metrics. Empty: "unknown".
	Version string
}

// Policy is what requests need that are asked about by its name. The zero value
// wants a valid key and no more.
type Policy struct {
	// Scopes must all be held.
	Scopes []string
	// OrgID and ProjectID are those of the request, which a bound key must match.
	// Empty: the request has none, and a bound key is refused.
	OrgID, ProjectID string
}

// Service is keytail, ready to run.
type Service struct {
	config    Config
	logger    *zap.Logger
	cache     *keycache.Cache
	heart     *changestream.Heartbeater
	tail      *changestream.Tail
	validator *validator.Validator
	preload   *preload.Loader
	health    *health
	index     *keystore.IndexWatch
	// sink is what the tail tells: the cache, and those who wait or listen.
	sink sink
	// usage is nil when the use of keys is not written down.
	usage *usage.Recorder
	// keys is nil without admin tokens.
	keys *keyadmin.Admin

	// callers and admins are nil without their file.
	callers, admins *tokens.Set

	public     http.Handler
	operations http.Handler
	admin      http.Handler // nil without admin tokens
	extauthz   *extauthz.Server
	running    atomic.Bool
}

// New builds a Service and checks that the collection is one that it can answer
// for. It starts nothing. An error is a sentence that says what to do, and names
// every mistake of the configuration at once.
func New(ctx context.Context, config Config) (*Service, error) {
	p, err := newParts(config)
	if err != nil {
		return nil, err
	}
	return p.service(ctx)
}

// service checks the database, and puts the parts together.
func (p *parts) service(ctx context.Context) (*Service, error) {
	if err := p.prepare(ctx); err != nil {
		return nil, err
	}
	s := &Service{config: p.config, logger: p.config.Logger, cache: p.cache, index: p.index, heart: p.heart, tail: p.tail, sink: p.sink, usage: p.usage, callers: p.callers, admins: p.admins}
	var err error
	if s.keys, err = p.newKeys(ctx); err != nil {
		return nil, err
	}
	if err := s.assemble(p.store, p.forward); err != nil {
		return nil, err
	}
	p.preload.Store(s.preload)
	return s, nil
}

// assemble wires the rooms in the order of the data's way.
func (s *Service) assemble(store *keystore.Store, forward forwardauth.Config) error {
	var err error
	var toucher validator.UsageRecorder
	if s.usage != nil {
		toucher = s.usage
	}
	s.validator, err = validator.New(validator.Config{
		Cache:      s.cache,
		Store:      store,
		Prefix:     s.config.KeyPrefix,
		HashAfter:  store.Schema().HashAfter,
		Toucher:    toucher,
		Pulse:      s.heart,
		MaxReads:   s.config.MaxReads,
		Logger:     s.logger,
		Registerer: s.config.Registry,
	})
	if err != nil {
		return err
	}
	s.preload, err = preload.New(preload.Config{
		Cache:         s.cache,
		Store:         store,
		Pulse:         s.heart,
		UniqueIndex:   s.index.Check,
		Mode:          preload.Mode(s.config.Preload),
		CacheBytes:    s.cache.GenerationBytes(),
		AuditInterval: s.config.AuditInterval,
		Logger:        s.logger,
		Registerer:    s.config.Registry,
	})
	if err != nil {
		return err
	}
	s.health = newHealth(s, store.Sharded(), time.Now)
	if err := s.register(); err != nil {
		return err
	}
	forward.Validator = s.validator
	return errors.Join(s.handlers(forward), s.newExtAuthz(forward))
}

// newExtAuthz makes what the gRPC listener serves.
func (s *Service) newExtAuthz(forward forwardauth.Config) error {
	authority, err := forwardauth.New(forward)
	if err != nil {
		return err
	}
	s.extauthz, err = extauthz.New(extauthz.Config{
		Authority:       authority,
		HideCredentials: s.config.HideCredentials,
		Live:            s.Live(),
		Logger:          s.logger,
	})
	return err
}

// handlers makes those of the three listeners.
func (s *Service) handlers(forward forwardauth.Config) error {
	public := routes.PublicConfig{
		Config: forward, Logger: s.logger,
		Syncer: syncer{s.sink.fleet}, Events: feed{s.sink.events},
	}
	if s.callers != nil {
		public.Callers = s.callers
	}
	var err error
	if s.public, err = routes.NewPublic(public); err != nil {
		return err
	}
	s.operations, err = routes.NewOperations(routes.OperationsConfig{
		Status:   s.health.status,
		Gatherer: s.config.Registry,
		Logger:   s.logger,
	})
	if err != nil || s.admins == nil {
		return err
	}
	s.admin, err = routes.NewAdmin(routes.AdminConfig{
		Tokens:   s.admins,
		Status:   s.health.status,
		Syncer:   public.Syncer,
		Events:   public.Events,
		Keys:     s.keys,
		Instance: s.heart.ID(),
		Version:  s.version(),
		Logger:   s.logger,
	})
	return err
}

// version is shown in metrics and on the status page.
func (s *Service) version() string {
	if s.config.Version == "" {
		return "unknown"
	}
	return s.config.Version
}

// register adds the metrics that no room registers by itself.
func (s *Service) register() error {
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "keytail_build_info",
		Help:        "Always 1; its label is the version.",
		ConstLabels: prometheus.Labels{"version": s.version()},
	})
	build.Set(1)
	collectors := append(s.cache.Collectors(), s.health.collectors()...)
	for _, collector := range append(collectors, build) {
		if err := s.config.Registry.Register(collector); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
	}
	return nil
}

// Run follows the change stream until ctx ends, and returns nil when all of it
// has stopped. Until it runs nothing is answered from memory: the database is asked
// for each key. It can be called once.
func (s *Service) Run(ctx context.Context) error {
	if s.running.Swap(true) {
		return errors.New("the service is running already, or has been stopped: make a new one")
	}
	// The heart stops last: as long as its document stands the fleet counts on
	// this instance, and after that nothing is answered from what it remembers.
	beating, stopHeart := context.WithCancel(context.WithoutCancel(ctx))
	heart := make(chan error, 1)
	go func() { heart <- s.heart.Run(beating) }()
	// Before the tail stops, what was used is written down: answers are still
	// fresh while that takes its time.
	tailing, stopTail := context.WithCancel(context.WithoutCancel(ctx))
	group, tailing := errgroup.WithContext(tailing)
	group.Go(func() error { return s.tail.Run(tailing) })
	group.Go(func() error { return s.validator.RunRefresh(tailing) })
	group.Go(func() error { return s.preload.Run(tailing) })
	group.Go(func() error { return s.index.Run(tailing) })
	group.Go(func() error { return s.health.run(tailing) })
	group.Go(func() error { return s.sink.fleet.Run(tailing) })
	group.Go(func() error { return s.sink.watches.Run(tailing) })
	for _, set := range []*tokens.Set{s.callers, s.admins} {
		if set != nil {
			group.Go(func() error { return set.Run(tailing) })
		}
	}
	group.Go(func() error {
		defer stopTail()
		return s.track(ctx, tailing)
	})
	err := group.Wait()
	s.sink.events.Close()
	s.cache.Lose()
	stopHeart()
	return errors.Join(err, <-heart)
}

// track writes down the use of keys until ctx ends, or failed does because another
// part has failed, and once more then.
func (s *Service) track(ctx, failed context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(failed, cancel)()
	if s.usage == nil {
		<-ctx.Done()
		return nil
	}
	return s.usage.Run(ctx)
}

// Validate answers whether the request may go ahead with the key of this text, as
// auth.Validator says. The verdict's key is shared: only read it.
func (s *Service) Validate(ctx context.Context, key string, request auth.Request) (auth.Verdict, error) {
	return s.asValidator().Validate(ctx, key, request)
}

// asValidator is s as package auth sees it.
func (s *Service) asValidator() coreauth.Validator {
	return coreauth.Validator{Core: s.validator, Watches: s.sink.watches}
}

// Public is the handler of the public listener: verify and forward-auth.
func (s *Service) Public() http.Handler { return s.public }

// Operations is the handler of the operations listener: readyz and metrics.
func (s *Service) Operations() http.Handler { return s.operations }

// Admin is the handler of the admin listener: the status page. Nil without an
// AdminTokenFile.
func (s *Service) Admin() http.Handler { return s.admin }

// ExtAuthz answers Envoy's ext_authz filter over gRPC, with a health service that
// says what readyz says: its Serve takes a listener, its Shutdown ends that. Nothing
// listens until then.
func (s *Service) ExtAuthz() *extauthz.Server { return s.extauthz }

// Live is closed when the service is live for the first time.
func (s *Service) Live() <-chan struct{} { return s.health.firstLive }

// Drain makes readyz say 503 from now on and the gRPC health NOT_SERVING, and ends what may last longer than a
// shutdown: streams of events, whose clients go on from there at another
// instance, and waits for a revision, as if their time were up. Everything else
// goes on.
func (s *Service) Drain() {
	s.health.draining.Store(true)
	s.extauthz.Drain()
	s.sink.events.Close()
	s.sink.fleet.Close()
}
