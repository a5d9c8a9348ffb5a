package keytail

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/auth"
)

// The words of package auth, so that a program that embeds a Service needs one
// import. Package client has the same.
type (
	// Request is what is to be done with a key.
	Request = auth.Request
	// Verdict is the answer about one key for one request.
	Verdict = auth.Verdict
	// Key is what the database says about a key.
	Key = auth.Key
	// Code says which check decided.
	Code = auth.Code
	// Option changes what Authenticate and Middleware do.
	Option = auth.Option
	// Refusal is why a request is refused, and with what.
	Refusal = auth.Refusal
	// RevokedError is the cause when a key has stopped being valid.
	RevokedError = auth.RevokedError
)

var (
	// ErrUnavailable says that the truth about a key cannot be known at the moment.
	ErrUnavailable = auth.ErrUnavailable
	// ErrRevisionAhead says that a MinRevision lies ahead of the whole cluster.
	ErrRevisionAhead = auth.ErrRevisionAhead
	// ErrStalenessExceeded is the cause, with CancelOnOutage, when the truth about a key could
	// not be known for longer than MaxStale.
	ErrStalenessExceeded = auth.ErrStalenessExceeded
)

var _ auth.RevocationWatcher = (*Service)(nil)

// Authenticate is auth.Authenticate with this service: Gin middleware that lets
// requests pass that have a valid key. It panics at once if an option is wrong.
func (s *Service) Authenticate(opts ...Option) gin.HandlerFunc { return auth.Authenticate(s, opts...) }

// Middleware is Authenticate for net/http.
func (s *Service) Middleware(opts ...Option) func(http.Handler) http.Handler {
	return auth.Middleware(s, opts...)
}

// Mark implements auth.RevocationWatcher.
func (s *Service) Mark() uint64 { return s.asValidator().Mark() }

// Watch implements auth.RevocationWatcher.
func (s *Service) Watch(request auth.WatchRequest) auth.Watch {
	return s.asValidator().Watch(request)
}

// Principal is whom a Gin request speaks for, nil if nobody has authenticated.
func Principal(c *gin.Context) *auth.Principal { return auth.FromGin(c) }

// RequireScope lets requests pass whose key holds all these scopes, behind
// Authenticate.
func RequireScope(scopes ...string) gin.HandlerFunc { return auth.RequireScope(scopes...) }

// RequireAny lets requests pass whose key holds at least one of these scopes,
// behind Authenticate.
func RequireAny(scopes ...string) gin.HandlerFunc { return auth.RequireAnyScope(scopes...) }

// CancelOnOutage makes lost truth an end of Principal.Done, with ErrStalenessExceeded.
func CancelOnOutage() Option { return auth.CancelOnOutage() }

// WithRevocationCancel ends what a request does when its key stops being valid.
func WithRevocationCancel() Option { return auth.CancelOnRevocation() }

// AllowPreflight lets CORS preflights pass without a key.
func AllowPreflight() Option { return auth.AllowPreflight() }

// HideCredentials takes the key out of the request before the handler sees it.
func HideCredentials() Option { return auth.HideCredentials() }
