package client

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/keytail/keytail/internal/secretfile"
)

const (
	// DefaultTimeout is longer than the 2 s that a daemon with stale data takes at most
	// for a linearizable read.
	DefaultTimeout = 5 * time.Second
	// DefaultDialTimeout is enough in the network of one data center.
	DefaultDialTimeout = time.Second
	// DefaultTLSTimeout is enough for a machine under load.
	DefaultTLSTimeout = 2 * time.Second
	// DefaultHeaderTimeout is longer than a linearizable read, which takes 2 s at most.
	DefaultHeaderTimeout = 4 * time.Second
	// DefaultMaxConnections serves 64 requests at the same time: about 100,000 a
	// second, if each takes half a millisecond.
	DefaultMaxConnections = 64
	// DefaultMaxInFlight lets fifteen requests wait for each connection. A waiting
	// request needs a few KiB.
	DefaultMaxInFlight = 1024
	// DefaultBreakAfter is more consecutive failures than occur by chance.
	DefaultBreakAfter = 5
	// DefaultBreakFor is the time between two attempts to reach an unreachable daemon.
	DefaultBreakFor = time.Second
	// DefaultMaxStale is the daemon's own default.
	DefaultMaxStale = 15 * time.Second

	// idleTimeout is less than the daemon's 120 s, so that the client closes idle
	// connections, and no request is sent on a connection that the daemon closes.
	idleTimeout = 60 * time.Second
	// maxHeader bounds the headers of a response, in bytes. Those of keytail have a few
	// hundred.
	maxHeader = 64 << 10
)

// Config of a Client. URL is required; the zero value of every other field is a
// default.
type Config struct {
	// URL is the address of the daemon's public listener: scheme, host, and a path if a
	// proxy adds one. With http, keys cross the network in clear text: use https to
	// other machines.
	URL string
	// Token is the caller token, if the daemon requires one. Empty: none is sent.
	Token string
	// TokenFile is a file with the caller token, alone or as one line of name=token.
	// Other users must not have access to it (chmod o-rwx). The client reads it again
	// within 2 s of a change. If that fails, it logs the error and keeps the earlier
	// token. Empty: Token is used.
	TokenFile string
	// TLS is the TLS configuration for an https URL, such as a CA or a client
	// certificate. Nil: the system's CAs, and no client certificate.
	TLS *tls.Config
	// Transport replaces the client's own transport. It has its own limits on
	// connections. Nil: a transport with the limits below, which ignores the
	// environment's proxy.
	Transport http.RoundTripper
	// Timeout bounds a call of Validate, both attempts included. Zero: DefaultTimeout.
	Timeout time.Duration
	// DialTimeout, TLSTimeout and HeaderTimeout bound the parts of one attempt: the
	// connection, the TLS handshake, and the time from the request to the first byte of
	// the response. Each is at most Timeout. Zero: DefaultDialTimeout,
	// DefaultTLSTimeout, DefaultHeaderTimeout.
	DialTimeout, TLSTimeout, HeaderTimeout time.Duration
	// MaxConnections bounds the number of connections. Zero: DefaultMaxConnections.
	MaxConnections int
	// MaxInFlight bounds the number of requests that are in progress or wait for a
	// connection. The next one is auth.ErrUnavailable immediately. Zero:
	// DefaultMaxInFlight.
	MaxInFlight int
	// BreakAfter consecutive failures open the circuit breaker: for the time of BreakFor
	// every Validate is auth.ErrUnavailable immediately, then one request is sent as a trial.
	// Zero: DefaultBreakAfter, DefaultBreakFor.
	BreakAfter int
	BreakFor   time.Duration
	// MaxStale is at least the maximum staleness of the daemon. An answer with older data
	// is auth.ErrUnavailable. How long a revoked key can keep a stream depends on it
	// (DESIGN.md). Zero: DefaultMaxStale.
	MaxStale time.Duration
	// Logger gets a line when the daemon becomes unreachable, refuses the caller token,
	// or is reachable again; their attribute "logger" is "keytail.client". Nil: no logging.
	Logger *slog.Logger
}

