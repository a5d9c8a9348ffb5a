package cli

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHealthcheck(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if request.URL.Path != "/livez" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(server.Close)
	addr := strings.TrimPrefix(server.URL, "http://")
	_, port, _ := strings.Cut(addr, ":")
	for name, test := range map[string]struct {
		args []string
		code int
	}{
		"livez":          {[]string{"--ops-addr", addr}, exitOK},
		"every address":  {[]string{"--ops-addr", ":" + port}, exitOK},
		"every v4":       {[]string{"--ops-addr", "0.0.0.0:" + port}, exitOK},
		"url":            {[]string{"--url", server.URL + "/livez"}, exitOK},
		"not ready":      {[]string{"--url", server.URL + "/readyz"}, exitFailure},
		"no listener":    {[]string{"--ops-addr", "127.0.0.1:1"}, exitFailure},
		"not a URL":      {[]string{"--url", "::"}, exitFailure},
		"free port":      {[]string{"--ops-addr", "127.0.0.1:0"}, exitUsage},
		"not an address": {[]string{"--ops-addr", "9090"}, exitUsage},
		"serve's flag":   {[]string{"--max-stale=1s"}, exitUsage},
	} {
		code, _, stderr := finish(t, Deps{}, append([]string{"healthcheck"}, test.args...)...)
		if code != test.code {
			t.Errorf("%s: got exit code %d, want %d; stderr:\n%s", name, code, test.code, stderr)
		}
	}
}

// TestHealthcheckReadsTheEnvironmentOfServe, because in a container both have the same
// environment.
func TestHealthcheckReadsTheEnvironmentOfServe(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(server.Close)
	t.Setenv("KEYTAIL_OPS_ADDR", strings.TrimPrefix(server.URL, "http://"))
	t.Setenv("KEYTAIL_MAX_STALE", "nonsense")
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	if code, _, stderr := finish(t, Deps{}, "healthcheck"); code != exitOK {
		t.Errorf("got exit code %d; stderr:\n%s", code, stderr)
	}
}

func TestDialable(t *testing.T) {
	for addr, want := range map[string]string{
		":9090": "127.0.0.1:9090", "0.0.0.0:9090": "127.0.0.1:9090", "[::]:9090": "localhost:9090",
		"10.0.0.7:9090": "10.0.0.7:9090", "[::1]:9090": "[::1]:9090", "host:9090": "host:9090",
	} {
		if got, err := dialAddress(addr); err != nil || got != want {
			t.Errorf("dialable(%q) = %q, %v; want %q", addr, got, err, want)
		}
	}
}
