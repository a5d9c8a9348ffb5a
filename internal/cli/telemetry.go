package cli

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/keytail/keytail/internal/telemetry"
)

// startTelemetry makes the registry of the process's metrics, and the exporter of traces.
func (d *serveRun) startTelemetry(ctx context.Context) error {
	d.registry = prometheus.NewRegistry()
	d.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), d.log.dropped)
	var err error
	d.telemetry, err = telemetry.New(ctx, telemetry.Config{Version: serviceVersion(d.deps), Logger: d.log.Logger, Registerer: d.registry})
	return err
}
