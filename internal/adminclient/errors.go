package adminclient

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
)

// Error is a refusal: the server has answered, and said no.
type Error struct {
	// Status is the answer's, Code the problem's own, such as NO_SUCH_KEY. Code is
	// empty when it was not keytail that answered.
	Status int
	Code   string
	// KeyID is the key that an unknown outcome is about. Empty: the answer names none.
	KeyID string
	// RetryAfter is when to ask again. Zero: the server did not say.
	RetryAfter time.Duration
	text       string
}

func (e *Error) Error() string { return e.text }

// UnknownError is an error after which nobody knows whether a write took effect.
type UnknownError struct {
	// KeyID is the key to look at. Empty: not known either.
	KeyID string
	Cause error
}

func (u *UnknownError) Error() string {
	look := "look at it by keytail keys list --all, or keytail audit, before you try again"
	if u.KeyID != "" {
		look = "look at it by keytail keys get " + plain(u.KeyID) + " before you try again"
	}
	return fmt.Sprintf("it is not known whether the write took effect, %s: %v", look, u.Cause)
}

func (u *UnknownError) Unwrap() error { return u.Cause }

// codeUnknown is the problem of a server that does not know itself.
const codeUnknown = "OUTCOME_UNKNOWN"

// away explains why there was no answer.
func (c *Client) away(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err // the rest is the URL, which is said below
	}
	where := c.base.Redacted()
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("interrupted: %w", err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nobody listens at %s: is keytail running there, and the listener on (for the admin one: --admin-token-file)? (%w)", where, err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s did not answer in time: %w", where, err)
	case errors.Is(err, http.ErrSchemeMismatch):
		return fmt.Errorf("%s does not speak TLS: write http:// if that is meant (%w)", where, err)
	case errors.As(err, &certificate):
		return fmt.Errorf("the certificate of %s is not to be trusted: give the authority that made it by --ca-file (%w)", where, err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%s has closed the connection without an answer: %w", where, err)
	}
	return fmt.Errorf("%s cannot be asked: %w", where, err)
}

// problem is RFC 9457's object as keytail fills it.
type problem struct {
	Detail string `json:"detail"`
	Code   string `json:"code"`
	KeyID  string `json:"key_id"`
}

// refusal makes an error of an answer that is no success.
func (c *Client) refusal(q *call, response *http.Response, text []byte) error {
	var p problem
	known := strings.HasPrefix(response.Header.Get("Content-Type"), "application/problem+json") && json.Unmarshal(text, &p) == nil && p.Code != ""
	e := &Error{Status: response.StatusCode, Code: p.Code, KeyID: p.KeyID, RetryAfter: retryAfter(response)}
	switch {
	case response.StatusCode == http.StatusUnauthorized && c.config.Token == "":
		e.text = c.base.Redacted() + " wants a token, and none was given"
	case response.StatusCode == http.StatusUnauthorized:
		e.text = c.base.Redacted() + " does not know this token: it must be one of its token file (admin and caller tokens have a file each)"
	case known && p.Code == "NO_SUCH_PATH":
		e.text = fmt.Sprintf("%s has no %s: is it the right listener, and keytail new enough?", c.base.Redacted(), q.path)
	case known:
		e.text = c.quote(p.Detail)
	case response.StatusCode/100 == 3:
		e.text = fmt.Sprintf("%s sends elsewhere (%s), which is not followed: the token would go along", c.base.Redacted(), response.Status)
	default:
		e.text = fmt.Sprintf("%s answers %s, and not as keytail does: is it the right address?", c.base.Redacted(), c.quote(response.Status))
	}
	// A proxy that gave up says nothing about what is behind it.
	lost := !known && response.StatusCode >= http.StatusInternalServerError
	if q.write() && (lost || p.Code == codeUnknown) {
		return &UnknownError{KeyID: p.KeyID, Cause: e}
	}
	return e
}

// unreadable is a success that says nothing.
func (c *Client) unreadable(q *call, response *http.Response, err error) error {
	err = fmt.Errorf("the answer of %s (%s) cannot be read, is it keytail? %w", c.base.Redacted(), c.quote(response.Status), err)
	if q.write() {
		return &UnknownError{Cause: err}
	}
	return err
}

// maxQuote bounds what is shown of a text that a server made.
const maxQuote = 1000

// quote shows a server's words: without the token, and as one line that does
// nothing to a terminal.
func (c *Client) quote(text string) string {
	if len(text) > maxQuote {
		text = text[:maxQuote] + "…"
	}
	if c.config.Token != "" {
		text = strings.ReplaceAll(text, c.config.Token, "…")
	}
	return plain(text)
}

// plain takes out what a terminal would obey.
func plain(text string) string {
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
