package adminclient

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"syscall"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/httpclient"
)

// Error is a response with an error status.
type Error = httpclient.Error

// UnknownError is an error after which it is unknown whether a write took
// effect.
type UnknownError struct {
	// KeyID is the key to look at. Empty: not known either.
	KeyID string
	Cause error
}

func (u *UnknownError) Error() string {
	look := "check with keytail keys list --all, or keytail audit, before you try again"
	if u.KeyID != "" {
		look = "check with keytail keys get " + httpclient.Plain(u.KeyID) + " before you try again"
	}
	return fmt.Sprintf("it is not known whether the write took effect, %s: %v", look, u.Cause)
}

func (u *UnknownError) Unwrap() error { return u.Cause }

// explain returns why there was no response, and which flag helps.
func (c *Client) explain(err error) error {
	explained := c.http.Explain(err)
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w; the server enables its admin listener by --admin-token-file", explained)
	case errors.As(err, &certificate):
		return fmt.Errorf("%w; --ca-file names a file with it", explained)
	}
	return explained
}

// refusal makes an error of a response with an error status.
func (c *Client) refusal(q *call, response *http.Response, body []byte) error {
	e := c.http.Refusal(q.path, response, body)
	// The response of a proxy that gave up does not describe the server behind
	// it.
	lost := e.Code == "" && response.StatusCode >= http.StatusInternalServerError
	if q.write() && (lost || e.Code == api.CodeOutcomeUnknown) {
		return &UnknownError{KeyID: e.KeyID, Cause: e}
	}
	return e
}

// unreadable is the error for a response with a success status that cannot be
// read.
func (c *Client) unreadable(q *call, response *http.Response, err error) error {
	err = fmt.Errorf("the response of %s (%s) cannot be read: is it keytail? %w", c.http.Server(), c.http.Quote(response.Status), err)
	if q.write() {
		return &UnknownError{Cause: err}
	}
	return err
}
