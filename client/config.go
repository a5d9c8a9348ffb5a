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
)

const (
	// DefaultTimeout is longer than a daemon takes whose truth is too old, and which
	// therefore asks the database: 2 s for a linearizable read.
	DefaultTimeout = 5 * time.Second
	// DefaultDialTimeout: a daemon is next door.
	DefaultDialTimeout = time.Second
	// DefaultTLSTimeout leaves room for a machine that is busy.
	DefaultTLSTimeout = 2 * time.Second
	// DefaultHeaderTimeout lets the 2 s of a linearizable read pass.
	DefaultHeaderTimeout = 4 * time.Second
	// DefaultMaxConnections is enough for 64 requests at every instant: some 100,000
	// a second, if each takes half a millisecond.
	DefaultMaxConnections = 64
	// DefaultMaxInFlight lets fifteen requests wait for each connection, for which
	// they hold a few KiB each.
	DefaultMaxInFlight = 1024
	// DefaultBreakAfter failures in a row are no coincidence.
	DefaultBreakAfter = 5
	// DefaultBreakFor is the time between two trials of a daemon that is away.
	DefaultBreakFor = time.Second
	// DefaultMaxStale is the daemon's own default.
	DefaultMaxStale = 15 * time.Second

	// idleTimeout is below the daemon's 120 s, so that it is this side that closes a
	// connection that nobody uses, and no request meets one being closed.
	idleTimeout = 60 * time.Second
	// maxHeader bounds the headers of an answer, in bytes: keytail's have a few
	// hundred.
	maxHeader = 64 << 10
)

// Config of a Client. URL is required; the zero value of every other field is a
// default.
type Config struct {
	// URL is where the daemon's public listener is: scheme, host, and a path if a
	// proxy puts it under one. Keys cross the network as the scheme says: use https
	// to other machines.
	URL string
	// Token is the caller token, where the daemon wants one. Empty: none is sent.
	Token string
	// TokenFile holds it instead, alone or as one line of name=token, and is closed
	// to others (chmod o-rwx). It is read again within 2 s of a change; a wrong one is
	// logged, and what was read before stays. Empty: Token counts.
	TokenFile string
	// TLS is for an https URL: authorities, a certificate of one's own. Nil: the
	// system's authorities, no certificate.
	TLS *tls.Config
	// Transport carries requests in place of the client's own, for those who need
	// another way; bounds on connections are its own then. Nil: one with the bounds
	// below, which follows no proxy of the environment.
	Transport http.RoundTripper
	// Timeout bounds a Validate, both tries included. Zero: DefaultTimeout.
	Timeout time.Duration
	// DialTimeout, TLSTimeout and HeaderTimeout bound the parts of a try: a connection,
	// its handshake, the time from there to the first byte of the answer. None is longer
	// than Timeout. Zero: DefaultDialTimeout, DefaultTLSTimeout, DefaultHeaderTimeout.
	DialTimeout, TLSTimeout, HeaderTimeout time.Duration
	// MaxConnections is how many connections there are at most. Zero:
	// DefaultMaxConnections.
	MaxConnections int
	// MaxInFlight is how many requests may be under way, or wait for a connection, at
	// most: the next is ErrUnavailable at once. Zero: DefaultMaxInFlight.
	MaxInFlight int
	// BreakAfter failures in a row open the circuit: for BreakFor every Validate is
	// ErrUnavailable at once, then one is let through as a trial. Zero:
	// DefaultBreakAfter, DefaultBreakFor.
	BreakAfter int
	BreakFor   time.Duration
	// MaxStale is the daemon's --max-stale, or more: an answer whose truth is older is
	// ErrUnavailable, and the bound for cutting a revoked key's streams is made of it
	// (DESIGN.md). Zero: DefaultMaxStale.
	MaxStale time.Duration
	// Logger is told of a daemon that is away or refuses the token, and of its
	// return. Nil: nobody is.
	Logger *slog.Logger
}

// Format prints a configuration with any verb, and not its token, nor a password that
// somebody has put into the URL.
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

// withDefaults fills in what is zero.
func (c Config) withDefaults() Config {
	orDefault(&c.Timeout, DefaultTimeout)
	for _, part := range []struct {
		given *time.Duration
		zero  time.Duration
	}{{&c.DialTimeout, DefaultDialTimeout}, {&c.TLSTimeout, DefaultTLSTimeout}, {&c.HeaderTimeout, DefaultHeaderTimeout}} {
		orDefault(part.given, min(part.zero, c.Timeout))
	}
	orDefault(&c.MaxConnections, DefaultMaxConnections)
	orDefault(&c.MaxInFlight, max(DefaultMaxInFlight, c.MaxConnections))
	orDefault(&c.BreakAfter, DefaultBreakAfter)
	orDefault(&c.BreakFor, DefaultBreakFor)
	orDefault(&c.MaxStale, DefaultMaxStale)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// check names every mistake at once, after withDefaults.
func (c *Config) check() error {
	var mistakes []error
	wrong := func(is bool, format string, args ...any) {
		if is {
			mistakes = append(mistakes, fmt.Errorf("client: "+format, args...))
		}
	}
	for name, d := range map[string]time.Duration{
		"Timeout": c.Timeout, "DialTimeout": c.DialTimeout, "TLSTimeout": c.TLSTimeout, "HeaderTimeout": c.HeaderTimeout,
		"BreakFor": c.BreakFor, "MaxStale": c.MaxStale,
	} {
		wrong(d < 0, "%s is negative", name)
	}
	for name, n := range map[string]int{"MaxConnections": c.MaxConnections, "MaxInFlight": c.MaxInFlight, "BreakAfter": c.BreakAfter} {
		wrong(n < 0, "%s is negative", name)
	}
	wrong(c.DialTimeout > c.Timeout || c.TLSTimeout > c.Timeout || c.HeaderTimeout > c.Timeout,
		"a part of Timeout (DialTimeout, TLSTimeout, HeaderTimeout) is longer than all of it")
	wrong(c.MaxInFlight < c.MaxConnections, "MaxInFlight is below MaxConnections, so that some connections would never be used")
	wrong(c.TLS != nil && c.Transport != nil, "TLS and Transport are both given: the transport has its own TLS")
	wrong(c.Token != "" && c.TokenFile != "", "Token and TokenFile are both given: give one")
	wrong(c.Token != "" && !isToken(c.Token), "Token must be a caller token, of 1 to 512 printable ASCII characters without a space")
	return errors.Join(mistakes...)
}

// parseURL reads Config.URL. Its error does not quote it: people paste secrets into
// the wrong place.
func parseURL(text string, withTLS bool) (*url.URL, error) {
	base, err := url.Parse(text)
	switch {
	case err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Hostname() == "":
		return nil, errors.New("client: URL must be the address of the daemon's public listener, such as https://keytail.internal:8080")
	case base.User != nil:
		return nil, errors.New("client: URL must not hold a user or password: the token is given by itself")
	case base.RawQuery != "" || base.ForceQuery || base.Fragment != "":
		return nil, errors.New("client: URL must end with the path: there is no query and no fragment")
	case withTLS && base.Scheme == "http":
		return nil, errors.New("client: TLS is given, and URL is plain HTTP: write https")
	}
	base.Path, base.RawPath = strings.TrimRight(base.Path, "/"), ""
	return base, nil
}
