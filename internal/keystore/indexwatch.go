package keystore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// The times of an IndexWatch, each with its reason.
const (
	// DefaultIndexInterval is between two looks at the indexes that nothing else has
	// asked for. No answer depends on it, since reads find a second document by
	// themselves: it is how late people hear of it.
	DefaultIndexInterval = time.Minute
	// missingInterval replaces it while the index is missing: people who have made it
	// again want to see that, and a migration that makes the collection first and the
	// index a moment later is no news for a minute.
	missingInterval = 5 * time.Second
	// indexReminder is between two lines of the log about one missing index.
	indexReminder = 10 * time.Minute
	// indexTimeout bounds one look.
	indexTimeout = 10 * time.Second
	// indexJitter spreads the looks of a fleet: a tenth of the interval.
	indexJitter = 0.1
)

// The results of a look, as labels of a metric.
const (
	resultPresent      = "present"
	resultMissing      = "missing"
	resultFailed       = "failed"
	resultNoCollection = "no_collection"
)

// IndexWatchConfig of an IndexWatch. Store is required.
type IndexWatchConfig struct {
	Store *Store
	// Interval is the time between two looks. Zero: DefaultIndexInterval.
	Interval time.Duration
	// Logger: nil is silent.
	Logger *zap.Logger
	// Registerer takes the metrics. Nil: none.
	Registerer prometheus.Registerer
}

// IndexWatch looks whether the hash still has its unique index. Nothing in a change
// stream tells of an index that is dropped. The service goes on without it, because
// reads and the cache handle two documents with one hash; but somebody should know.
//
// It looks every minute, or every 5 s while the index is missing, when somebody asks
// (Hurry: the stream has been opened anew), and when somebody waits for it (Check: a
// scan begins). It is safe for concurrent use.
type IndexWatch struct {
	store    *Store
	interval time.Duration
	logger   *zap.Logger
	present  prometheus.Gauge
	checks   *prometheus.CounterVec
	// kick has a token when a look is wanted now.
	kick chan struct{}
	// problem says what is wrong. Nil: nothing is known to be.
	problem atomic.Pointer[string]

	// mutex makes looks one at a time, so that the last one counts.
	mutex sync.Mutex
	// said is when the log was last told that the index is missing, failing whether
	// it was told that nobody knows.
	said    time.Time
	failing bool
}

// NewIndexWatch makes an IndexWatch that has not looked yet. Until it has, the index
// counts as present: Prepare has seen it.
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
			Help: "1 while the hash has a unique index, 0 when the last look found none.",
		}),
		checks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keytail_unique_index_checks_total",
			Help: "Looks at the indexes of the keys, by result: present, missing, failed (not known) or no_collection.",
		}, []string{"result"}),
		kick: make(chan struct{}, 1),
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

// Problem says, in a sentence with what to do, that there is no unique index. Empty:
// there is one, as far as is known.
func (w *IndexWatch) Problem() string {
	if problem := w.problem.Load(); problem != nil {
		return *problem
	}
	return ""
}

// Hurry asks for a look now. It waits for nothing.
func (w *IndexWatch) Hurry() {
	select {
	case w.kick <- struct{}{}:
	default: // somebody has asked already
	}
}

// Run looks at the interval, and when it is asked to, until ctx ends. It returns nil.
func (w *IndexWatch) Run(ctx context.Context) error {
	for {
		timer := time.NewTimer(w.pause())
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		case <-w.kick:
			timer.Stop()
		}
		w.Check(ctx)
	}
}

// pause has a jitter, so that a fleet that was started together does not look
// together for ever.
func (w *IndexWatch) pause() time.Duration {
	pause := w.interval
	if w.Problem() != "" {
		pause = min(pause, missingInterval)
	}
	return pause + time.Duration(indexJitter*(2*rand.Float64()-1)*float64(pause))
}

// Check looks now, and reports whether it has seen the index.
func (w *IndexWatch) Check(ctx context.Context) bool {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	within, cancel := context.WithTimeout(ctx, indexTimeout)
	defer cancel()
	indexes, err := w.store.indexes(within)
	switch {
	case ctx.Err() != nil:
		// At a stop nothing has failed.
		return false
	case err != nil:
		w.failedLocked(err)
		return false
	case len(indexes) == 0:
		// The stream tells of a collection that has gone. Its index is not missing yet.
		w.checks.WithLabelValues(resultNoCollection).Inc()
		return false
	}
	w.failing = false
	if _, err := w.store.judgeIndexes(indexes); err != nil {
		w.missingLocked(err)
		return false
	}
	w.presentLocked()
	return true
}

// failedLocked: nothing is known that was not known before.
func (w *IndexWatch) failedLocked(err error) {
	w.checks.WithLabelValues(resultFailed).Inc()
	if !w.failing {
		w.failing = true
		w.logger.Warn("it is not known whether the hash still has its unique index: see that the database answers, and that the user of the connection string may list the indexes; keytail looks again by itself", zap.Error(err))
	}
}

func (w *IndexWatch) missingLocked(problem error) {
	w.checks.WithLabelValues(resultMissing).Inc()
	w.present.Set(0)
	text := problem.Error()
	first := w.problem.Swap(&text) == nil
	if !first && time.Since(w.said) < indexReminder {
		return
	}
	w.said = time.Now()
	w.logger.Error("the hash has no unique index any more: a key whose hash two documents have is DISABLED; remove such documents, and create the index again",
		zap.String("collection", w.store.namespace()),
		zap.String("index", w.store.createCommand()),
		zap.Error(problem))
}

func (w *IndexWatch) presentLocked() {
	w.checks.WithLabelValues(resultPresent).Inc()
	w.present.Set(1)
	if w.problem.Swap(nil) != nil {
		w.logger.Info("the hash has its unique index again", zap.String("collection", w.store.namespace()))
	}
}
