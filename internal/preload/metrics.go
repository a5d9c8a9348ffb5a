package preload

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytail/keytail/internal/instrument"
	"github.com/keytail/keytail/internal/keycache"
)

// The results of a scan, as labels of a metric.
const (
	resultComplete   = "complete"
	resultTooLarge   = "does_not_fit"
	resultLost       = "history_lost"
	resultUnreadable = "unreadable_hash"
	resultFailed     = "failed"
)

type metrics struct {
	scans    *prometheus.CounterVec
	requests *prometheus.CounterVec
	pause    prometheus.Gauge
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		scans: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keytail_scans_total", Help: "Scans of the whole collection, by result.",
		}, []string{"result"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keytail_scan_requests_total", Help: "Requested scans of the whole collection, by reason.",
		}, []string{"reason"}),
		pause: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "keytail_scan_pause_seconds", Help: "Time until the scan that is requested now begins. 0: it is not delayed, or no scan is requested.",
		}),
	}
	for _, result := range []string{resultComplete, resultTooLarge, resultLost, resultUnreadable, resultFailed} {
		m.scans.WithLabelValues(result)
	}
	for _, c := range causes() {
		m.requests.WithLabelValues(string(c.why))
	}
	return m, instrument.Register(registerer, m.scans, m.requests, m.pause)
}

func resultOf(err error) string {
	switch {
	case err == nil, errors.Is(err, keycache.ErrScanFits):
		return resultComplete
	case errors.Is(err, keycache.ErrScanEvicted), errors.Is(err, keycache.ErrScanOutgrown), errors.Is(err, errTooLarge):
		return resultTooLarge
	case errors.Is(err, keycache.ErrScanLost):
		return resultLost
	case errors.Is(err, keycache.ErrScanUnreadable), errors.Is(err, errTooManyHashes):
		return resultUnreadable
	default:
		return resultFailed
	}
}
