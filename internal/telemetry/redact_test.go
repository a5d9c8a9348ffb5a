package telemetry

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestNoLineHasTheValueOfAVariable that may be a secret, if the SDK cannot read it.
func TestNoLineHasTheValueOfAVariable(t *testing.T) {
	for name, c := range map[string]struct{ variable, value, want string }{
		"a colon":         {envHeaders, "x-api-key: hunter2secret", "a header is ignored"},
		"for traces":      {envTracesHeaders, "hunter2secret", "a header is ignored"},
		"a percent sign":  {envHeaders, "x-api-key=hunter2secret%zz", "a header is ignored"},
		"a name":          {envHeaders, "hunter2secret hunter2secret=1", "a header is ignored"},
		"an endpoint":     {envTracesEndpoint, "http://keytail:hunter2secret/1@c:4318", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT must be"},
		"a duration":      {"OTEL_EXPORTER_OTLP_TIMEOUT", "hunter2secret", "a duration is ignored"},
		"what it can use": {envHeaders, "x-api-key=hunter2secret", ""},
	} {
		for _, proto := range []string{protocolHTTP, protocolGRPC} {
			t.Run(name+" "+proto, func(t *testing.T) {
				clean(t)
				t.Setenv(envEndpoint, "http://127.0.0.1:1")
				t.Setenv(envProtocol, proto)
				t.Setenv(c.variable, c.value)
				logger, logs := observed()
				on, err := New(t.Context(), Config{Logger: logger})
				on.Shutdown()
				var all strings.Builder
				fmt.Fprintln(&all, err) // Check may refuse the value
				for _, entry := range logs.All() {
					fmt.Fprintln(&all, entry.Message, entry.ContextMap())
				}
				if text := all.String(); strings.Contains(text, "hunter2") || !strings.Contains(text, c.want) {
					t.Errorf("the log has\n%s\nwant %q without the value", text, c.want)
				}
			})
		}
	}
}

// TestTheAnswerOfACollector may repeat the secret that it was sent, and may be long.
func TestTheAnswerOfACollector(t *testing.T) {
	clean(t)
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		_, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		_, _ = fmt.Fprintf(w, "unknown token %s %s", token, strings.Repeat("ä", 1<<20))
	}))
	defer collector.Close()
	t.Setenv(envEndpoint, collector.URL)
	t.Setenv(envHeaders, "authorization=Bearer%20hunter2secret")
	logger, logs := observed()
	on, err := New(t.Context(), Config{Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	_, span := on.Provider().Tracer("test").Start(t.Context(), "request")
	span.End()
	on.Shutdown()
	lines := logs.FilterMessageSnippet("spans cannot be exported").All()
	if len(lines) != 1 {
		t.Fatalf("the log has %v", logs.All())
	}
	text := fmt.Sprint(lines[0].ContextMap())
	if strings.Contains(text, "hunter2") || len(text) > 2*longestError || !strings.Contains(text, "unknown token [hidden]") {
		t.Errorf("the line has %d bytes: %.300s", len(text), text)
	}
}
