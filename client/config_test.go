package client

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestInvalidConfiguration(t *testing.T) {
	file := func(content string, mode os.FileMode) string {
		path := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, test := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"empty URL":                        {func(c *Config) { c.URL = "" }, "URL must be the address"},
		"no scheme":                        {func(c *Config) { c.URL = "hidden:8080" }, "URL must be the address"},
		"no host":                          {func(c *Config) { c.URL = "http://:80" }, "URL must be the address"},
		"wrong scheme":                     {func(c *Config) { c.URL = "ftp://hidden" }, "URL must be the address"},
		"invalid escape":                   {func(c *Config) { c.URL = "http://hidden%zz" }, "URL must be the address"},
		"password":                         {func(c *Config) { c.URL = "http://a:hidden@b" }, "user or password"},
		"query":                            {func(c *Config) { c.URL = "http://b?key=hidden" }, "must not have a query"},
		"empty query":                      {func(c *Config) { c.URL = "http://b?" }, "must not have a query"},
		"fragment":                         {func(c *Config) { c.URL = "http://b#hidden" }, "or a fragment"},
		"TLS for http":                     {func(c *Config) { c.TLS = &tls.Config{} }, "use https"},
		"TLS and Transport":                {func(c *Config) { c.URL = "https://b"; c.TLS = &tls.Config{}; c.Transport = http.DefaultTransport }, "its own TLS"},
		"Token and TokenFile":              {func(c *Config) { c.Token, c.TokenFile = "hidden", file("hidden", 0o600) }, "not both"},
		"token with a newline":             {func(c *Config) { c.Token = "hidden\r\nX: y" }, "printable ASCII"},
		"long token":                       {func(c *Config) { c.Token = strings.Repeat("hidden", 100) }, "printable ASCII"},
		"no file":                          {func(c *Config) { c.TokenFile = "/nonexistent/file" }, "TokenFile: open"},
		"file readable by others":          {func(c *Config) { c.TokenFile = file("hidden-token-of-web", 0o604) }, "chmod o-rwx"},
		"two lines":                        {func(c *Config) { c.TokenFile = file("hidden\nhidden2\n", 0o600) }, "must hold one token"},
		"empty file":                       {func(c *Config) { c.TokenFile = file("# nothing\n\n", 0o600) }, "must hold one token"},
		"several words":                    {func(c *Config) { c.TokenFile = file("hidden words", 0o600) }, "must hold one token"},
		"large file":                       {func(c *Config) { c.TokenFile = file(strings.Repeat("hidden\n", 200000), 0o600) }, "more than 1 MiB"},
		"negative Timeout":                 {func(c *Config) { c.Timeout = -1 }, "Timeout is negative"},
		"negative MaxStale":                {func(c *Config) { c.MaxStale = -1 }, "MaxStale is negative"},
		"negative MaxInFlight":             {func(c *Config) { c.MaxInFlight = -1 }, "MaxInFlight is negative"},
		"negative BreakAfter":              {func(c *Config) { c.BreakAfter = -1 }, "BreakAfter is negative"},
		"DialTimeout longer than Timeout":  {func(c *Config) { c.Timeout, c.DialTimeout = time.Second, time.Minute }, "must not be longer than Timeout"},
		"MaxInFlight below MaxConnections": {func(c *Config) { c.MaxInFlight, c.MaxConnections = 1, 2 }, "MaxInFlight must be at least MaxConnections"},
		"two mistakes":                     {func(c *Config) { c.URL = ""; c.MaxStale = -1 }, "MaxStale is negative\nclient: URL"},
	} {
		config := Config{URL: "http://127.0.0.1:1"}
		test.change(&config)
		c, err := New(config)
		if err == nil || c != nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDefaultsAreConsistent(t *testing.T) {
	c := newClient(t, "http://127.0.0.1:1", func(c *Config) { c.Timeout = time.Second })
	if got := c.config; got.DialTimeout != time.Second || got.HeaderTimeout != time.Second || got.MaxStale != DefaultMaxStale || got.MaxInFlight != DefaultMaxInFlight {
		t.Errorf("%+v", got)
	}
	if c := newClient(t, "http://127.0.0.1:1", func(c *Config) { c.MaxConnections = 5000 }); c.config.MaxInFlight != 5000 {
		t.Errorf("MaxInFlight is %d", c.config.MaxInFlight)
	}
}

// TestHTTPToAnotherMachineIsAWarning: nothing else would show it, because it works.
func TestHTTPToAnotherMachineIsAWarning(t *testing.T) {
	for url, want := range map[string]bool{
		"http://keytail.internal:8080": true, "http://10.0.0.7": true, "http://localhost.example": true,
		"https://keytail.internal": false, "http://localhost:8080": false, "http://127.0.0.1:8080": false, "http://[::1]:8080": false,
	} {
		var log strings.Builder
		c, err := New(Config{URL: url, Token: "hidden", Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		if got := log.String(); strings.Contains(got, "unencrypted, use https") != want || strings.Contains(got, "hidden") {
			t.Errorf("%s: the log is %q", url, got)
		}
	}
}
