package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/keytail/keytail/auth"
)

var (
	// ErrCallerToken means that the daemon refuses the caller token of this program, or
	// requires one and none is set. It is a mistake in the configuration, and has no information
	// about the key. Validate returns it together with auth.ErrUnavailable.
	ErrCallerToken = errors.New("the daemon refuses the caller token")
	// ErrBadRequest means that the auth.Request is invalid, for example a scope with a
	// space. It is a mistake in the program. Validate returns it together with
	// auth.ErrUnavailable.
	ErrBadRequest = errors.New("the request is invalid")
)

// failure is why there is no verdict.
type failure struct {
	text string
	// kinds are the errors that errors.Is finds.
	kinds []error
	// unreachable: no keytail answered. The circuit breaker counts only these.
	unreachable bool
	// retryable: the connection broke before the first byte of the response.
	retryable bool
}

func (f *failure) Error() string   { return f.text }
func (f *failure) Unwrap() []error { return f.kinds }

// unavailable returns a failure that is auth.ErrUnavailable and of these kinds.
func unavailable(text string, kinds ...error) *failure {
	return &failure{text: text, kinds: append(kinds, auth.ErrUnavailable)}
}

// unexpected returns the failure for a response that keytail does not send.
func (c *Client) unexpected(what string) *failure {
	f := unavailable(fmt.Sprintf("%s %s: check that URL is the address of keytail's public listener", c.address, what))
	f.unreachable = true
	return f
}

// noResponse returns the failure of an attempt without a complete response. begun: its
// first byte arrived. Unknown errors are not shown: they can quote what was received,
// which can be the key.
func (c *Client) noResponse(err error, begun bool) *failure {
	f := unavailable(c.describe(err))
	f.unreachable = true
	f.retryable = !begun && isBroken(err)
	return f
}

func (c *Client) describe(err error) string {
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var dns *net.DNSError
	var operation *net.OpError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return c.address + " refused the connection: check that keytail is running there"
	case isTimeout(err):
		return c.address + " did not respond in time"
	case errors.As(err, &certificate):
		return fmt.Sprintf("the certificate of %s is not trusted: set its CA in Config.TLS (%v)", c.address, certificate.Err)
	case errors.As(err, &operation) && operation.Op == "remote error":
		return fmt.Sprintf("%s refused the TLS handshake: it may require a client certificate in Config.TLS (%v)", c.address, operation.Err)
	case errors.As(err, &record):
		return c.address + " does not use TLS: set URL to http:// if this is intended"
	case errors.As(err, &dns):
		return fmt.Sprintf("the host name of %s cannot be resolved (%s)", c.address, dns.Err)
	case isBroken(err):
		return c.address + " closed the connection without a response"
	}
	return c.address + " cannot be reached, or its response is not HTTP"
}

// isTimeout reports whether a timeout of this package or of the transport has expired.
func isTimeout(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

// errServerClosedIdle is the text of net/http's error for an idle connection that the
// server has closed. The error value is not exported.
const errServerClosedIdle = "http: server closed idle connection"

// isBroken reports whether a connection broke, or could not be made.
func isBroken(err error) bool {
	for _, kind := range []error{
		syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE,
		io.EOF, io.ErrUnexpectedEOF, net.ErrClosed,
	} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return strings.Contains(err.Error(), errServerClosedIdle)
}
