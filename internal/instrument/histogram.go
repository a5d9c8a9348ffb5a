package instrument

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The form of native histograms. Servers that read only classic ones see the
// classic buckets beside them.
const (
	// nativeFactor is the ratio of neighbouring bounds: a quantile is wrong by at
	// most a tenth.
	nativeFactor = 1.1
	// nativeBuckets limits the memory of one series: with this factor the buckets
	// still reach from a microsecond to a minute.
	nativeBuckets = 160
	// nativeReset is the minimum time between two resets of a histogram that has
	// reached nativeBuckets. Before it, the buckets become wider instead.
	nativeReset = time.Hour
)

// Histogram is the form of a histogram of seconds, both native and with these
// classic buckets.
func Histogram(name, help string, buckets []float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor:     nativeFactor,
		NativeHistogramMaxBucketNumber:  nativeBuckets,
		NativeHistogramMinResetDuration: nativeReset,
	}
}
