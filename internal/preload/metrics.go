package preload

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytail/keytail/internal/keycache"
)

type metrics struct {
	scans *prometheus.CounterVec
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{scans: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "keytail_scans_total", Help: "Scans of the whole collection, by how they ended.",
	}, []string{"result"})}
	if registerer == nil {
		return m, nil
	}
	return m, registerer.Register(m.scans)
}

func resultOf(err error) string {
	switch {
	case err == nil:
		return "complete"
	case errors.Is(err, keycache.ErrScanEvicted), errors.Is(err, errTooLarge):
		return "does_not_fit"
	case errors.Is(err, keycache.ErrScanLost):
		return "history_lost"
	case errors.Is(err, keycache.ErrScanVoid):
		return "unreadable_hash"
	default:
		return "failed"
	}
}
