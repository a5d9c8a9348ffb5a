package client

import (
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/revocation"
)

// pathVerify is the path of the daemon's public listener that validates a key.
const pathVerify = "/v1/keys/verify"

// Client validates keys through one daemon, or through a load balancer in front of
// several. It is safe for concurrent use.
type Client struct {
	config Config
	base   *url.URL
	// address is the daemon's URL in error messages.
	address string
	verify  *url.URL
	token   *token
	// pool has the persistent connections. fresh makes a new connection for the second
	// attempt, since the other connections of the pool may be broken, too.
	pool, fresh http.RoundTripper
	// stream makes one connection for each event stream.
	stream  http.RoundTripper
	circuit *gobreaker.CircuitBreaker[auth.Verdict]
	// inFlight has one item for each request in progress.
	inFlight chan struct{}
	// tokenLog and runLog limit how often it is logged that the daemon refuses the
	// caller token, and that Run was not called.
	tokenLog, runLog throttle
	// lastFailure is the last failure that the circuit breaker has counted.
	lastFailure atomic.Pointer[failure]
	// lastVerdict is the time of the last verdict that is based on data. Nil: there was
	// none.
	lastVerdict atomic.Pointer[time.Time]
	watches     *revocation.Watches
	running     atomic.Bool
}

var _ auth.RevocationWatcher = (*Client)(nil)

// New checks the configuration and returns a Client. It makes no connection. Its error
// names every invalid field.
func New(config Config) (*Client, error) {
	config = config.withDefaults()
	base, urlErr := parseURL(config.URL, config.TLS != nil)
	if err := errors.Join(config.check(), urlErr); err != nil {
		return nil, err
	}
	token, err := newToken(&config)
	if err != nil {
		return nil, err
	}
	config.Token = "" // a printed Client prints its configuration, too
	c := &Client{
		config: config, base: base, address: base.String(), verify: join(base, pathVerify), token: token,
		pool: config.Transport, fresh: config.Transport, stream: newStreamTransport(&config),
		watches: revocation.New(revocation.Config{}), inFlight: make(chan struct{}, config.MaxInFlight),
	}
	if config.Transport == nil {
		pool, fresh := newTransport(&config), newTransport(&config)
		fresh.DisableKeepAlives = true
		c.pool, c.fresh = pool, fresh
	}
	c.circuit = c.newCircuit()
	if base.Scheme == "http" && !isLoopback(base.Hostname()) {
		config.Logger.Warn("keytail is reached by http on another machine: keys and the caller token cross the network unencrypted, use https", "url", c.address)
	}
	return c, nil
}

// isLoopback reports whether a host is this machine.
func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// join appends a path to the daemon's URL.
func join(base *url.URL, path string) *url.URL {
	joined := *base
	joined.Path += path
	return &joined
}

// Close closes the idle connections. Validate still works afterwards.
func (c *Client) Close() {
	if pool, ok := c.pool.(interface{ CloseIdleConnections() }); ok {
		pool.CloseIdleConnections()
	}
}
