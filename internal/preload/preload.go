package preload

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
)

// Mode is whether the collection is scanned.
type Mode string

const (
	// Auto scans unless the collection cannot fit.
	Auto Mode = "auto"
	// On always scans.
	On Mode = "on"
	// Off never scans: keys are read on demand.
	Off Mode = "off"
)

// Defaults of Config, each with its reason.
const (
	// DefaultAuditInterval reads the whole collection once an hour: rarely
	// enough to cost nothing, and often enough to find a difference soon.
	DefaultAuditInterval = time.Hour
	// DefaultRebuildPause prevents a cache that is too small from being rebuilt
	// all the time.
	DefaultRebuildPause = time.Minute
	// DefaultRetryPause is between two scans if the cursor of the first one
	// failed.
	DefaultRetryPause = 5 * time.Second
	// DefaultMovedShare is the share of hash slots with changes since the scan
	// above which unknown keys cost too many reads.
	DefaultMovedShare = 0.05
	// DefaultOutdatedShare is the share of keys that need a read above which a
	// scan is less work than to read them one by one: such a read takes as long
	// as 4 to 23 keys of a scan (go -C bench run . bulk).
	DefaultOutdatedShare = 0.05

	// jitter spreads the audits of a fleet: a tenth of the interval.
	jitter = 0.1
	// pollInterval is how often the state of the cache is checked. It delays
	// scans, not answers.
	pollInterval = 50 * time.Millisecond
	// smallestEntry is less than any key takes in the cache, in bytes: a
	// collection that does not fit with this size does not fit at all.
	smallestEntry = 64
)

// Store reads the collection. A keystore.Store is one.
type Store interface {
	Count(ctx context.Context) (int64, error)
	Scan(ctx context.Context, after clustertime.Time, see func(*keystore.Document) error) error
	FindByHash(ctx context.Context, h apikey.Hash, after clustertime.Time) (keystore.Document, bool, error)
}

// Heartbeater writes a heartbeat immediately, so that a scan that waits for the
// stream need not wait for the next heartbeat. A changestream.Heartbeater is
// one.
type Heartbeater interface {
	Beat(ctx context.Context) (clustertime.Time, error)
}

// Observer looks at what a scan reads, on the scan's goroutine. An expiry.Watch is
// one.
type Observer interface {
	// Begin is called before the first See of a scan, End at its end. complete: the
	// scan has read every document.
	Begin()
	See(id apikey.DocID, record *apikey.Record)
	End(complete bool)
}

// Config configures a Loader. Cache and Store are required.
type Config struct {
	Cache *keycache.Cache
	Store Store
	// Heartbeater: nil waits for the periodic heartbeat.
	Heartbeater Heartbeater
	// UniqueIndex checks whether the hash has a unique index. It is called when
	// a scan has begun: with the index, no two documents with the same hash can
	// be read, so each entry is valid as soon as its document has been read.
	// Nil, or false: entries become valid at the end of the scan.
	UniqueIndex func(ctx context.Context) bool
	// Observer: nil is none.
	Observer Observer
	// Mode: zero is Auto.
	Mode Mode
	// CacheBytes is the capacity of one generation of the cache; Auto compares
	// the collection with it. Zero: no limit.
	CacheBytes int64
	// AuditInterval is the time between two scans when all is well, with a
	// jitter of a tenth. The first audit may come earlier, and in a large fleet
	// audits may be rarer (DESIGN.md). Zero: DefaultAuditInterval.
	AuditInterval time.Duration
	// RebuildPause is the least time between two scans into a second
	// generation, and the longest pause before any repair. Zero:
	// DefaultRebuildPause.
	RebuildPause time.Duration
	// RetryPause follows a scan whose cursor failed. Zero: DefaultRetryPause.
	RetryPause time.Duration
	// MovedShare is the share of hash slots with changes above which a scan is
	// made. Zero: DefaultMovedShare.
	MovedShare float64
	// OutdatedShare is the share of keys that need a read above which a scan
	// follows when refreshes were dropped. Zero: DefaultOutdatedShare. At least 1:
	// never.
	OutdatedShare float64
	// Instances returns how many instances use the collection, with this one.
	// Scans that they would all begin at once are spread (DESIGN.md). Nil: 1.
	Instances func() int
	// Random returns a random number in [0, 1). Nil: math/rand/v2's.
	Random func() float64
	// Logger: nil logs nothing.
	Logger *zap.Logger
	// Registerer registers the metrics. Nil: none.
	Registerer prometheus.Registerer
}

// nobody observes nothing.
type nobody struct{}

