package fleet

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/instrument"
)

// warnEvery is the least time between two warnings about the list.
const warnEvery = time.Minute

// reads counts the reads of the list and logs when they fail. It belongs to
// Run's goroutine.
type reads struct {
	ok, failed prometheus.Counter
	logger     *zap.Logger
	// warned is when a failure was last logged, zero before the first. failing
	// means that a failure was logged, and no read has succeeded since.
	warned  time.Time
	failing bool
}

func newReads(registerer prometheus.Registerer, logger *zap.Logger) (*reads, error) {
	results := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "keytail_fleet_list_reads_total",
		Help: "Reads of the heartbeats of all instances, by result: ok, failed. Write acknowledgements of the fleet depend on them, verdicts do not.",
	}, []string{"result"})
	r := &reads{ok: results.WithLabelValues("ok"), failed: results.WithLabelValues("failed"), logger: logger}
	return r, instrument.Register(registerer, results)
}

// note records the result of a read that ended at now.
func (r *reads) note(err error, now time.Time) {
	switch {
	case err == nil:
		r.ok.Inc()
		if r.failing {
			r.failing = false
			r.logger.Info("the list of instances can be read again")
		}
	default:
		r.failed.Inc()
		if r.warned.IsZero() || now.Sub(r.warned) >= warnEvery {
			r.warned, r.failing = now, true
			r.logger.Warn("the list of instances cannot be read, so write acknowledgements of the fleet time out: make sure that the database answers and that the user of the connection string has find on the collection of the heartbeats", zap.Error(err))
		}
	}
}
