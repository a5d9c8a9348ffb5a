package reload

import "github.com/prometheus/client_golang/prometheus"

const (
	failuresHelp = "Contents of token and certificate files that were refused after the start, by the setting that names the file."
	refusedHelp  = "1 while a token or certificate file cannot be read or used, so that its previous content is in use. A listener's certificate, key and CA count as one file, by the setting of the certificate."
)

// metrics are those of one Files. The label is the setting, and not the path, which may
// tell more than a metric should.
type metrics struct {
	failures prometheus.Counter
	refused  prometheus.Gauge
}

func newMetrics(setting string) metrics {
	labels := prometheus.Labels{"file": setting}
	return metrics{
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "keytail_file_reload_failures_total", Help: failuresHelp, ConstLabels: labels,
		}),
		refused: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "keytail_file_refused", Help: refusedHelp, ConstLabels: labels,
		}),
	}
}