func (nobody) Begin()                           {}
func (nobody) See(apikey.DocID, *apikey.Record) {}
func (nobody) End(bool)                         {}

func (c *Config) setDefaults() {
	if c.Mode == "" {
		c.Mode = Auto
	}
	if c.AuditInterval == 0 {
		c.AuditInterval = DefaultAuditInterval
	}
	if c.RebuildPause == 0 {
		c.RebuildPause = DefaultRebuildPause
	}
	if c.RetryPause == 0 {
		c.RetryPause = DefaultRetryPause
	}
	if c.MovedShare == 0 {
		c.MovedShare = DefaultMovedShare
	}
	if c.OutdatedShare == 0 {
		c.OutdatedShare = DefaultOutdatedShare
	}
	if c.Instances == nil {
		c.Instances = func() int { return 1 }
	}
	if c.Random == nil {
		c.Random = rand.Float64
	}
	if c.Observer == nil {
		c.Observer = nobody{}
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
}

func (c *Config) validate() error {
	var errs []error
	if c.Cache == nil || c.Store == nil {
		errs = append(errs, errors.New("a cache and a store are required"))
	}
	if c.Mode != Auto && c.Mode != On && c.Mode != Off {
		errs = append(errs, fmt.Errorf("preload is %q, it must be auto, on or off", c.Mode))
	}
	if c.AuditInterval < 0 || c.RebuildPause < 0 || c.RetryPause < 0 {
		errs = append(errs, errors.New("the audit interval and the pauses must be positive"))
	}
	return errors.Join(errs...)
}

// Loader scans the collection. Its state belongs to Run's goroutine, except for
// the atomics.
type Loader struct {
	config  Config
	logger  *zap.Logger
	metrics *metrics
	// attempted is the epoch for which a first scan has ended, successfully or
	// not.
	attempted atomic.Uint64
	// took is how long the last complete scan took to read the collection, in
	// nanoseconds.
	took atomic.Int64
	// running is the progress of the scan that reads now. Nil: none does.
	running atomic.Pointer[progress]
}

// New makes a Loader that has not begun.
func New(config Config) (*Loader, error) {
	config.setDefaults()
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("preload: %w", err)
	}
	m, err := newMetrics(config.Registerer)
	if err != nil {
		return nil, fmt.Errorf("preload: %w", err)
	}
	return &Loader{config: config, logger: config.Logger.Named("preload"), metrics: m}, nil
}

// Loading reports whether the first scan since the stream was opened has not
// ended yet.
func (p *Loader) Loading() bool {
	epoch := p.config.Cache.Epoch()
	return p.config.Mode != Off && p.config.Cache.Trusted() && p.attempted.Load() != epoch
}

// LastScan returns how long the last complete scan took to read the collection.
// Zero: there was none.
func (p *Loader) LastScan() time.Duration { return time.Duration(p.took.Load()) }

// Run scans whenever a scan is due, until ctx ends, and returns nil. A scan
// that fails is not a failure of the service: keys are read on demand.
func (p *Loader) Run(ctx context.Context) error {
	if p.config.Mode == Off {
		<-ctx.Done()
		return nil
	}
	plan := newPlan(&p.config, p.logger, p.metrics, p.LastScan)
	for {
		kind, ok := plan.waitForScan(ctx)
		if !ok {
			return nil
		}
		epoch := p.config.Cache.Epoch()
		err := p.scan(ctx, kind)
		if ctx.Err() != nil {
			return nil
		}
		p.attempted.Store(epoch)
		plan.ended(epoch, err)
		p.report(kind, err, plan.onDemand)
	}
}

func (p *Loader) report(kind keycache.ScanKind, err error, onDemand bool) {
	p.metrics.scans.WithLabelValues(resultOf(err)).Inc()
	switch {
	case errors.Is(err, keycache.ErrScanFits):
		p.logger.Info("the collection fits into the cache now, a scan that fills it follows")
	case err == nil:
		stats := p.config.Cache.Stats()
		p.logger.Info("the cache is complete", zap.Int("entries", stats.Entries), zap.Bool("audit", kind == keycache.ScanInPlace))
	case errors.Is(err, errTooManyHashes):
		p.logger.Warn("the cache cannot hold all hashes, keys are read on demand: store one hash in each document",
			zap.Int("max_hashes", keystore.MaxHashes), zap.Error(err))
	case onDemand:
		p.logger.Warn("the collection does not fit into the cache, keys are read on demand: raise --cache-size", zap.Error(err))
	default:
		p.logger.Warn("a scan did not make the cache complete, another scan follows", zap.Error(err))
	}
}
