package httpclient

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// DefaultIdle is three of the server's keep-alives: a stream that is silent for
// longer is broken, even if TCP does not report an error.
const DefaultIdle = 15 * time.Second

// Config of a Client.
type Config struct {
	// URL is the address of the listener: scheme, host, and a path if a proxy adds
	// one. Required.
	URL string
	// Token is sent as a bearer token. Empty: none is sent.
	Token string
	// TLS is for an https URL. Nil: the system's CAs, and no client certificate.
	TLS *tls.Config
	// Transport sends the requests. Nil: one that follows the environment's proxy
	// and uses TLS.
	Transport http.RoundTripper
	// Idle is how long a stream of events may be silent. Zero: DefaultIdle.
	Idle time.Duration
	// UserAgent is sent with each request. Empty: Go's own.
	UserAgent string
}

// Client is safe for concurrent use.
type Client struct {
	config Config
	base   *url.URL
	http   *http.Client
}

// New sends nothing. The error describes what is wrong with the URL, without
// quoting it: people paste secrets into the wrong place.
func New(config Config) (*Client, error) {
	base, err := url.Parse(config.URL)
	switch {
	case err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Hostname() == "":
		return nil, errors.New("it must be an address such as http://127.0.0.1:9091")
	case base.User != nil:
		return nil, errors.New("it must not contain a user or password: the token is given separately")
	case base.RawQuery != "" || base.Fragment != "":
		return nil, errors.New("it must end with the path: a query or fragment is not allowed")
	}
	base.Path, base.RawPath = strings.TrimRight(base.Path, "/"), ""
	if config.Idle == 0 {
		config.Idle = DefaultIdle
	}
	if config.Transport == nil {
		config.Transport = &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			TLSClientConfig:     config.TLS,
			ForceAttemptHTTP2:   true,
			TLSHandshakeTimeout: 10 * time.Second,
		}
	}
	return &Client{config, base, &http.Client{
		Transport: config.Transport,
		// A redirect must not get the token, nor turn a write into a GET.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Server is the address of the daemon, for messages.
func (c *Client) Server() string { return c.base.Redacted() }

// Request to the daemon.
type Request struct {
	Method, Path string
	Query        url.Values
	Header       http.Header
	// Body is sent as JSON. Nil: there is no body.
	Body any
}

// Send sends a request and returns a response of any status. The caller closes
// its body.
func (c *Client) Send(ctx context.Context, r *Request) (*http.Response, error) {
	request, err := c.encode(ctx, r)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err == nil && response.StatusCode == http.StatusSwitchingProtocols {
		// Its body is the connection, which no context ends.
		_ = response.Body.Close()
		response.Body = http.NoBody
	}
	return response, err
}

func (c *Client) encode(ctx context.Context, r *Request) (*http.Request, error) {
	var body io.Reader
	if r.Body != nil {
		text, err := json.Marshal(r.Body)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(text)
	}
	address := c.base.String() + r.Path
	if len(r.Query) > 0 {
		address += "?" + r.Query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, r.Method, address, body)
	if err != nil {
		return nil, err
	}
	for name, values := range r.Header {
		request.Header[name] = values
	}
	request.Header.Set("Accept", "application/json, application/problem+json, text/event-stream")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if c.config.UserAgent != "" {
		request.Header.Set("User-Agent", c.config.UserAgent)
	}
	if c.config.Token != "" {
		request.Header.Set("Authorization", "Bearer "+c.config.Token)
	}
	return request, nil
}
