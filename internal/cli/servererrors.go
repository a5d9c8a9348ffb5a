package cli

import (
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/keytail/keytail/internal/instrument"
	"github.com/keytail/keytail/internal/lograte"
)

// handshakeError begins what net/http logs about a failed TLS handshake.
const handshakeError = "http: TLS handshake error"

// serverErrors is the core of the logger that an http.Server writes to. A client can
// cause its lines as often as it likes, so each kind is written once a minute, with the
// number of those left out.
type serverErrors struct {
	zapcore.Core
	// handshakes counts failed TLS handshakes.
	handshakes prometheus.Counter

	mutex sync.Mutex
	// kinds maps the first words of a message, which do not depend on the client, to
	// its limit.
	kinds map[string]*lograte.Limiter
}

// limitErrors is logger for the errors of the server of a listener. A nil registerer
// registers no metric.
func limitErrors(logger *zap.Logger, listener string, registerer prometheus.Registerer) (*zap.Logger, error) {
	core := &serverErrors{
		Core: logger.Core(), kinds: map[string]*lograte.Limiter{},
		handshakes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "keytail_tls_handshake_errors_total", ConstLabels: prometheus.Labels{"listener": listener},
			Help: "TLS handshakes that failed, by listener.",
		}),
	}
	logger = logger.WithOptions(zap.WrapCore(func(zapcore.Core) zapcore.Core { return core }))
	return logger, instrument.Register(registerer, core.handshakes)
}

// Enabled is true for every level: what is not logged is counted.
func (*serverErrors) Enabled(zapcore.Level) bool { return true }

// Check adds the core.
func (c *serverErrors) Check(entry zapcore.Entry, to *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return to.AddCore(entry, c)
}

// Write counts the line, and writes it if it is its turn.
func (c *serverErrors) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	if strings.HasPrefix(entry.Message, handshakeError) {
		c.handshakes.Inc()
	}
	if !c.Core.Enabled(entry.Level) {
		return nil
	}
	skipped, ok := c.limiter(entry.Message).Allow(entry.Time)
	if !ok {
		return nil
	}
	return c.Core.Write(entry, append(slices.Clone(fields), zap.Int("similar_since_last_line", skipped)))
}

// maxKinds is more than net/http has. Others share a limit.
const maxKinds = 32

// limiter is that of the first three words: "http: TLS handshake", "http: Accept error:".
func (c *serverErrors) limiter(message string) *lograte.Limiter {
	words := strings.SplitN(message, " ", 4)
	kind := strings.Join(words[:min(len(words), 3)], " ")
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.kinds[kind] == nil && len(c.kinds) >= maxKinds {
		kind = "" // no message begins with nothing
	}
	if c.kinds[kind] == nil {
		c.kinds[kind] = &lograte.Limiter{}
	}
	return c.kinds[kind]
}
