package auth

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/revocation"
)

// Codes of refusals that are no verdicts.
const (
	// BadRequest: the request names an org or project that cannot be one.
	BadRequest Code = "BAD_REQUEST"
	// Misconfigured: a scope is required where nobody has authenticated, which is a
	// mistake in the program. It is answered with 500.
	Misconfigured Code = "INTERNAL_ERROR"
)

// ErrStalenessExceeded is the cause with CancelOnOutage, when it could not be known for too long
// whether the key is still valid.
var ErrStalenessExceeded = revocation.ErrStalenessExceeded

// RevokedError is the cause when a key has stopped being valid for the request.
type RevokedError struct {
	// Code is what a request with the key would be refused with now. A key that is
	// gone, or that speaks for somebody else now, is NotFound.
	Code Code
}

func (e *RevokedError) Error() string {
	return "the API key has stopped being valid: " + string(e.Code)
}

var errExpired error = &RevokedError{Expired}

// Refusal is why a request is refused, and with what.
type Refusal struct {
	// Code and Status are the reason, for machines. Detail is for people.
	Code   Code
	Status int
	Detail string
	// Needed are the scopes that are needed, for InsufficientPermissions.
	Needed []string
	// RequestID is the answer's X-Request-Id.
	RequestID string
	// Challenge is the answer's WWW-Authenticate. Empty: it has none.
	Challenge string
	// RetryAfter is the answer's Retry-After. Zero: it has none.
	RetryAfter time.Duration
	// Key is whose key it was, where that is known: from Disabled on.
	Key *Key
	// Err is why there is no verdict, for Unavailable. It may say more than a client
	// should see.
	Err error
}

// ContentType is that of Body.
const ContentType = api.ProblemType

// Body is the body that is written by default: an RFC 9457 problem with the code.
func (r *Refusal) Body() []byte { return forwardauth.Body(r.Status, string(r.Code), r.Detail) }

// internalCode is the internal form of the codes that are known here.
var internalCode = func() map[Code]apikey.Code {
	codes := make(map[Code]apikey.Code, apikey.CodeCount)
	for i := range apikey.CodeCount {
		codes[Code(apikey.Code(i).String())] = apikey.Code(i)
	}
	return codes
}()

// refusal is that of a code.
func (g *gate) refusal(code Code, needed []string) *Refusal {
	r := &Refusal{Code: code}
	internal, known := internalCode[code]
	switch {
	case code == BadRequest:
		r.Status, r.Detail = http.StatusBadRequest, "the request names an org or project that cannot be one"
	case code == Misconfigured:
		r.Status, r.Detail = http.StatusInternalServerError, "this service requires a scope where it has not authenticated"
	case !known:
		// A validator that is newer than this program has a reason of its own.
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

// ended is the refusal of a request whose key has stopped being valid before
// anything was answered.
func (g *gate) ended(cause error) *Refusal {
	var revoked *RevokedError
	if errors.As(cause, &revoked) {
		return g.refusal(revoked.Code, nil)
	}
	r := g.refusal(Unavailable, nil)
	r.Err = cause
	return r
}

// announce sets the headers of a refusal.
func (r *Refusal) announce(header http.Header) {
	// Of a handler that was cut, and had another answer in mind.
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

// unreadBody is how long a client that is refused may take to send the rest of its
// body: net/http reads up to 256 KiB of it before it answers, and would wait for ever
// for one that never comes.
const unreadBody = time.Second

// hurry bounds the wait for the rest of a body. A server that knows no deadlines has
// its own bounds.
func hurry(w http.ResponseWriter, r *http.Request) {
	if r.Body != nil && r.Body != http.NoBody {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(unreadBody))
	}
}

// refuse answers.
func (g *gate) refuse(w http.ResponseWriter, r *http.Request, refusal *Refusal) {
	refusal.announce(w.Header())
	hurry(w, r)
	if g.respond != nil {
		g.respond(w, r, *refusal)
		return
	}
	w.Header().Set("Content-Type", ContentType)
	w.WriteHeader(refusal.Status)
	// A client that is gone is no mistake of the service's.
	_, _ = w.Write(refusal.Body())
}

func unknown(err error) error { return fmt.Errorf("%w: %w", revocation.ErrUnknown, err) }
