package validator

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/instrument"
	"github.com/keytail/keytail/internal/keystore"
)

// readKind is what a read was made for. It is a metric's label. The first three
// are named like the source of the verdict.
type readKind string

const (
	kindFill         readKind = "fill"
	kindDirect       readKind = "direct"
	kindLinearizable readKind = "linearizable"
	kindRefresh      readKind = "refresh"
	// kindUnreached is kindDirect for a revision that the cluster, as far as
	// this instance knows, may not have reached. If it has not, the read lasts
	// until its deadline.
	kindUnreached readKind = "unreached"
	// kindExplain is a read that shows an operator the database's verdict.
	kindExplain readKind = "explain"
)

// The labels of metrics.
var (
	readKinds = []readKind{kindFill, kindDirect, kindLinearizable, kindRefresh, kindUnreached, kindExplain}
	// flightKinds are those whose reads callers can share. A direct flight may
	// make a read of kindUnreached.
	flightKinds = []readKind{kindFill, kindDirect, kindLinearizable}
)

// The results of a read and of a revalidation, as labels of metrics.
const (
	resultFound  = "found"
	resultAbsent = "absent"
	resultError  = "error"

	resultValid    = "valid"
	resultOutdated = "outdated"
)

// metrics are the validator's counters. A verdict is counted in each request, so
// its counters are striped.
type metrics struct {
	verdicts      [apikey.CodeCount][apikey.SourceCount]instrument.Striped
	reads         *prometheus.CounterVec
	joined        *prometheus.CounterVec
	revalidations *prometheus.CounterVec
	outages       *prometheus.CounterVec
	ahead         prometheus.Counter
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		reads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keytail_reads_total", Help: "Reads of the database, by kind and by result.",
		}, []string{"kind", "result"}),
		joined: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keytail_flights_joined_total", Help: "Requests that shared a read (a flight) with the request for which it was made, by kind of the read.",
		}, []string{"kind"}),
		revalidations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keytail_revalidations_total", Help: "Revalidations of the result of a fill, once for each request that waited for it: valid, or outdated (the key changed meanwhile, or the stream lost its history), so that a direct read follows.",
		}, []string{"result"}),
		outages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keytail_unavailable_total", Help: "UNAVAILABLE verdicts, by reason.",
		}, []string{"reason"}),
		ahead: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "keytail_revisions_ahead_total", Help: "Requests rejected (400) because the cluster has never reached their min_revision.",
		}),
	}
	m.makeSeries()
	return m, instrument.Register(registerer, append(m.verdictCounters(), m.reads, m.joined, m.revalidations, m.outages, m.ahead)...)
}

func (m *metrics) verdictCounters() []prometheus.Collector {
	var all []prometheus.Collector
	for code := range apikey.CodeCount {
		for source := range apikey.SourceCount {
			all = append(all, prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: "keytail_verdicts_total", Help: "Verdicts, by code and by the source of their data.",
				ConstLabels: prometheus.Labels{"code": apikey.Code(code).String(), "source": apikey.Source(source).String()},
			}, m.verdicts[code][source].Value))
		}
	}
	return all
}

// makeSeries makes every series, so that it is there before its first value.
func (m *metrics) makeSeries() {
	for _, reason := range outageReasons {
		m.outages.WithLabelValues(reason)
	}
	for _, kind := range readKinds {
		for _, result := range []string{resultFound, resultAbsent, resultError} {
			m.reads.WithLabelValues(string(kind), result)
		}
	}
	for _, kind := range flightKinds {
		m.joined.WithLabelValues(string(kind))
	}
	for _, result := range []string{resultValid, resultOutdated} {
		m.revalidations.WithLabelValues(result)
	}
}

// limits are the gauges of the limits of reads.
func (v *Validator) limits() []prometheus.Collector {
	of := func(n *atomic.Int64) func() float64 { return func() float64 { return float64(n.Load()) } }
	return append(
		instrument.Limit("reads", of(&v.reading), float64(v.config.MaxReads)),
		instrument.Limit("unreached_reads", of(&v.readingUnreached), float64(v.config.maxUnreached()))...)
}

// count counts a verdict. part is any number that differs between keys.
func (m *metrics) count(verdict *apikey.Verdict, part uint8) {
	m.verdicts[verdict.Code][verdict.Source].Add(part, 1)
}

func (m *metrics) read(kind readKind, found bool, err error) {
	m.reads.WithLabelValues(string(kind), readResultOf(found, err)).Inc()
}

func readResultOf(found bool, err error) string {
	switch {
	case err != nil:
		return resultError
	case found:
		return resultFound
	}
	return resultAbsent
}

// join counts a request that got the result of another one's flight.
func (m *metrics) join(kind readKind) { m.joined.WithLabelValues(string(kind)).Inc() }

func (m *metrics) revalidate(valid bool) {
	result := resultOutdated
	if valid {
		result = resultValid
	}
	m.revalidations.WithLabelValues(result).Inc()
}

// outageReasons are the results of outageReason.
var outageReasons = []string{"database", "busy", "busy_revision", "breaker", "stale", "no_collection", "server_behind", "caller_left", "timeout"}

func (m *metrics) unavailable(err error) {
	m.outages.WithLabelValues(outageReason(err)).Inc()
}

func outageReason(err error) string {
	switch {
	case errors.Is(err, errBusy):
		return "busy"
	case errors.Is(err, errUnreached):
		return "busy_revision"
	case errors.Is(err, errBreaker):
		return "breaker"
	case errors.Is(err, errStale):
		return "stale"
	case errors.Is(err, keystore.ErrCollectionMissing):
		return "no_collection"
	case errors.Is(err, keystore.ErrRevisionAhead):
		return "server_behind"
	case errors.Is(err, context.Canceled):
		return "caller_left"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	}
	return "database"
}
