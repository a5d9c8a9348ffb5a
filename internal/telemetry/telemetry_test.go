package telemetry

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/keytail/keytail/internal/tracing/otlptest"
)

// clean removes what the environment of the machine may have.
func clean(t *testing.T) {
	for _, name := range []string{envDisabled, envExporter, envEndpoint, envTracesEndpoint, envProtocol, envTracesProtocol, envQueueSize, envHeaders, envTracesHeaders, "OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_TRACES_SAMPLER", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"} {
		t.Setenv(name, "")
	}
}

func TestTheVariablesThatTurnTracingOn(t *testing.T) {
	for name, c := range map[string]struct {
		env  map[string]string
		want string // of the exporter; or of the error, if it has a space
	}{
		"nothing":                {nil, exporterNone},
		"an endpoint":            {map[string]string{envEndpoint: "http://c:4318"}, exporterOTLP},
		"an endpoint for traces": {map[string]string{envTracesEndpoint: "http://c:4318/v1/traces"}, exporterOTLP},
		"an exporter":            {map[string]string{envExporter: "console"}, exporterConsole},
		"switched off":           {map[string]string{envExporter: "none", envEndpoint: "http://c:4318"}, exporterNone},
		"the SDK is off":         {map[string]string{envExporter: "otlp", envDisabled: "TRUE"}, exporterNone},
		"only a name":            {map[string]string{"OTEL_SERVICE_NAME": "a"}, exporterNone},
		"no scheme":              {map[string]string{envEndpoint: "collector:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT must be a URL with a scheme, such as http://collector:4318"},
		"no scheme, for gRPC":    {map[string]string{envTracesEndpoint: "127.0.0.1:4317", envProtocol: "grpc"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT must be a URL with a scheme, such as http://collector:4318"},
		"a socket":               {map[string]string{envEndpoint: "unix:///run/collector", envProtocol: "grpc"}, exporterOTLP},
		"a scheme, and no host":  {map[string]string{envEndpoint: "http://"}, "OTEL_EXPORTER_OTLP_ENDPOINT must be a URL with a scheme, such as http://collector:4318"},
		"a typing error":         {map[string]string{envExporter: "oltp"}, `OTEL_TRACES_EXPORTER must be otlp, console or none, not "oltp"`},
		"another protocol":       {map[string]string{envExporter: "otlp", envProtocol: "http/json"}, `OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf or grpc, not "http/json"`},
		"traces alone":           {map[string]string{envExporter: "otlp", envProtocol: "http/json", envTracesProtocol: "grpc"}, exporterOTLP},
		"no matter if off":       {map[string]string{envDisabled: "true", envExporter: "oltp"}, exporterNone},
	} {
		t.Run(name, func(t *testing.T) {
			clean(t)
			for key, value := range c.env {
				t.Setenv(key, value)
			}
			switch err := Check(); {
			case strings.Contains(c.want, " "):
				if err == nil || err.Error() != c.want {
					t.Errorf("%v, want %s", err, c.want)
				}
			case err != nil || chosen() != c.want:
				t.Errorf("%q, %v, want %q", chosen(), err, c.want)
			}
		})
	}
}

// TestWithoutVariablesThereIsNothing but the metrics.
func TestWithoutVariablesThereIsNothing(t *testing.T) {
	clean(t)
	registry := prometheus.NewRegistry()
	off, err := New(t.Context(), Config{Registerer: registry})
	if err != nil {
		t.Fatal(err)
	}
	if off.Provider() != nil || off.Monitor() != nil {
		t.Errorf("there is a provider %v or a monitor %v", off.Provider(), off.Monitor())
	}
	off.Shutdown()
	if n, err := testutil.GatherAndCount(registry); err != nil || n != 3 {
		t.Errorf("%d series, %v", n, err)
	}
}

// TestACollectorThatDoesNotAnswer delays neither a span nor, for long, the end of the process.
func TestACollectorThatDoesNotAnswer(t *testing.T) {
	clean(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never answers
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(envEndpoint, "http://"+silent.Addr().String())
	logger, logs := observed()
	on, err := New(t.Context(), Config{Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	_, span := on.Provider().Tracer("test").Start(t.Context(), "request")
	span.End()
	on.shutdown(50 * time.Millisecond)
	if n := logs.FilterMessageSnippet("the last spans may not have been exported").Len(); n != 1 {
		t.Errorf("%d lines about it:\n%v", n, logs.All())
	}
	_ = silent.Close() // ends the export, whose goroutine a process would not wait for
}

func TestTheQueueHasTheSizeOfTheVariable(t *testing.T) {
	for value, want := range map[string]int{"": 2048, "7": 7, "-1": 2048, "many": 2048} {
		t.Setenv(envQueueSize, value)
		if got := queueSize(); got != want {
			t.Errorf("%q: %d, want %d", value, got, want)
		}
	}
}

// TestSpansArriveOverBothProtocols, with the name of the service.
func TestSpansArriveOverBothProtocols(t *testing.T) {
	for proto, start := range map[string]func(*testing.T) (*otlptest.Collector, string){
		"http/protobuf": otlptest.HTTP, "grpc": otlptest.GRPC,
	} {
		for name, want := range map[string]string{"": "keytail", "keys": "keys"} {
			t.Run(proto+" "+name, func(t *testing.T) {
				clean(t)
				collector, endpoint := start(t)
				t.Setenv(envEndpoint, endpoint)
				t.Setenv(envProtocol, proto)
				t.Setenv("OTEL_SERVICE_NAME", name)
				on, err := New(t.Context(), Config{Version: "v1"})
				if err != nil {
					t.Fatal(err)
				}
				_, span := on.Provider().Tracer("test").Start(t.Context(), "request")
				span.End()
				on.Shutdown() // exports what waits
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if got := collector.Await(ctx, t, "there", func(otlptest.Span) bool { return true }); got.Service != want || got.Name != "request" {
					t.Errorf("%+v", got)
				}
			})
		}
	}
}
