package telemetry

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// The variables of OpenTelemetry's specification that are read here. The SDK and the
// exporters read the others.
const (
	envDisabled       = "OTEL_SDK_DISABLED"
	envExporter       = "OTEL_TRACES_EXPORTER"
	envEndpoint       = "OTEL_EXPORTER_OTLP_ENDPOINT"
	envTracesEndpoint = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
	envProtocol       = "OTEL_EXPORTER_OTLP_PROTOCOL"
	envTracesProtocol = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
	envQueueSize      = "OTEL_BSP_MAX_QUEUE_SIZE"
)

// The values of envExporter and envProtocol, as in contrib's autoexport. That package would
// also link the exporters of metrics and logs: it makes the binary grow twice as much.
const (
	exporterOTLP    = "otlp"
	exporterConsole = "console"
	exporterNone    = "none"

	protocolHTTP = "http/protobuf"
	protocolGRPC = "grpc"
)

// chosen is the exporter that the environment selects. Nothing is exported unless it names
// an exporter or an endpoint.
func chosen() string {
	if strings.EqualFold(os.Getenv(envDisabled), "true") {
		return exporterNone
	}
	if exporter := os.Getenv(envExporter); exporter != "" {
		return exporter
	}
	if os.Getenv(envEndpoint) != "" || os.Getenv(envTracesEndpoint) != "" {
		return exporterOTLP
	}
	return exporterNone
}

func protocol() string {
	return cmp.Or(os.Getenv(envTracesProtocol), os.Getenv(envProtocol), protocolHTTP)
}

// Check returns a mistake in the variables that select the exporter.
func Check() error {
	switch exporter := chosen(); exporter {
	case exporterNone, exporterConsole:
		return nil
	case exporterOTLP:
	default:
		return fmt.Errorf("%s must be otlp, console or none, not %q", envExporter, exporter)
	}
	if p := protocol(); p != protocolHTTP && p != protocolGRPC {
		return fmt.Errorf("%s must be http/protobuf or grpc, not %q", envProtocol, p)
	}
	for _, name := range []string{envEndpoint, envTracesEndpoint} {
		if value := os.Getenv(name); value != "" && !isEndpoint(value) {
			return fmt.Errorf("%s must be a URL with a scheme, such as http://collector:4318", name) // it may have a password
		}
	}
	return nil
}

// isEndpoint reports whether the exporters would connect to where this value says. Of
// "collector:4318" they take the host for a scheme, and every export fails.
func isEndpoint(value string) bool {
	u, err := url.Parse(value)
	if err != nil {
		return false
	}
	switch u.Scheme {
	case "http", "https":
		return u.Host != ""
	case "unix":
		return protocol() == protocolGRPC
	}
	return false
}

// newExporter makes the exporter, which connects when it first exports. The variables have
// passed Check, and select one.
func newExporter(ctx context.Context) (sdktrace.SpanExporter, error) {
	if chosen() == exporterConsole {
		return stdouttrace.New(stdouttrace.WithPrettyPrint())
	}
	if protocol() == protocolGRPC {
		return otlptracegrpc.New(ctx)
	}
	return otlptracehttp.New(ctx)
}
