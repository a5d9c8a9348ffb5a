package adminclient

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"time"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/httpclient"
)

const (
	// DefaultTimeout bounds a call without its wait: the server allows a write 20 s,
	// because an election takes some of it.
	DefaultTimeout = 30 * time.Second
	// maxBody bounds how much of a response is read, in bytes. A page of 500 keys is
	// smaller.
	maxBody = 16 << 20
)

// Config of a Client.
type Config struct {
	httpclient.Config
	// Timeout bounds a call without its wait. Zero: DefaultTimeout.
	Timeout time.Duration
}

// Client is safe for concurrent use.
type Client struct {
	http    *httpclient.Client
	timeout time.Duration
}

// New sends nothing. The error describes what is wrong with the URL, without quoting it.
func New(config Config) (*Client, error) {
	base, err := httpclient.New(config.Config)
	if err != nil {
		return nil, err
	}
	c := &Client{http: base, timeout: config.Timeout}
	if c.timeout == 0 {
		c.timeout = DefaultTimeout
	}
	return c, nil
}

// Close closes idle connections.
func (c *Client) Close() { c.http.Close() }

// call is one request.
type call struct {
	method, path string
	query        url.Values
	header       http.Header
	body         any // nil: none
	// wait is what the server may take in addition to its usual time.
	wait time.Duration
	// repeatable: the call may be sent again after any error.
	repeatable bool
}

// write reports whether the call changes something, so that its outcome matters
// when its response is lost.
func (q *call) write() bool {
	return q.method != http.MethodGet && q.path != api.PathVerify && !q.repeatable
}

// Response is a body as it was received.
type Response struct {
	// Raw has the fields that this version does not know, too.
	Raw json.RawMessage
	// ETag is for If-Match. Empty: the response had none.
	ETag string
}

// do sends a request and decodes the response into what into points to.
func (c *Client) do(ctx context.Context, q *call, into any) (*Response, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout+q.wait)
	defer cancel()
	var connected bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected = true }})
	response, err := c.http.Send(ctx, &httpclient.Request{Method: q.method, Path: q.path, Query: q.query, Header: q.header, Body: q.body})
	if err != nil {
		err = c.explain(err)
		if q.write() && connected {
			return nil, &UnknownError{Cause: err}
		}
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody+1))
	if err == nil && len(body) > maxBody {
		err = fmt.Errorf("it has more than %d MiB", maxBody>>20)
	}
	if response.StatusCode/100 != 2 {
		return nil, c.refusal(q, response, body)
	}
	if err == nil {
		// Fields that are not known here are newer than this program, and ignored.
		err = json.Unmarshal(body, into)
	}
	if err != nil {
		return nil, c.unreadable(q, response, err)
	}
	return &Response{Raw: body, ETag: response.Header.Get("ETag")}, nil
}
