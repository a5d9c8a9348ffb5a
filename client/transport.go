package client

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync/atomic"

	"github.com/keytail/keytail/auth"
)

// userAgent says in logs of proxies who asks.
const userAgent = "keytail-client"

// newTransport makes connections with bounds. They speak HTTP/1.1: over HTTP/2 all
// requests would share one connection, and its fate.
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

// ask makes a try, and one more if the connection broke before any byte of the
// answer.
func (c *Client) ask(ctx context.Context, body []byte, r *auth.Request) (auth.Verdict, *failure) {
	verdict, failed := c.try(ctx, c.pool, body, r)
	if failed == nil || !failed.again {
		return verdict, failed
	}
	return c.try(ctx, c.fresh, body, r)
}

func (c *Client) try(ctx context.Context, transport http.RoundTripper, body []byte, r *auth.Request) (auth.Verdict, *failure) {
	var answering atomic.Bool // the answer has begun
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotFirstResponseByte: func() { answering.Store(true) }})
	// Not a Client: nothing is followed, kept or sent again by itself.
	response, err := transport.RoundTrip(c.request(ctx, body))
	if err != nil {
		return auth.Verdict{}, c.lost(err, answering.Load())
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode == http.StatusSwitchingProtocols {
		// Its body is the connection, whose end no context brings.
		return auth.Verdict{}, c.strange("answers 101")
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return auth.Verdict{}, c.lost(err, true)
	case len(text) > maxAnswer:
		return auth.Verdict{}, c.strange("answers with more than 1 MiB")
	case response.StatusCode != http.StatusOK:
		return auth.Verdict{}, c.refusal(response, text, r)
	case !isType(response.Header, "application/json"):
		return auth.Verdict{}, c.strange("answers 200 with something else than JSON")
	}
	return c.read(text, r)
}

// read is the verdict that a body has.
func (c *Client) read(text []byte, r *auth.Request) (auth.Verdict, *failure) {
	a, err := parseAnswer(text)
	if err != nil {
		return auth.Verdict{}, c.strange(err.Error())
	}
	verdict, err := a.verdict(r)
	if err != nil {
		return auth.Verdict{}, c.strange(err.Error())
	}
	return verdict, nil
}

// request has no GetBody, so that no transport makes a second one of it.
func (c *Client) request(ctx context.Context, body []byte) *http.Request {
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
	return request
}

func isType(header http.Header, want string) bool {
	got, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	return err == nil && got == want && len(header["Content-Encoding"]) == 0
}

// problem is RFC 9457's object as keytail fills it. Its detail is not shown: nobody
// knows who answered.
type problem struct {
	Code string `json:"code"`
}

// The problems that mean something here.
const (
	codeBadRequest = "BAD_REQUEST"
	codeInternal   = "INTERNAL_ERROR"
)

// refusal is an answer that has no verdict.
func (c *Client) refusal(response *http.Response, text []byte, r *auth.Request) *failure {
	var p problem
	if isType(response.Header, "application/problem+json") {
		// What is no JSON has no code.
		_ = json.Unmarshal(text, &p)
	}
	switch status := response.StatusCode; {
	case status == http.StatusServiceUnavailable && p.Code == string(auth.Unavailable):
		return unavailable("keytail does not know at the moment whether this key is valid")
	case status == http.StatusUnauthorized:
		return c.unauthenticated()
	case status == http.StatusBadRequest && p.Code == codeBadRequest && r.MinRevision != 0:
		// All else that a daemon refuses has been looked at before (questionOf).
		return &failure{text: auth.ErrRevisionAhead.Error(), kinds: []error{auth.ErrRevisionAhead}}
	case status == http.StatusBadRequest && p.Code == codeBadRequest:
		return unavailable(c.where+" cannot read the request: is it older than this client?", ErrBadRequest)
	case status == http.StatusInternalServerError && p.Code == codeInternal:
		return unavailable(c.where + " has failed on this key: its log says why")
	case status/100 == 3:
		return c.strange("sends elsewhere (" + strconv.Itoa(status) + "), which is not followed")
	default:
		return c.strange("answers " + strconv.Itoa(status))
	}
}

// unauthenticated is about this program, and not about whoever sent the key.
func (c *Client) unauthenticated() *failure {
	advice := " does not know this client's caller token: it must be one of --caller-token-file"
	if c.token.get() == "" {
		advice = " wants a caller token, and none is given: set Token or TokenFile"
	}
	return unavailable(c.where+advice, ErrCallerToken)
}
