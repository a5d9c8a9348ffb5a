package validator

import (
	"context"
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/keystore"
)

// readKind is what a read was made for. It is a metric's label.
type readKind string

const (
	kindShared       readKind = "shared"
	kindAlone        readKind = "alone"
	kindLinearizable readKind = "linearizable"
	kindRefresh      readKind = "refresh"
	// kindUnreached is kindAlone for a revision that the cluster, as far as
	// this instance knows, may not have reached. If it has not, the read lasts
	// until its deadline.
	kindUnreached readKind = "unreached"
	// kindExplain is a read that shows an operator the database's verdict.
	kindExplain readKind = "explain"
)

// metrics are the validator's counters. The counters of the verdicts are
// resolved when they are made, so that counting a verdict is a single atomic
// add.
type metrics struct {
	verdicts [apikey.CodeCount][apikey.SourceCount]prometheus.Counter
	fills    *prometheus.CounterVec
	outages  *prometheus.CounterVec
	ahead    prometheus.Counter
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	verdicts := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "keytail_verdicts_total", Help: "Verdicts, by code and by the source of their data.",
	}, []string{"code", "source"})
	m := &metrics{
		fills: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keytail_fills_total", Help: "Reads of the database, by kind and by result.",
		}, []string{"kind", "result"}),
		outages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keytail_unavailable_total", Help: "UNAVAILABLE verdicts, by reason.",
		}, []string{"reason"}),
		ahead: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "keytail_revisions_ahead_total", Help: "Requests rejected (400) because the cluster has never reached their min_revision.",
		}),
	}
	for _, reason := range outageReasons {
		m.outages.WithLabelValues(reason)
	}
	for code := range apikey.CodeCount {
		for source := range apikey.SourceCount {
			m.verdicts[code][source] = verdicts.WithLabelValues(apikey.Code(code).String(), apikey.Source(source).String())
		}
	}
	if registerer == nil {
		return m, nil
	}
	for _, collector := range []prometheus.Collector{verdicts, m.fills, m.outages, m.ahead} {
		if err := registerer.Register(collector); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) count(verdict apikey.Verdict) {
	m.verdicts[verdict.Code][verdict.Source].Inc()
}

func (m *metrics) fill(kind readKind, found bool, err error) {
	result := "absent"
	switch {
	case err != nil:
		result = "error"
	case found:
		result = "found"
	}
	m.fills.WithLabelValues(string(kind), result).Inc()
}

// outageReasons are the labels of unavailable.
var outageReasons = []string{"database", "busy", "busy_revision", "breaker", "stale", "no_collection", "server_behind", "caller_left", "timeout"}

func (m *metrics) unavailable(err error) {
	reason := "database"
	switch {
	case errors.Is(err, errBusy):
		reason = "busy"
	case errors.Is(err, errUnreached):
		reason = "busy_revision"
	case errors.Is(err, errBreaker):
		reason = "breaker"
	case errors.Is(err, errStale):
		reason = "stale"
	case errors.Is(err, keystore.ErrCollectionMissing):
		reason = "no_collection"
	case errors.Is(err, keystore.ErrRevisionAhead):
		reason = "server_behind"
	case errors.Is(err, context.Canceled):
		reason = "caller_left"
	case errors.Is(err, context.DeadlineExceeded):
		reason = "timeout"
	}
	m.outages.WithLabelValues(reason).Inc()
}
