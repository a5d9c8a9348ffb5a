package cli

import (
	"strings"
	"testing"
)

// TestTracingIsOnByItsVariables, and a mistake in them is one of the configuration.
func TestTracingIsOnByItsVariables(t *testing.T) {
	for _, name := range []string{"OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"} {
		t.Setenv(name, "")
	}
	for exporter, want := range map[string]bool{"": false, "none": false, "otlp": true} {
		t.Setenv("OTEL_TRACES_EXPORTER", exporter)
		f := newFake()
		r, _, _ := startServe(t, f.deps(), "--drain-delay=0")
		if on := f.cfg.TracerProvider != nil; on != want {
			t.Errorf("%q: there is a provider: %v, want %v", exporter, on, want)
		}
		r.signal(t)
		if code := r.wait(t); code != exitOK {
			t.Errorf("%q: exit code %d; stderr:\n%s", exporter, code, r.stderr)
		}
	}
	t.Setenv("OTEL_TRACES_EXPORTER", "oltp")
	code, _, stderr := finish(t, newFake().deps(), unreachable, "--trace-caller-networks=all")
	if code != exitUsage || !strings.Contains(stderr, `must be otlp, console or none, not "oltp"`) || !strings.Contains(stderr, "--trace-caller-networks") {
		t.Errorf("exit code %d; stderr:\n%s", code, stderr)
	}
}
