package client

import (
	"errors"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/revocation"
)

// pathVerify is what is asked.
const pathVerify = "/v1/keys/verify"

// Client asks one daemon, or the balancer in front of several. It is safe for
// concurrent use.
type Client struct {
	config Config
	base   *url.URL
	// where is the daemon in errors.
	where  string
	verify *url.URL
	token  *token
	// pool has the connections that stay open. fresh makes one for a second try,
	// since what else is in the pool may be as dead as the first.
	pool, fresh http.RoundTripper
	// stream makes one for each stream of events.
	stream  http.RoundTripper
	circuit *gobreaker.CircuitBreaker[auth.Verdict]
	// places has room for each request that is under way.
	places chan struct{}
	// refused is when it was last logged that the token is refused, deaf that keys are
	// watched by nobody who hears.
	refused, deaf throttle
	// last is the last failure that the circuit has counted.
	last atomic.Pointer[failure]
	// known is when the truth about a key was last known. Nil: never.
	known   atomic.Pointer[time.Time]
	watches *revocation.Watches
	running atomic.Bool
}

var _ auth.Validator = (*Client)(nil)

// New checks the configuration and asks nobody. Its error names every mistake.
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
	config.Token = "" // what prints a Client prints its configuration, too
	c := &Client{
		config: config, base: base, where: base.String(), verify: below(base, pathVerify), token: token,
		pool: config.Transport, fresh: config.Transport, stream: newStream(&config), watches: revocation.New(revocation.Config{}), places: make(chan struct{}, config.MaxInFlight),
	}
	if config.Transport == nil {
		c.pool, c.fresh = newTransport(&config), newTransport(&config)
		c.fresh.(*http.Transport).DisableKeepAlives = true
	}
	c.circuit = c.newCircuit()
	return c, nil
}

// below is a path of the daemon's.
func below(base *url.URL, path string) *url.URL {
	joined := *base
	joined.Path += path
	return &joined
}

// Close gives the connections back that nobody uses. Validate goes on to work.
func (c *Client) Close() {
	if pool, ok := c.pool.(interface{ CloseIdleConnections() }); ok {
		pool.CloseIdleConnections()
	}
}
