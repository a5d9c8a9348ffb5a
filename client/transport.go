package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync/atomic"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/tracing"
)

// userAgent identifies this client in the logs of proxies.
const userAgent = "keytail-client"

// newTransport returns a transport with the limits of the configuration. It uses
// HTTP/1.1: with HTTP/2 all requests would share one connection, and fail with it.
func newTransport(config *Config) *http.Transport {
	dialer := net.Dialer{Timeout: config.DialTimeout}
	return &http.Transport{
		DialContext:            dialer.DialContext,
		TLSClientConfig:        config.TLS.Clone(),
		TLSHandshakeTimeout:    config.TLSTimeout,
		ResponseHeaderTimeout:  config.HeaderTimeout,
		MaxConnsPerHost:        config.MaxConnections,
		MaxIdleConns:           config.MaxConnections,
		MaxIdleConnsPerHost:    config.MaxConnections,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeader,
		DisableCompression:     true,
	}
}

// newStreamTransport returns a transport for event streams: each has its own
// connection, and may be silent for silenceTimeout.
func newStreamTransport(config *Config) http.RoundTripper {
	if config.Transport != nil {
		return config.Transport
	}
	t := newTransport(config)
	t.ResponseHeaderTimeout, t.DisableKeepAlives = 0, true
	return t
}

// send makes one attempt, and a second one if the connection broke before the first
// byte of the response.
func (c *Client) send(ctx context.Context, body []byte, r *auth.Request) (auth.Verdict, *failure) {
	verdict, failed := c.attempt(ctx, c.pool, body, r)
	if failed == nil || !failed.retryable {
		return verdict, failed
	}
	return c.attempt(ctx, c.fresh, body, r)
}

func (c *Client) attempt(ctx context.Context, transport http.RoundTripper, body []byte, r *auth.Request) (auth.Verdict, *failure) {
	var begun atomic.Bool // the first byte of the response has arrived
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotFirstResponseByte: func() { begun.Store(true) }})
	// Not an http.Client: it would follow redirects, store cookies and repeat requests.
	response, err := transport.RoundTrip(c.newRequest(ctx, body))
	if err != nil {
		return auth.Verdict{}, c.noResponse(err, begun.Load())
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode == http.StatusSwitchingProtocols {
		// The body is the connection, which does not end with the context.
		return auth.Verdict{}, c.unexpected("responded with status 101")
	}
	content, err := io.ReadAll(io.LimitReader(response.Body, maxResponse+1))
	switch {
	case err != nil:
		return auth.Verdict{}, c.noResponse(err, true)
	case len(content) > maxResponse:
		return auth.Verdict{}, c.unexpected("sent a body of more than 1 MiB")
	case response.StatusCode != http.StatusOK:
		return auth.Verdict{}, c.failureOf(response, content, r)
	case !hasType(response.Header, "application/json"):
		return auth.Verdict{}, c.unexpected("responded with status 200 and a body that is not JSON")
	}
	return c.parse(content, r)
}

// parse returns the verdict in a body.
func (c *Client) parse(body []byte, r *auth.Request) (auth.Verdict, *failure) {
	response, err := parseResponse(body)
	if err != nil {
		return auth.Verdict{}, c.unexpected(err.Error())
	}
	verdict, err := response.verdict(r)
	if errors.Is(err, errOtherRequest) {
		// It may depend on the key: a newer daemon can accept one that this client refuses.
		return auth.Verdict{}, unavailable(c.address + " " + err.Error() + ": the daemon may be newer than this client, or a server between mixes up responses")
	}
	if err != nil {
		return auth.Verdict{}, c.unexpected(err.Error())
	}
	return verdict, nil
}

// newRequest returns a request without GetBody, so that no transport repeats it.
func (c *Client) newRequest(ctx context.Context, body []byte) *http.Request {
	request := (&http.Request{
		Method: http.MethodPost, URL: c.verify, Host: c.verify.Host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{
			"Accept":       {"application/json, application/problem+json"},
			"Content-Type": {"application/json"},
			"User-Agent":   {userAgent},
		},
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
	}).WithContext(ctx)
	if token := c.token.get(); token != "" {
		request.Header["Authorization"] = []string{"Bearer " + token}
	}
	if parent := tracing.Traceparent(ctx); parent != "" {
		// A transport with tracing replaces it by its own span.
		request.Header[tracing.HeaderTraceparent] = []string{parent}
	}
	return request
}

// hasType reports whether a body has this media type and no encoding.
func hasType(header http.Header, want string) bool {
	got, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	return err == nil && got == want && len(header["Content-Encoding"]) == 0
}

// problem is the part of an RFC 9457 problem that the client uses. Its detail is not
// shown, since any server may have sent it.
type problem struct {
	Code string `json:"code"`
}

// The problem codes that have a meaning here.
const (
	codeBadRequest = "BAD_REQUEST"
	codeInternal   = "INTERNAL_ERROR"
)

// failureOf returns the failure of a response with another status than 200.
func (c *Client) failureOf(response *http.Response, body []byte, r *auth.Request) *failure {
	var p problem
	if hasType(response.Header, "application/problem+json") {
		// A body that is not JSON has no code.
		_ = json.Unmarshal(body, &p)
	}
	switch status := response.StatusCode; {
	case status == http.StatusServiceUnavailable && p.Code == string(auth.Unavailable):
		return unavailable("the daemon cannot validate this API key at the moment")
	case status == http.StatusUnauthorized:
		return c.unauthenticated()
	case status == http.StatusBadRequest && p.Code == codeBadRequest && r.MinRevision != 0:
		// encodeRequest has checked everything else that a daemon refuses.
		return &failure{text: auth.ErrRevisionAhead.Error(), kinds: []error{auth.ErrRevisionAhead}}
	case status == http.StatusBadRequest && p.Code == codeBadRequest:
		return unavailable(c.address+" refused the request as invalid: it may be older than this client", ErrBadRequest)
	case status == http.StatusInternalServerError && p.Code == codeInternal:
		return unavailable(c.address + " had an internal error on this API key: see its log")
	case status/100 == 3:
		return c.unexpected("responded with a redirect (" + strconv.Itoa(status) + "), which the client does not follow")
	default:
		return c.unexpected("responded with status " + strconv.Itoa(status))
	}
}

// unauthenticated returns the failure for a 401, which is about this program's caller
// token and not about the key.
func (c *Client) unauthenticated() *failure {
	if c.token.get() == "" {
		return unavailable(c.address+" requires a caller token: set Token or TokenFile", ErrCallerToken)
	}
	return unavailable(c.address+" does not know the caller token: add it to the daemon's token file", ErrCallerToken)
}