// Format prints a configuration for every verb, without its token and without a
// password in the URL.
func (c Config) Format(state fmt.State, verb rune) {
	type plain Config
	if c.Token != "" {
		c.Token = "hidden"
	}
	if base, err := url.Parse(c.URL); err == nil {
		c.URL = base.Redacted()
	}
	_, _ = fmt.Fprintf(state, fmt.FormatString(state, verb), plain(c))
}

// LogValue is Format, for package slog.
func (c Config) LogValue() slog.Value { return slog.StringValue(fmt.Sprintf("%+v", c)) }

// withDefaults replaces zero values.
func (c Config) withDefaults() Config {
	setDefault(&c.Timeout, DefaultTimeout)
	setDefault(&c.DialTimeout, min(DefaultDialTimeout, c.Timeout))
	setDefault(&c.TLSTimeout, min(DefaultTLSTimeout, c.Timeout))
	setDefault(&c.HeaderTimeout, min(DefaultHeaderTimeout, c.Timeout))
	setDefault(&c.MaxConnections, DefaultMaxConnections)
	setDefault(&c.MaxInFlight, max(DefaultMaxInFlight, c.MaxConnections))
	setDefault(&c.BreakAfter, DefaultBreakAfter)
	setDefault(&c.BreakFor, DefaultBreakFor)
	setDefault(&c.MaxStale, DefaultMaxStale)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Logger = c.Logger.With("logger", "keytail.client") // the rest of the program logs, too
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// check returns what is wrong with the fields, after withDefaults.
func (c *Config) check() error {
	var errs []error
	wrong := func(is bool, format string, args ...any) {
		if is {
			errs = append(errs, fmt.Errorf("client: "+format, args...))
		}
	}
	for _, field := range []struct {
		name     string
		negative bool
	}{
		{"Timeout", c.Timeout < 0},
		{"DialTimeout", c.DialTimeout < 0},
		{"TLSTimeout", c.TLSTimeout < 0},
		{"HeaderTimeout", c.HeaderTimeout < 0},
		{"MaxConnections", c.MaxConnections < 0},
		{"MaxInFlight", c.MaxInFlight < 0},
		{"BreakAfter", c.BreakAfter < 0},
		{"BreakFor", c.BreakFor < 0},
		{"MaxStale", c.MaxStale < 0},
	} {
		wrong(field.negative, "%s is negative", field.name)
	}
	wrong(max(c.DialTimeout, c.TLSTimeout, c.HeaderTimeout) > c.Timeout,
		"DialTimeout, TLSTimeout and HeaderTimeout must not be longer than Timeout")
	wrong(c.MaxInFlight < c.MaxConnections, "MaxInFlight must be at least MaxConnections, otherwise some connections are never used")
	wrong(c.TLS != nil && c.Transport != nil, "set TLS or Transport, not both: the transport has its own TLS configuration")
	wrong(c.Token != "" && c.TokenFile != "", "set Token or TokenFile, not both")
	wrong(c.Token != "" && !secretfile.IsToken(c.Token), "Token must have 1 to 512 printable ASCII characters without spaces")
	return errors.Join(errs...)
}

// parseURL parses Config.URL. Its error does not quote the URL, which can contain a
// secret by mistake.
func parseURL(text string, withTLS bool) (*url.URL, error) {
	base, err := url.Parse(text)
	switch {
	case err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Hostname() == "":
		return nil, errors.New("client: URL must be the address of the daemon's public listener, such as https://keytail.internal:8080")
	case base.User != nil:
		return nil, errors.New("client: URL must not contain a user or password: set Token or TokenFile")
	case base.RawQuery != "" || base.ForceQuery || base.Fragment != "":
		return nil, errors.New("client: URL must not have a query or a fragment")
	case withTLS && base.Scheme == "http":
		return nil, errors.New("client: TLS is set and URL begins with http: use https")
	}
	base.Path, base.RawPath = strings.TrimRight(base.Path, "/"), ""
	return base, nil
}
