package preload

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
)

// Mode says whether the collection is scanned.
type Mode string

const (
	// Auto scans unless the collection cannot fit.
	Auto Mode = "auto"
	// On scans in any case.
	On Mode = "on"
	// Off never scans: the cache is filled on demand.
	Off Mode = "off"
)

// Defaults of Config, each with its reason.
const (
	// DefaultAuditInterval reads the whole collection once an hour: rare enough
	// to cost nothing, often enough to be believed.
	DefaultAuditInterval = time.Hour
	// DefaultRebuildPause keeps a cache that is too small from being rebuilt all
	// the time.
	DefaultRebuildPause = time.Minute
	// DefaultRetryPause is between two scans of which the first died with its
	// cursor.
	DefaultRetryPause = 5 * time.Second
	// DefaultMovedShare is the share of hash slots touched by changes past which
	// unknown keys cost too many reads.
	DefaultMovedShare = 0.05

	// jitter spreads the audits of a fleet: a tenth of the interval.
	jitter = 0.1
	// poll is how often the state of the cache is looked at. It delays a scan and
	// no answer.
	poll = 50 * time.Millisecond
	// smallestEntry is less than any key takes in the cache, in bytes: what does
	// not fit by this measure does not fit.
	smallestEntry = 128
	// rebuildsInARow that fail before the cache goes lazy.
	rebuildsInARow = 2
)

// Store is what is asked of the collection. A keystore.Store is one.
type Store interface {
	Count(ctx context.Context) (int64, error)
	Scan(ctx context.Context, after clustertime.Time, see func(keystore.Document) error) error
	FindByHash(ctx context.Context, h apikey.Hash, after clustertime.Time) (keystore.Document, bool, error)
}

// Heartbeater writes a heartbeat at once, so that what waits for the stream need not
// wait for the next one. A changestream.Heartbeater is one.
type Heartbeater interface {
	Beat(ctx context.Context) (clustertime.Time, error)
}

// Config of a Preload. Cache and Store are required.
type Config struct {
	Cache *keycache.Cache
	Store Store
	// Pulse: nil waits for the heartbeat that comes by itself.
	Pulse Heartbeater
	// UniqueIndex looks whether the hash has a unique index, when a scan has begun:
	// then no document is seen whose hash another one has, and each is believed as
	// soon as it has been seen. Nil, or false: at the end of the scan.
	UniqueIndex func(ctx context.Context) bool
	// Mode: zero is Auto.
	Mode Mode
	// CacheBytes is what one generation of the cache holds; Auto compares the
	// collection with it. Zero: no limit.
	CacheBytes int64
	// AuditInterval is the time between two scans when all is well, with a jitter
	// of a tenth. Zero: DefaultAuditInterval.
	AuditInterval time.Duration
	// RebuildPause is the least time between two scans aside, and the longest pause
	// before any scan that repairs the completeness. Zero: DefaultRebuildPause.
	RebuildPause time.Duration
	// RetryPause follows a scan whose cursor died. Zero: DefaultRetryPause.
	RetryPause time.Duration
	// MovedShare is the share of touched hash slots past which a scan is made.
	// Zero: DefaultMovedShare.
	MovedShare float64
	// Logger: nil is silent.
	Logger *zap.Logger
	// Registerer takes the metrics. Nil: none.
	Registerer prometheus.Registerer
}

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
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
}

func (c *Config) validate() error {
	var errs []error
	if c.Cache == nil || c.Store == nil {
		errs = append(errs, errors.New("a cache and a store are needed"))
	}
	if c.Mode != Auto && c.Mode != On && c.Mode != Off {
		errs = append(errs, fmt.Errorf("preload is %q, it must be auto, on or off", c.Mode))
	}
	if c.AuditInterval < 0 || c.RebuildPause < 0 || c.RetryPause < 0 {
		errs = append(errs, errors.New("the audit interval and the pauses must be positive"))
	}
	return errors.Join(errs...)
}

// Loader scans. Its state belongs to the goroutine in Run, but for the atomics.
type Loader struct {
	config  Config
	logger  *zap.Logger
	metrics *metrics
	// attempted is the epoch for which a first scan has ended, well or not.
	attempted atomic.Uint64
	// took is how long the last complete scan read the collection, in nanoseconds.
	took atomic.Int64
}

// New makes a Preload that has not begun.
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

// Loading reports whether the first scan since the stream was opened is still to
// end.
func (p *Loader) Loading() bool {
	epoch := p.config.Cache.Epoch()
	return p.config.Mode != Off && p.config.Cache.Trusted() && p.attempted.Load() != epoch
}

// LastScan is how long the last complete scan took to read the collection. Zero:
// there was none.
func (p *Loader) LastScan() time.Duration { return time.Duration(p.took.Load()) }

// Run scans when it is time, until ctx ends, and returns nil. A scan that fails
// is no failure of the service: keys are read on demand.
func (p *Loader) Run(ctx context.Context) error {
	if p.config.Mode == Off {
		<-ctx.Done()
		return nil
	}
	plan := &plan{config: &p.config, logger: p.logger, metrics: p.metrics, pace: pace{longest: p.config.RebuildPause}}
	for {
		kind, ok := plan.next(ctx)
		if !ok {
			return nil
		}
		epoch := p.config.Cache.Epoch()
		err := p.scan(ctx, kind)
		if ctx.Err() != nil {
			return nil
		}
		p.attempted.Store(epoch)
		plan.ended(epoch, kind, err)
		p.report(kind, err, plan.lazy)
	}
}

func (p *Loader) report(kind keycache.ScanKind, err error, lazy bool) {
	p.metrics.scans.WithLabelValues(resultOf(err)).Inc()
	switch {
	case err == nil:
		stats := p.config.Cache.Stats()
		p.logger.Info("the cache is complete", zap.Int("entries", stats.Entries), zap.Bool("audit", kind == keycache.ScanInPlace))
	case errors.Is(err, errOpaque):
		p.logger.Warn("the cache cannot hold all hashes, keys are read on demand: store one hash in each document",
			zap.Int("max_hashes", keystore.MaxHashes), zap.Error(err))
	case lazy:
		p.logger.Warn("the collection does not fit, keys are read on demand: raise --cache-size to hold all of them", zap.Error(err))
	default:
		p.logger.Warn("a scan did not make the cache complete, another one follows", zap.Error(err))
	}
}
