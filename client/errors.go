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
	// ErrUnavailable is auth.ErrUnavailable, which every error of Validate is but
	// ErrRevisionAhead: there is no verdict, and the request is answered by 503.
	ErrUnavailable = auth.ErrUnavailable
	// ErrRevisionAhead is auth.ErrRevisionAhead.
	ErrRevisionAhead = auth.ErrRevisionAhead
	// ErrCallerToken says that the daemon refuses this program's own caller token, or
	// wants one where none is given: a mistake in the configuration, which says nothing
	// about the key. It comes wrapped, along with ErrUnavailable.
	ErrCallerToken = errors.New("the daemon refuses the caller token")
	// ErrBadRequest says that the request cannot be asked about: a mistake of the
	// program, such as a scope with a space in it. It comes wrapped, along with
	// ErrUnavailable.
	ErrBadRequest = errors.New("the request is none that can be asked about")
)

// failure is why there is no verdict.
type failure struct {
	text string
	// kinds are what errors.Is finds.
	kinds []error
	// away: there is no keytail that answers, which the circuit counts.
	away bool
	// again: the connection failed before any byte of the answer.
	again bool
}

func (f *failure) Error() string   { return f.text }
func (f *failure) Unwrap() []error { return f.kinds }

// unavailable is a failure of which errors.Is finds ErrUnavailable and these kinds.
func unavailable(text string, kinds ...error) *failure {
	return &failure{text: text, kinds: append(kinds, auth.ErrUnavailable)}
}

// strange is an answer that keytail does not give.
func (c *Client) strange(what string) *failure {
	f := unavailable(fmt.Sprintf("%s %s: is it keytail's public listener?", c.where, what))
	f.away = true
	return f
}

// lost is the failure of a try without an answer. Of errors that are not known
// nothing is shown: they may quote what came, and that may be the key.
func (c *Client) lost(err error, answering bool) *failure {
	f := unavailable(c.explain(err))
	f.away = true
	f.again = !answering && broken(err)
	return f
}

func (c *Client) explain(err error) string {
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var dns *net.DNSError
	var operation *net.OpError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nobody listens at " + c.where + ": is keytail running there?"
	case timedOut(err):
		return c.where + " did not answer in time"
	case errors.As(err, &certificate):
		return fmt.Sprintf("the certificate of %s is not to be trusted: give the authority that made it in Config.TLS (%v)", c.where, certificate.Err)
	case errors.As(err, &operation) && operation.Op == "remote error":
		return fmt.Sprintf("%s refuses this side's TLS: does it want a certificate? (%v)", c.where, operation.Err)
	case errors.As(err, &record):
		return c.where + " does not speak TLS: write http:// if that is meant"
	case errors.As(err, &dns):
		return fmt.Sprintf("the name of %s cannot be looked up (%s)", c.where, dns.Err)
	case broken(err):
		return c.where + " has closed the connection without an answer"
	}
	return c.where + " cannot be asked, or its answer is no HTTP"
}

// timedOut: by a bound of ours or of the transport's.
func timedOut(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

// errServerClosedIdle is what net/http says of a connection that the other side
// closed while nobody used it; its own value is not exported.
const errServerClosedIdle = "http: server closed idle connection"

// broken reports whether a connection failed, or could not be made.
func broken(err error) bool {
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
