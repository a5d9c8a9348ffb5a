package routes

import (
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/instrument"
)

// Status of the instance, as readyz shows it.
type Status struct {
	// State is connecting, preloading, live, stale or down.
	State string
	// Ready is true from the first time live until shutdown begins.
	Ready bool
	// Strict is true while the instance is live, no other field reports a
	// problem, and shutdown has not begun.
	Strict bool
	// StalenessMS is the staleness in milliseconds. Negative: unknown.
	StalenessMS int64
	// Epoch of the cache. It is odd while history is lost.
	Epoch uint64
	// Complete: the cache is complete.
	Complete bool
	// Entries in the cache.
	Entries int
	// LagMS is how long the last change took to arrive, in milliseconds.
	// Negative: unknown.
	LagMS int64
	// Note describes how the guarantees are limited here, for example on a
	// sharded cluster. Empty: they are not.
	Note string
	// IndexMissing is a message, if the hash no longer has a unique index, with
	// what to do. Empty: it has one.
	IndexMissing string
	// LastLoss is the last loss of history. Nil: there was none.
	LastLoss *Loss
	// Scan is how far a scan of the collection is. Nil: none is running that takes
	// long.
	Scan *Scan
	// Usage reports how far the writing of last_used and usage_count is. Nil:
	// keytail does not write them. Verdicts do not depend on it, so neither Ready
	// nor Strict does.
	Usage *Usage
}

// Scan is how far a scan of the collection is.
type Scan struct {
	// KeysExpected is zero if it is not known.
	KeysRead, KeysExpected, KeysPerSecond int64
	// LeftMS is about how many milliseconds the scan will still take. Negative:
	// unknown.
	LeftMS int64
}

// Usage reports how far the writing of last_used and usage_count is.
type Usage struct {
	// PendingKeys have a use that is not written yet, and one command writes
	// BatchSize of them.
	PendingKeys int64
	BatchSize   int
	// FailingMS is for how many milliseconds the writes have failed. Negative:
	// they do not fail.
	FailingMS int64
}

// Loss is a loss of the change stream's history.
type Loss struct {
	At     time.Time
	Reason string
}

// OperationsConfig configures the operations listener. Many goroutines call its
// functions concurrently.
type OperationsConfig struct {
	// Status is required.
	Status func() Status
	// Gatherer has the metrics. Required.
	Gatherer prometheus.Gatherer
	// Requests measures the requests of all listeners. Nil: they are not measured.
	Requests *instrument.Requests
	// Logger gets panics, metrics that cannot be gathered, and a line for each
	// request at debug level. Nil: none.
	Logger *zap.Logger
}

// NewOperations makes the handler of the operations listener: livez, readyz and
// metrics.
func NewOperations(config OperationsConfig) (http.Handler, error) {
	if config.Status == nil || config.Gatherer == nil {
		return nil, errors.New("routes: OperationsConfig needs Status and Gatherer")
	}
	logger := named(config.Logger)
	// NewStdLogAt fails only for levels that do not exist.
	errorLog, err := zap.NewStdLogAt(logger, zap.ErrorLevel)
	if err != nil {
		return nil, err
	}
	metrics := gin.WrapH(promhttp.HandlerFor(config.Gatherer, promhttp.HandlerOpts{
		ErrorLog: errorLog,
		// A collector that fails must not hide the others.
		ErrorHandling: promhttp.ContinueOnError,
	}))
	m := &meter{requests: config.Requests}
	engine := newEngine(logger, forwardauth.DefaultKeySources(), m)
	readable(engine, api.PathLive, live)
	readable(engine, api.PathReady, ready(config.Status))
	readable(engine, api.PathMetrics, metrics)
	m.prepare(engine)
	return engine, nil
}

// ready responds with 200 or 503 and the same body, so that a person sees the
// reason.
func ready(status func() Status) gin.HandlerFunc {
	return func(c *gin.Context) {
		strict, ok := parseStrict(c.Request.URL.RawQuery)
		if !ok {
			writeProblem(c, api.CodeBadRequest, "the query must be strict=1, strict=0 or empty")
			return
		}
		s := status()
		code := http.StatusServiceUnavailable
		if strict && s.Strict || !strict && s.Ready {
			code = http.StatusOK
		}
		writeJSON(c, code, readinessOf(&s))
	}
}

// parseStrict reads readyz's query. A misspelt one must not select the check
// that is not strict.
func parseStrict(query string) (strict, ok bool) {
	return query == "strict=1", query == "" || query == "strict=0" || query == "strict=1"
}

func readinessOf(s *Status) *api.Readiness {
	r := &api.Readiness{
		State: s.State, StalenessMS: knownMS(s.StalenessMS), Epoch: s.Epoch, Complete: s.Complete,
		Entries: s.Entries, LagMS: knownMS(s.LagMS), Note: s.Note, IndexMissing: s.IndexMissing,
	}
	if s.LastLoss != nil {
		r.LastLoss = &api.Loss{At: api.Timestamp{Time: s.LastLoss.At}, Reason: s.LastLoss.Reason}
	}
	if p := s.Scan; p != nil {
		r.Scan = &api.Scan{KeysRead: p.KeysRead, KeysPerSecond: p.KeysPerSecond, LeftMS: knownMS(p.LeftMS)}
		if p.KeysExpected > 0 {
			r.Scan.KeysExpected = &p.KeysExpected
		}
	}
	if u := s.Usage; u != nil {
		r.Usage = &api.Usage{PendingKeys: u.PendingKeys, BatchSize: u.BatchSize, FailingMS: knownMS(u.FailingMS)}
	}
	return r
}

// knownMS is nil for a negative number.
func knownMS(ms int64) *int64 {
	if ms < 0 {
		return nil
	}
	return &ms
}
