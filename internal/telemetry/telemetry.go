package telemetry

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
)

// serviceName is the name of the service unless OTEL_SERVICE_NAME has another one.
const serviceName = "keytail"

// shutdownTimeout bounds the export of the last spans at a stop: a collector that does not
// answer must not keep the process from ending.
const shutdownTimeout = 2 * time.Second

// Config of a Telemetry.
type Config struct {
	// Version is service.version of all spans.
	Version string
	// Logger reports failing exports. Nil: it is silent.
	Logger *zap.Logger
	// Registerer takes the metrics, which exist even while tracing is off. Nil: none.
	Registerer prometheus.Registerer
}

// Telemetry exports spans.
type Telemetry struct {
	sdk *sdktrace.TracerProvider // nil: tracing is off
	log *zap.Logger
}

// New reads the environment. It makes no connection. The error is a sentence for the
// operator.
//
// It sets the SDK's global handler of errors and its logger, so that their lines are in the
// log of the process and not beside it. So it is for programs and not for libraries.
func New(ctx context.Context, config Config) (*Telemetry, error) {
	if config.Logger == nil {
		config.Logger = zap.NewNop()
	}
	t := &Telemetry{log: config.Logger.Named("telemetry")}
	m, err := newMetrics(config.Registerer)
	if err = errors.Join(err, Check()); err != nil || chosen() == exporterNone {
		return t, err
	}
	redirectErrors(t.log)
	exporter, err := newExporter(ctx)
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	described, err := describe(ctx, config.Version)
	if err != nil {
		// What could be read of the variables is in use.
		t.log.Warn("a part of OTEL_RESOURCE_ATTRIBUTES cannot be read", zap.Error(err))
	}
	q := newQueue(exporter, queueSize(), m, t.log)
	t.sdk = sdktrace.NewTracerProvider(sdktrace.WithResource(described), sdktrace.WithSpanProcessor(q))
	t.log.Info("traces are exported", zap.String("exporter", chosen()), zap.String("sampler", os.Getenv("OTEL_TRACES_SAMPLER")))
	return t, nil
}

// describe is the resource of all spans: the variables of the environment override what
// stands here.
func describe(ctx context.Context, version string) (*resource.Resource, error) {
	return resource.New(ctx,
		resource.WithAttributes(semconv.ServiceName(serviceName), semconv.ServiceVersion(version)),
		resource.WithHost(), resource.WithTelemetrySDK(), resource.WithFromEnv())
}

// redirectErrors writes what the SDK reports to the log of the process, without the values
// of variables: some are secrets.
func redirectErrors(logger *zap.Logger) {
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		logger.Warn("tracing has a problem", zap.String("error", errorText(err)))
	}))
	otel.SetLogger(logr.New(sdkLog{logger: logger}))
}

// sdkLog takes the lines of the SDK. Those that are not errors are left out.
type sdkLog struct{ logger *zap.Logger }

// Init implements logr.LogSink.
func (sdkLog) Init(logr.RuntimeInfo) {}

// Enabled implements logr.LogSink.
func (sdkLog) Enabled(int) bool { return false }

// Info implements logr.LogSink.
func (sdkLog) Info(int, string, ...any) {}

// Error implements logr.LogSink. Neither the error nor the values are logged: both may
// repeat the value of a variable.
func (l sdkLog) Error(_ error, message string, _ ...any) {
	l.logger.Warn("tracing has a problem", zap.String("text", explain(message)))
}

// WithValues implements logr.LogSink.
func (l sdkLog) WithValues(...any) logr.LogSink { return l }

// WithName implements logr.LogSink.
func (l sdkLog) WithName(string) logr.LogSink { return l }

// Provider makes the tracers. Nil: tracing is off.
func (t *Telemetry) Provider() trace.TracerProvider {
	if t.sdk == nil {
		return nil
	}
	return t.sdk
}

// Shutdown exports what waits, for at most two seconds. Call it when nothing ends spans any
// more.
func (t *Telemetry) Shutdown() { t.shutdown(shutdownTimeout) }

func (t *Telemetry) shutdown(within time.Duration) {
	if t.sdk == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	if err := t.sdk.Shutdown(ctx); err != nil {
		t.log.Warn("the last spans may not have been exported", zap.String("error", errorText(err)))
	}
}
