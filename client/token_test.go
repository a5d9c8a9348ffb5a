package client

import (
	"bytes"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keytail/keytail/auth"
)

// An invalid file keeps the earlier token.
func TestTokenFileIsReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	write := func(content string) {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	server := serve(t, json200(validBody))
	var log bytes.Buffer
	write("# this service\nweb=first-caller-token\n")
	c := newClient(t, server.URL, func(c *Config) {
		c.Token, c.TokenFile, c.Logger = "", path, slog.New(slog.NewTextHandler(&log, nil))
	})
	var now time.Duration
	c.token.now = func() time.Duration { return now }
	sent := func(want string) {
		t.Helper()
		if _, err := c.Validate(t.Context(), secret, auth.Request{}); err != nil {
			t.Fatal(err)
		}
		requests := server.requests()
		if got := requests[len(requests)-1].header.Get("Authorization"); got != "Bearer "+want {
			t.Errorf("sent %q, want %q", got, want)
		}
	}
	sent("first-caller-token")
	write("second-caller-token")
	sent("first-caller-token")
	now += tokenInterval
	sent("second-caller-token")
	for range 3 {
		write("two words")
		now += tokenInterval
		sent("second-caller-token")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	now += tokenInterval
	sent("second-caller-token")
	write("third=third-caller-token=1")
	now += tokenInterval
	sent("third-caller-token=1")
	if n := strings.Count(log.String(), "cannot be read again"); n != 2 || strings.Contains(log.String(), "words") || strings.Contains(log.String(), "second-") {
		t.Errorf("logged %s", &log)
	}
}

func TestNoTokenNoHeader(t *testing.T) {
	server := serve(t, json200(validBody))
	c := newClient(t, server.URL, func(c *Config) { c.Token = "" })
	if _, err := c.Validate(t.Context(), secret, auth.Request{}); err != nil {
		t.Fatal(err)
	}
	if got := server.requests()[0].header[http.CanonicalHeaderKey("Authorization")]; got != nil {
		t.Errorf("sent %q", got)
	}
}
