package httpclient

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/keytail/keytail/api"
)

// Error is a response with an error status.
type Error struct {
	// Status is the status of the response, and Code the code of its problem, such
	// as NO_SUCH_KEY. Code is empty if the response is not keytail's.
	Status int
	Code   api.ProblemCode
	// KeyID is the key that an unknown outcome is about. Empty: the response names
	// none.
	KeyID string
	// RetryAfter is how long to wait before the next attempt. Zero: the server did
	// not say.
	RetryAfter time.Duration
	text       string
}

func (e *Error) Error() string { return e.text }

// Explain returns why there was no response.
func (c *Client) Explain(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err // the rest is the URL, which is added below
	}
	server := c.Server()
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("interrupted: %w", err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("connection refused by %s: is keytail running there, and is this listener enabled? (%w)", server, err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s did not answer in time: %w", server, err)
	case errors.Is(err, http.ErrSchemeMismatch):
		return fmt.Errorf("%s does not speak TLS: use http:// if that is intended (%w)", server, err)
	case errors.As(err, &certificate):
		return fmt.Errorf("the certificate of %s is not trusted: add the CA certificate that signed it (%w)", server, err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%s closed the connection without a response: %w", server, err)
	}
	return fmt.Errorf("cannot reach %s: %w", server, err)
}

// Refusal makes an Error of a response with an error status to a request for
// path.
func (c *Client) Refusal(path string, response *http.Response, body []byte) *Error {
	var p api.Problem
	known := strings.HasPrefix(response.Header.Get("Content-Type"), api.ProblemType) && json.Unmarshal(body, &p) == nil && p.Code != ""
	if !known {
		p = api.Problem{}
	}
	e := &Error{Status: response.StatusCode, Code: api.ProblemCode(p.Code), KeyID: p.KeyID, RetryAfter: retryAfter(response)}
	switch {
	case response.StatusCode == http.StatusUnauthorized && c.config.Token == "":
		e.text = c.Server() + " requires a token, and none was given"
	case response.StatusCode == http.StatusUnauthorized:
		e.text = c.Server() + " does not accept this token: it may have expired, and admin tokens and caller tokens are in separate files of the server"
	case e.Code == api.CodeNoSuchPath:
		e.text = fmt.Sprintf("%s has no %s: is this the right listener, and is keytail new enough?", c.Server(), path)
	case known:
		e.text = c.Quote(p.Detail)
	case response.StatusCode/100 == 3:
		e.text = fmt.Sprintf("%s redirects (%s), which is not followed because the token would go along", c.Server(), response.Status)
	default:
		e.text = fmt.Sprintf("%s answers %s, and not as keytail does: is this the right address?", c.Server(), c.Quote(response.Status))
	}
	return e
}

// maxQuote bounds how much of a server's text an error contains, in bytes.
const maxQuote = 1000

// Quote makes a server's text safe to show: one line, without the token and
// without control characters.
func (c *Client) Quote(text string) string {
	if len(text) > maxQuote {
		text = text[:maxQuote] + "…"
	}
	if c.config.Token != "" {
		text = strings.ReplaceAll(text, c.config.Token, "…")
	}
	return Plain(text)
}

// Plain replaces the control characters, which a terminal would obey.
func Plain(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "�"))
}

// retryAfter reads seconds, which is what keytail sends.
func retryAfter(response *http.Response) time.Duration {
	seconds, err := time.ParseDuration(response.Header.Get("Retry-After") + "s")
	if err != nil || seconds < 0 {
		return 0
	}
	return seconds
}
