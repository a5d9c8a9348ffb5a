package forwardauth

import (
	"net/http"
	"strings"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/apikey"
)

// Decision is one answer to a request that wanted to use a key. It contains no key.
type Decision struct {
	// Operation is what answered: one of the constants below.
	Operation string
	// RequestID is that of the answer. TraceID is that of keytail's span, or the client's; empty if
	// there is neither.
	RequestID, TraceID string
	// Verdict is the answer, unless there is a Problem.
	Verdict apikey.Verdict
	// Problem is why the request has no verdict: its question could not be read, so it is
	// refused. Empty: it has one.
	Problem api.ProblemCode
}

// The operations of a Decision.
const (
	OperationVerify      = "verify"
	OperationForwardAuth = "forward_auth"
	OperationExtAuthz    = "ext_authz"
)

// DecisionLog takes decisions. Many goroutines call its methods concurrently.
type DecisionLog interface {
	// Wants reports whether a verdict with this code is to be recorded, so that a verdict
	// that is not costs nothing more. It may answer at random. Problems always are.
	Wants(code apikey.Code) bool
	// Record takes one decision, before the client has the answer: it does no I/O and does not
	// wait. The record of the verdict is shared: read only.
	Record(d Decision)
}

// decide records a decision about r, whose answer has the header. It costs nothing without a log.
func (a *Authority) decide(r *http.Request, header http.Header, verdict *apikey.Verdict, problem api.ProblemCode) {
	if a.decisions == nil || problem == "" && !a.decisions.Wants(verdict.Code) {
		return
	}
	a.decisions.Record(Decision{
		Operation: a.operation, RequestID: header.Get(HeaderRequestID), TraceID: a.traceOf(r),
		Verdict: *verdict, Problem: problem,
	})
}

// traceOf is the trace id of a request, keytail's own one first.
func (a *Authority) traceOf(r *http.Request) string {
	if a.traceID != nil {
		if id := a.traceID(r.Context()); id != "" {
			return id
		}
	}
	return TraceID(r, a.sources)
}

// HeaderTraceparent has the trace that a request belongs to (W3C Trace Context).
const HeaderTraceparent = "Traceparent"

// Traceparent is the header of a request, or empty if the request has none, or if it contains a key
// of the request: some collections have keys of hexadecimal digits.
func Traceparent(r *http.Request, sources []KeySource) string {
	values := r.Header[HeaderTraceparent]
	if len(values) != 1 || ContainsKey(values[0], r, sources) {
		return ""
	}
	return values[0]
}

// TraceID is the trace id of a request: 32 hexadecimal digits, or empty if the request has none.
func TraceID(r *http.Request, sources []KeySource) string {
	return traceIDOf(Traceparent(r, sources))
}

// traceIDOf is the second part of version-traceid-parentid-flags. Later versions may have more
// parts. An id of zeros is invalid.
func traceIDOf(traceparent string) string {
	const before, after = len("00-"), len("00-0123456789abcdef0123456789abcdef")
	if len(traceparent) < after+len("-0123456789abcdef-00") || traceparent[before-1] != '-' || traceparent[after] != '-' {
		return ""
	}
	id := traceparent[before:after]
	if strings.Trim(id, "0123456789abcdef") != "" || strings.Trim(id, "0") == "" {
		return ""
	}
	return id
}
