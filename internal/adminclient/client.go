package adminclient

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"time"
)

const (
	// DefaultTimeout bounds a call without its wait: the server gives a write 20 s,
	// since an election takes some.
	DefaultTimeout = 30 * time.Second
	// DefaultIdle is three of the server's keep-alives: a stream that is silent for
	// longer is broken, whatever TCP says.
	DefaultIdle = 15 * time.Second
	// maxAnswer bounds what is read of an answer. A page of 500 keys is under it.
	maxAnswer = 16 << 20
)

// Config of a Client.
type Config struct {
	// URL is where the listener is: scheme, host, and a path if a proxy puts it
	// under one. Required.
	URL string
	// Token is sent as Bearer. Empty: none is.
	Token string
	// TLS is for an https URL. Nil: the system's authorities, no certificate.
	TLS *tls.Config
	// Transport carries requests in place of the client's own. Nil: one that follows
	// the environment's proxy, and has TLS.
	Transport http.RoundTripper
	// Timeout bounds a call without its wait. Zero: DefaultTimeout.
	Timeout time.Duration
	// Idle is how long a stream of events may be silent. Zero: DefaultIdle.
	Idle time.Duration
	// UserAgent says who asks. Empty: Go's own.
	UserAgent string
}

// Client may be used by many goroutines at once.
type Client struct {
	config Config
	base   *url.URL
	http   *http.Client
}

// New asks nobody. The error says what is wrong with the URL, without quoting it:
// people paste secrets into the wrong place.
func New(config Config) (*Client, error) {
	base, err := url.Parse(config.URL)
	switch {
	case err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Hostname() == "":
		return nil, errors.New("it must be an address such as http://127.0.0.1:9091")
	case base.User != nil:
		return nil, errors.New("it must not hold a user or password: the token is given by itself")
	case base.RawQuery != "" || base.Fragment != "":
		return nil, errors.New("it must end with the path: there is no query and no fragment")
	}
	base.Path, base.RawPath = strings.TrimRight(base.Path, "/"), ""
	if config.Timeout == 0 {
		config.Timeout = DefaultTimeout
	}
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
		// Whoever sends us elsewhere does not get the token, nor makes a GET of a write.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Close gives the connections back.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// call is one request.
type call struct {
	method, path string
	query        url.Values
	header       http.Header
	body         any // nil: none
	// wait is what the server may take beside its usual time.
	wait time.Duration
}

// write reports whether the call changes something, so that its outcome matters
// when its answer is lost. Verify only asks.
func (q *call) write() bool { return q.method != http.MethodGet && q.path != pathVerify }

// do asks, and reads the answer into what into points to.
func (c *Client) do(ctx context.Context, q *call, into any) (*Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout+q.wait)
	defer cancel()
	var connected bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected = true }})
	response, err := c.send(ctx, q)
	if err != nil {
		if q.write() && connected {
			return nil, &UnknownError{Cause: c.away(err)}
		}
		return nil, c.away(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err == nil && len(text) > maxAnswer {
		err = fmt.Errorf("it has more than %d MiB", maxAnswer>>20)
	}
	if response.StatusCode/100 != 2 {
		return nil, c.refusal(q, response, text)
	}
	if err == nil {
		// What it has beside what is known is newer than this program, and left alone.
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		return nil, c.unreadable(q, response, err)
	}
	return &Answer{Raw: text, ETag: response.Header.Get("ETag")}, nil
}

// Answer is what came back, beside its meaning.
type Answer struct {
	// Raw is the body, with what this version does not know.
	Raw json.RawMessage
	// ETag goes into If-Match. Empty: there was none.
	ETag string
}

// send makes the request and returns an answer of any status.
func (c *Client) send(ctx context.Context, q *call) (*http.Response, error) {
	var body io.Reader
	if q.body != nil {
		text, err := json.Marshal(q.body)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(text)
	}
	address := c.base.String() + q.path
	if len(q.query) > 0 {
		address += "?" + q.query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, q.method, address, body)
	if err != nil {
		return nil, err
	}
	for name, values := range q.header {
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
	response, err := c.http.Do(request)
	if err == nil && response.StatusCode == http.StatusSwitchingProtocols {
		// Its body is the connection, whose end no context brings.
		_ = response.Body.Close()
		response.Body = http.NoBody
	}
	return response, err
}
