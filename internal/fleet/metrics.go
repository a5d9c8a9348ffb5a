package fleet

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// warnEvery is the least time between two warnings about the list.
const warnEvery = time.Minute

// reads counts looks at the list and says when they fail. It belongs to Run's
// goroutine.
type reads struct {
	ok, failed prometheus.Counter
	logger     *zap.Logger
	// warned is when a failure was logged, zero before the first. failing: it was
	// logged, and no look has succeeded since.
	warned  time.Time
	failing bool
}

func newReads(registerer prometheus.Registerer, logger *zap.Logger) (*reads, error) {
	results := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "keytail_fleet_list_reads_total",
		Help: "Reads of the heartbeats of all instances, by result: ok, failed. Fleet receipts depend on them, answers do not.",
	}, []string{"result"})
	r := &reads{ok: results.WithLabelValues("ok"), failed: results.WithLabelValues("failed"), logger: logger}
	if registerer == nil {
		return r, nil
	}
	return r, registerer.Register(results)
}

// note takes in what became of a look that ended at now.
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
			r.logger.Warn("the list of instances cannot be read, so receipts of the fleet time out: see that the database answers, and that the user of the connection string has find on the collection of the heartbeats", zap.Error(err))
		}
	}
}
