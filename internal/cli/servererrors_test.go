package cli

import (
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// TestFailedHandshakesAreOneLine: a scanner that speaks no TLS, as often as it likes.
func TestFailedHandshakesAreOneLine(t *testing.T) {
	files := newAuthority(t).write(t, filepath.Join(t.TempDir(), "server"), "keytail.example", time.Now().Add(time.Hour))
	r, public, operations := startServe(t, newFake().deps(), "--drain-delay=0", "--tls-cert-file="+files.CertFile, "--tls-key-file="+files.KeyFile)
	for range 50 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(public, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, "this is not a ClientHello\r\n\r\n")
		_, _ = io.Copy(io.Discard, conn) // until the server closes it
		_ = conn.Close()
	}
	if body, err := get(t, operations); err != nil || body != "operations" {
		t.Errorf("operations: %q, %v", body, err)
	}
	r.signal(t)
	r.wait(t)
	if n := strings.Count(r.stderr.String(), handshakeError); n != 1 {
		t.Errorf("50 failed handshakes are %d lines, want 1; stderr:\n%.2000s", n, r.stderr)
	}
}

// TestSimilarErrorsOfAServer: each kind has its line a minute, with the number of those
// left out; all are counted, whatever the level of the log.
func TestSimilarErrorsOfAServer(t *testing.T) {
	clock := &stoppedClock{time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC)}
	for _, level := range []zapcore.Level{zap.WarnLevel, zap.ErrorLevel} {
		core, logs := observer.New(level)
		registry := prometheus.NewRegistry()
		logger, err := limitErrors(zap.New(core, zap.WithClock(clock)), "public", registry)
		if err != nil {
			t.Fatal(err)
		}
		errorLog := newServer(nil, logger).ErrorLog
		for range 30 {
			errorLog.Print("http: TLS handshake error from 192.0.2.1:1234: EOF")
			errorLog.Print("http: Accept error: too many open files; retrying in 5ms")
		}
		clock.now = clock.now.Add(time.Minute)
		errorLog.Print("http: TLS handshake error from 192.0.2.7:999: EOF")
		want := "# HELP keytail_tls_handshake_errors_total TLS handshakes that failed, by listener.\n" +
			"# TYPE keytail_tls_handshake_errors_total counter\n" + `keytail_tls_handshake_errors_total{listener="public"} 31` + "\n"
		if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
			t.Error(err)
		}
		var got []int64
		for _, line := range logs.All() {
			got = append(got, line.ContextMap()["similar_since_last_line"].(int64))
		}
		if level == zap.ErrorLevel && len(got) != 0 || level == zap.WarnLevel && (len(got) != 3 || got[0] != 0 || got[1] != 0 || got[2] != 29) {
			t.Errorf("at level %v the lines have %v", level, got)
		}
	}
}

type stoppedClock struct{ now time.Time }

func (c *stoppedClock) Now() time.Time                       { return c.now }
func (c *stoppedClock) NewTicker(time.Duration) *time.Ticker { return nil }
