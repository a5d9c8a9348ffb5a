package auth

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/forwardauth"
)

// Codes of refusals that are not verdicts.
const (
	// BadRequest: the request names an invalid organisation or project.
	BadRequest Code = "BAD_REQUEST"
	// Misconfigured: a route requires a scope but has no authentication, which is a
	// mistake in the program. The status is 500.
	Misconfigured Code = "INTERNAL_ERROR"
)

// RevokedError is the cause when a key is no longer valid for a request.
type RevokedError struct {
	// Code is what a new request with the key would be refused with. It is NotFound
	// for a key that was deleted or belongs to another user now, and Forbidden for one
	// that is bound to another organisation or project now.
	Code Code
}

func (e *RevokedError) Error() string {
	return "the API key is no longer valid: " + string(e.Code)
}

var errExpired error = &RevokedError{Expired}

// Refusal is the response to a request that may not go ahead.
type Refusal struct {
	// Code and Status are for programs, Detail is for people. All three are in the default
	// response.
	Code   Code
	Status int
	Detail string
	// Reason is that of the verdict, for the service's own log. The default response does
	// not have it, and a client should not see it.
	Reason string
	// Needed are the required scopes, for InsufficientPermissions.
	Needed []string
	// RequestID is the response's X-Request-Id.
	RequestID string
	// Challenge is the response's WWW-Authenticate. Empty: it has none.
	Challenge string
	// RetryAfter is the response's Retry-After. Zero: it has none.
	RetryAfter time.Duration
	// Key is the refused key, where it is known: for Disabled and all later codes.
	Key *Key
	// Err is why there is no verdict, for Unavailable. It can contain more than a
	// client should see.
	Err error
}

// ContentType is the media type of Refusal.Body.
const ContentType = api.ProblemType

// Body returns the default response body: an RFC 9457 problem with the code.
func (r *Refusal) Body() []byte { return forwardauth.Body(r.Status, string(r.Code), r.Detail) }

// internalCodes maps the known codes to their internal form.
var internalCodes = func() map[Code]apikey.Code {
	codes := make(map[Code]apikey.Code, apikey.CodeCount)
	for i := range apikey.CodeCount {
		codes[Code(apikey.Code(i).String())] = apikey.Code(i)
	}
	return codes
}()

// refusal returns the refusal for a code.
func (g *gate) refusal(code Code, needed []string) *Refusal {
	r := &Refusal{Code: code}
	internal, known := internalCodes[code]
	switch {
	case code == BadRequest:
		r.Status, r.Detail = http.StatusBadRequest, "the request names an invalid organisation or project"
	case code == Misconfigured:
		r.Status, r.Detail = http.StatusInternalServerError, "this service requires a scope on a route without authentication"
	case !known:
		// The validator is newer than this program.
		r.Status, r.Detail = http.StatusForbidden, "this API key was refused"
	default:
		r.Status, r.Detail = forwardauth.Status(internal), forwardauth.Detail(internal)
		r.Challenge = g.challenge.For(internal, needed)
	}
	if status, found := g.statuses[code]; found {
		r.Status = status
	}
	if code == Unavailable {
		r.RetryAfter = time.Second
	}
	if code == InsufficientPermissions {
		r.Needed = needed
	}
	return r
}

// refusalFor returns the refusal of a request that was cancelled with this cause before
// it wrote a response.
func (g *gate) refusalFor(cause error) *Refusal {
	var revoked *RevokedError
	if errors.As(cause, &revoked) {
		return g.refusal(revoked.Code, nil)
	}
	r := g.refusal(Unavailable, nil)
	r.Err = cause
	return r
}

// setHeaders sets the headers of a refusal.
func (r *Refusal) setHeaders(header http.Header) {
	// A cancelled handler may have set these for another response.
	for _, name := range []string{"Content-Length", "Content-Encoding", "Content-Range", "Etag", "Last-Modified", "Location", "Set-Cookie"} {
		delete(header, name)
	}
	header.Set("Cache-Control", "no-store")
	if r.Challenge != "" {
		header.Set(forwardauth.HeaderChallenge, r.Challenge)
	}
	if r.RetryAfter > 0 {
		header.Set(forwardauth.HeaderRetryAfter, strconv.Itoa(int(math.Ceil(r.RetryAfter.Seconds()))))
	}
	r.RequestID = header.Get(forwardauth.HeaderRequestID)
}

// bodyReadTimeout is how long a refused client may take to send the rest of its body:
// net/http reads up to 256 KiB of it before it responds, and would otherwise wait for
// ever for a body that never comes.
const bodyReadTimeout = time.Second

// limitBodyRead bounds the wait for the rest of a body. A server that does not support
// deadlines has limits of another kind.
func limitBodyRead(w http.ResponseWriter, r *http.Request) {
	if r.Body != nil && r.Body != http.NoBody {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyReadTimeout))
	}
}

// refuse writes the response.
func (g *gate) refuse(w http.ResponseWriter, r *http.Request, refusal *Refusal) {
	refusal.setHeaders(w.Header())
	limitBodyRead(w, r)
	if g.respond != nil {
		g.respond(w, r, *refusal)
		return
	}
	w.Header().Set("Content-Type", ContentType)
	w.WriteHeader(refusal.Status)
	// A write error means that the client has disconnected, which is no error here.
	_, _ = w.Write(refusal.Body())
}
