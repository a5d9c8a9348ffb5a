package keystore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/timing"
)

// The times of an IndexWatch, each with its reason.
const (
	// DefaultIndexInterval is the time between two checks of the indexes that
	// nothing else has requested. No verdict depends on it, because reads find
	// a second document without it: it is only how late people learn of it.
	DefaultIndexInterval = time.Minute
	// missingInterval replaces it while the index is missing: people who have
	// created the index again want to see that, and if a migration creates the
	// collection first and the index a moment later, the alarm should not last
	// a minute.
	missingInterval = 5 * time.Second
	// indexReminder is the time between two log lines about the same missing
	// index.
	indexReminder = 10 * time.Minute
	// indexTimeout is the deadline of one check.
	indexTimeout = 10 * time.Second
	// indexJitter spreads the checks of a fleet: a tenth of the interval.
	indexJitter = 0.1
)

// The results of a check, as labels of a metric.
const (
	resultPresent      = "present"
	resultMissing      = "missing"
	resultFailed       = "failed"
	resultNoCollection = "no_collection"
)

// IndexWatchConfig configures an IndexWatch. Store is required.
type IndexWatchConfig struct {
	Store *Store
	// Interval is the time between two checks. Zero: DefaultIndexInterval.
	Interval time.Duration
	// Logger: nil logs nothing.
	Logger *zap.Logger
	// Registerer registers the metrics. Nil: none.
	Registerer prometheus.Registerer
}

// IndexWatch checks whether the hash still has its unique index. A change
// stream does not report that an index was dropped. The service continues
// without the index, because reads and the cache handle two documents with one
// hash; but an operator should know.
//
// It checks every minute, or every 5 s while the index is missing; soon after
// CheckSoon (the change stream was opened again); and when Check is called (a
// scan begins). It is safe for concurrent use.
type IndexWatch struct {
	store    *Store
	interval time.Duration
	logger   *zap.Logger
	present  prometheus.Gauge
	checks   *prometheus.CounterVec
	// wake has a token when a check is requested.
	wake chan struct{}
	// problem is what is wrong. Nil: no problem is known.
	problem atomic.Pointer[string]

	// mutex serializes the checks, so that the last result counts.
	mutex sync.Mutex
	// lastLogged is when the missing index was last logged. failing means that
	// it was logged that the state of the index is unknown.
	lastLogged time.Time
	failing    bool
}

// NewIndexWatch makes an IndexWatch that has not checked yet. Until the first
// check, the index counts as present, because Prepare has seen it.
func NewIndexWatch(config IndexWatchConfig) (*IndexWatch, error) {
	if config.Store == nil {
		return nil, errors.New("the index watch needs a store")
	}
	if config.Interval == 0 {
		config.Interval = DefaultIndexInterval
	}
	if config.Logger == nil {
		config.Logger = zap.NewNop()
	}
	w := &IndexWatch{
		store:    config.Store,
		interval: config.Interval,
		logger:   config.Logger.Named("keystore"),
		present: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "keytail_unique_index",
			Help: "1 while the hash has a unique index, 0 if the last check found none.",
		}),
		checks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keytail_unique_index_checks_total",
			Help: "Checks of the indexes of the key collection, by result: present, missing, failed (state unknown) or no_collection.",
		}, []string{"result"}),
		wake: make(chan struct{}, 1),
	}
	w.present.Set(1)
	for _, result := range []string{resultPresent, resultMissing, resultFailed, resultNoCollection} {
		w.checks.WithLabelValues(result)
	}
	if config.Registerer == nil {
		return w, nil
	}
	if err := errors.Join(config.Registerer.Register(w.present), config.Registerer.Register(w.checks)); err != nil {
		return nil, fmt.Errorf("registering the metrics of the unique index: %w", err)
	}
	return w, nil
}

// Problem returns a sentence with what to do if there is no unique index.
// Empty: there is one, as far as is known.
func (w *IndexWatch) Problem() string {
	if problem := w.problem.Load(); problem != nil {
		return *problem
	}
	return ""
}

// CheckSoon requests a check and returns immediately.
func (w *IndexWatch) CheckSoon() {
	select {
	case w.wake <- struct{}{}:
	default: // a check is already requested
	}
}

// Run checks at the interval, and when a check is requested, until ctx ends. It
// returns nil.
func (w *IndexWatch) Run(ctx context.Context) error {
	for {
		timer := time.NewTimer(w.nextInterval())
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		case <-w.wake:
			timer.Stop()
		}
		w.Check(ctx)
	}
}

// nextInterval has a jitter, so that instances that were started together do not
// keep checking at the same moment.
func (w *IndexWatch) nextInterval() time.Duration {
	interval := w.interval
	if w.Problem() != "" {
		interval = min(interval, missingInterval)
	}
	return timing.Jitter(interval, indexJitter)
}

// Check checks now, and reports whether the index exists.
func (w *IndexWatch) Check(ctx context.Context) bool {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	within, cancel := context.WithTimeout(ctx, indexTimeout)
	defer cancel()
	indexes, err := w.store.indexes(within)
	switch {
	case ctx.Err() != nil:
		// At a shutdown this is not a failure.
		return false
	case err != nil:
		w.failedLocked(err)
		return false
	case len(indexes) == 0:
		// The change stream reports that the collection was dropped. Its index
		// does not count as missing yet.
		w.checks.WithLabelValues(resultNoCollection).Inc()
		return false
	}
	w.failing = false
	if _, err := w.store.evaluateIndexes(indexes); err != nil {
		w.missingLocked(err)
		return false
	}
	w.presentLocked()
	return true
}

// failedLocked records a check without a result: what was known before stays.
func (w *IndexWatch) failedLocked(err error) {
	w.checks.WithLabelValues(resultFailed).Inc()
	if !w.failing {
		w.failing = true
		w.logger.Warn("the unique index on the hash could not be checked, keytail will check again: make sure that the database answers and that the user of the connection string may list the indexes", zap.Error(err))
	}
}

func (w *IndexWatch) missingLocked(problem error) {
	w.checks.WithLabelValues(resultMissing).Inc()
	w.present.Set(0)
	text := problem.Error()
	first := w.problem.Swap(&text) == nil
	if !first && time.Since(w.lastLogged) < indexReminder {
		return
	}
	w.lastLogged = time.Now()
	w.logger.Error("the unique index on the hash is missing, so a key whose hash is in two documents is DISABLED: remove such documents and create the index again",
		zap.String("collection", w.store.Namespace()),
		zap.String("index", w.store.createCommand()),
		zap.Error(problem))
}

func (w *IndexWatch) presentLocked() {
	w.checks.WithLabelValues(resultPresent).Inc()
	w.present.Set(1)
	if w.problem.Swap(nil) != nil {
		w.logger.Info("the unique index on the hash exists again", zap.String("collection", w.store.Namespace()))
	}
}
