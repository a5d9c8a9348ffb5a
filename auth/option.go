package auth

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/forwardauth"
)

// Option changes what Authenticate and Middleware do. Without any they want a valid
// key in "Authorization: Bearer" or X-Api-Key, believe no proxy, and refuse with
// problem+json bodies.
type Option func(*settings)

// settings are what options make.
type settings struct {
	scopes       []string
	org, project func(*http.Request) string
	sources      []forwardauth.KeySource
	proxies      []netip.Prefix
	challenge    forwardauth.Challenge
	statuses     map[Code]int
	respond      func(http.ResponseWriter, *http.Request, Refusal)
	respondGin   func(*gin.Context, Refusal)

	preflight, hide, cutOnOutage, cancel bool

	mistakes []error
}

func (s *settings) mistake(err error) {
	if err != nil {
		s.mistakes = append(s.mistakes, err)
	}
}

// settingsOf applies options to the defaults. The error names every mistake.
func settingsOf(opts []Option) (settings, error) {
	s := settings{sources: forwardauth.DefaultKeySources()}
	Realm("")(&s)
	for _, option := range opts {
		option(&s)
	}
	return s, errors.Join(s.mistakes...)
}

// Check says what is wrong with options, one sentence a mistake. Authenticate and
// Middleware panic with the same sentences, as Gin does for a route that cannot be:
// options are written in the program. Who takes them from elsewhere checks first.
func Check(opts ...Option) error {
	_, err := settingsOf(opts)
	return err
}

// Scopes must all be held by the key.
func Scopes(scopes ...string) Option {
	return func(s *settings) {
		s.mistake(checkScopes(scopes))
		s.scopes = append(slices.Clip(s.scopes), scopes...)
	}
}

func checkScopes(scopes []string) error {
	if len(scopes) == 0 || len(scopes) > forwardauth.MaxScopes {
		return fmt.Errorf("1 to %d scopes can be asked for", forwardauth.MaxScopes)
	}
	var mistakes []error
	for _, scope := range scopes {
		if err := apikey.ValidScope(scope); err != nil {
			mistakes = append(mistakes, fmt.Errorf("the scope %q: %w", scope, err))
		}
	}
	return errors.Join(mistakes...)
}

// OrgID says for which org a request is: a key that is bound to one is valid for no
// other. An empty one is none, for which bound keys are refused. Nothing that the
// client alone decides about may be returned, such as a header that no part of the
// service acts on.
func OrgID(of func(*http.Request) string) Option { return func(s *settings) { s.org = of } }

// ProjectID is OrgID for the project.
func ProjectID(of func(*http.Request) string) Option { return func(s *settings) { s.project = of } }

// PathParam is a parameter of the route, for OrgID and ProjectID:
// OrgID(PathParam("org")) on "/orgs/:org/orders" in Gin, or "/orgs/{org}/orders" in
// net/http.
func PathParam(name string) func(*http.Request) string {
	return func(r *http.Request) string { return r.PathValue(name) }
}

// KeySources are where the key is looked for: bearer, x-api-key, header:NAME,
// query:NAME, cookie:NAME, as in --key-sources. Different keys in two places are
// refused.
func KeySources(texts ...string) Option {
	return func(s *settings) {
		var err error
		s.sources, err = forwardauth.ParseKeySources(texts)
		s.mistake(err)
	}
}

// TrustedProxies are the addresses or networks that may say in X-Forwarded-For whom
// they speak for; it matters for keys with an allow-list. Gin's own trusted proxies
// do not count here.
func TrustedProxies(texts ...string) Option {
	return func(s *settings) {
		var err error
		s.proxies, err = forwardauth.ParseTrustedProxies(texts)
		s.mistake(err)
	}
}

// Realm is shown in WWW-Authenticate. Default: keytail.
func Realm(realm string) Option {
	return func(s *settings) {
		var err error
		s.challenge, err = forwardauth.NewChallenge(realm)
		s.mistake(err)
	}
}

// Statuses replaces the status of some refusals. It must be one that refuses: 400
// to 599.
func Statuses(statuses map[Code]int) Option {
	return func(s *settings) {
		for code, status := range statuses {
			if status < 400 || status > 599 {
				s.mistake(fmt.Errorf("a refusal with %s cannot have the status %d: it must be 400 to 599", code, status))
			}
		}
		s.statuses = maps.Clone(statuses)
	}
}

// OnRefusal writes the answer to a request that is refused, in place of the
// problem+json body. The headers are set when it is called: WWW-Authenticate,
// Retry-After, X-Request-Id, Cache-Control. The handler is not called in any case.
func OnRefusal(respond func(http.ResponseWriter, *http.Request, Refusal)) Option {
	return func(s *settings) { s.respond = respond }
}

// OnGinRefusal is OnRefusal for Gin: respond may use c.JSON and all else. In
// net/http it is not used. The chain is aborted in any case.
func OnGinRefusal(respond func(*gin.Context, Refusal)) Option {
	return func(s *settings) { s.respondGin = respond }
}

// AllowPreflight lets CORS preflights pass without a key, and without a Principal:
// OPTIONS requests with Origin and Access-Control-Request-Method, which browsers
// send without credentials. Only for routes whose OPTIONS does nothing else.
func AllowPreflight() Option { return func(s *settings) { s.preflight = true } }

// HideCredentials takes the key out of the request before the handler sees it: the
// bearer credentials, headers, query parameters and cookies that the key sources
// name. It is also taken out of what others log of the request after that: without it
// Gin's Recovery shows an X-Api-Key when a handler panics, or a proxy's client has
// gone.
func HideCredentials() Option { return func(s *settings) { s.hide = true } }

// CancelOnOutage makes lost truth an end: when it could not be known for longer than
// the validator's bound (max_stale) whether the key is valid, Principal.Done is
// closed with ErrStalenessExceeded. Without it an outage ends nothing.
func CancelOnOutage() Option { return func(s *settings) { s.cutOnOutage = true } }

// WithRevocationCancel ends what a request does when its key stops being valid: its
// context is cancelled with the cause (context.Cause), what the handler reads of the
// body or writes from then on fails, and a connection that was hijacked, as
// WebSockets are, is closed, also when the handler has returned meanwhile. If nothing
// was written yet the client is answered with a refusal.
func WithRevocationCancel() Option { return func(s *settings) { s.cancel = true } }
