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
)

// Status is how the instance is, as readyz shows it.
type Status struct {
	// State is connecting, preloading, live, stale or down.
	State string
	// Ready: from the first time live until shutdown begins.
	Ready bool
	// Strict: live now, nothing is wrong that the other fields name, and no shutdown
	// has begun.
	Strict bool
	// StalenessMS is the age of the truth in milliseconds. Negative: not known.
	StalenessMS int64
	// Epoch is the cache's epoch; odd while history is lost.
	Epoch uint64
	// Complete: the cache holds every key.
	Complete bool
	// Entries in the cache.
	Entries int
	// LagMS is how long the last change took to get here, in milliseconds.
	// Negative: not known.
	LagMS int64
	// Note is a sentence about what the promises become here, as on a sharded
	// cluster. Empty: they hold as written.
	Note string
	// IndexMissing says, with what to do, that the hash has no unique index any more.
	// Empty: it has.
	IndexMissing string
	// LastLoss is the last time that history was lost. Nil: never.
	LastLoss *Loss
	// Usage is how the writing of last_used and usage_count goes. Nil: they are not
	// written. Answers do not depend on it, so neither Ready nor Strict does.
	Usage *Usage
}

// Usage is how the writing of last_used and usage_count goes.
type Usage struct {
	// PendingKeys have a use that is not written yet, and BatchSize go into one
	// command.
	PendingKeys int64
	BatchSize   int
	// FailingMS is for how many milliseconds it has failed. Negative: it does not.
	FailingMS int64
}

// Loss is a gap in the change stream.
type Loss struct {
	At     time.Time
	Reason string
}

// OperationsConfig is what the operations listener needs. Both functions are
// called from many goroutines at once.
type OperationsConfig struct {
	// Status is required.
	Status func() Status
	// Gatherer holds the metrics. Required.
	Gatherer prometheus.Gatherer
	// Logger gets a line for each request at debug level, panics, and metrics
	// that cannot be gathered. Nil: none.
	Logger *zap.Logger
}

// NewOperations makes the handler of the operations listener: livez, readyz and
// metrics.
func NewOperations(config OperationsConfig) (http.Handler, error) {
	if config.Status == nil || config.Gatherer == nil {
		return nil, errors.New("routes: the operations listener needs a status and a gatherer")
	}
	logger := named(config.Logger)
	// NewStdLogAt fails for levels that do not exist only.
	errorLog, err := zap.NewStdLogAt(logger, zap.ErrorLevel)
	if err != nil {
		return nil, err
	}
	metrics := gin.WrapH(promhttp.HandlerFor(config.Gatherer, promhttp.HandlerOpts{
		ErrorLog: errorLog,
		// One collector in trouble must not hide all the others.
		ErrorHandling: promhttp.ContinueOnError,
	}))
	engine := newEngine(logger, forwardauth.DefaultKeySources())
	readable(engine, api.PathLive, live)
	readable(engine, api.PathReady, ready(config.Status))
	readable(engine, api.PathMetrics, metrics)
	return engine, nil
}

// ready answers 200 or 503 with the same body, so that a person sees why.
func ready(status func() Status) gin.HandlerFunc {
	return func(c *gin.Context) {
		strict, ok := wantsStrict(c.Request.URL.RawQuery)
		if !ok {
			writeProblem(c, api.CodeBadRequest, "the query may be strict=1, strict=0 or nothing")
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

// wantsStrict reads readyz's query. A misspelt one must not be taken for the
// lenient question.
func wantsStrict(query string) (strict, ok bool) {
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
