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

// Option changes what Authenticate and Middleware do. Without options they require a
// valid key in "Authorization: Bearer" or X-Api-Key, trust no proxy, and refuse with
// problem+json bodies. If an option is given twice, the last one counts; Scopes adds up.
type Option func(*settings)

// settings are the result of all options.
type settings struct {
	scopes       []string
	org, project func(*http.Request) string
	// requireOrg and requireProject are those of the requests.
	requireOrg, requireProject bool

	sources    []forwardauth.KeySource
	proxies    []netip.Prefix
	challenge  forwardauth.Challenge
	statuses   map[Code]int
	respond    func(http.ResponseWriter, *http.Request, Refusal)
	respondGin func(*gin.Context, Refusal)

	preflight, hideKey, cancelOnOutage, cancel bool

	errs []error
}

// check records what is wrong with an option.
func (s *settings) check(option string, err error) {
	if err != nil {
		s.errs = append(s.errs, fmt.Errorf("option %s: %w", option, err))
	}
}

// settingsOf applies options to the defaults. The error names every invalid option.
func settingsOf(opts []Option) (settings, error) {
	s := settings{sources: forwardauth.DefaultKeySources()}
	Realm("")(&s)
	for i, option := range opts {
		if option == nil {
			s.errs = append(s.errs, fmt.Errorf("option %d is nil", i+1))
			continue
		}
		option(&s)
	}
	return s, errors.Join(s.errs...)
}

// CheckOptions returns what is wrong with options, one line for each. Authenticate and
// Middleware panic with the same lines. Use it for options that do not come from the
// program itself.
func CheckOptions(opts ...Option) error {
	_, err := settingsOf(opts)
	return err
}

// Scopes requires all of these scopes.
func Scopes(scopes ...string) Option {
	return func(s *settings) {
		s.check("Scopes", checkScopes(scopes))
		s.scopes = append(slices.Clip(s.scopes), scopes...)
	}
}

func checkScopes(scopes []string) error {
	if len(scopes) == 0 || len(scopes) > forwardauth.MaxScopes {
		return fmt.Errorf("1 to %d scopes can be required, got %d", forwardauth.MaxScopes, len(scopes))
	}
	var errs []error
	for _, scope := range scopes {
		if err := apikey.ValidScope(scope); err != nil {
			errs = append(errs, fmt.Errorf("scope %q: %w", scope, err))
		}
	}
	return errors.Join(errs...)
}

// OrgID sets the function that returns the organisation a request is for: a key that is
// bound to another is refused. If the function returns "", or without this option, the
// request names none and is for the key's own, which is Principal.OrgID. A service that
// takes the organisation from anywhere else than the principal needs this option, with
// a function that returns the very value that the service uses.
func OrgID(of func(*http.Request) string) Option {
	return func(s *settings) {
		s.check("OrgID", needFunction(of != nil))
		s.org = of
	}
}

// ProjectID is OrgID for the project.
func ProjectID(of func(*http.Request) string) Option {
	return func(s *settings) {
		s.check("ProjectID", needFunction(of != nil))
		s.project = of
	}
}

func needFunction(given bool) error {
	if !given {
		return errors.New("the function is nil: leave the option out, or give a function")
	}
	return nil
}

// RequireOrg refuses a key that is bound to an organisation if the request names none:
// if the function of OrgID returns "", or if there is no OrgID. Then only keys that are
// bound to no organisation pass.
func RequireOrg() Option { return func(s *settings) { s.requireOrg = true } }

// RequireProject is RequireOrg for the project.
func RequireProject() Option { return func(s *settings) { s.requireProject = true } }

// noPathParam is what PathParam returns for a parameter that the request does not have.
// It is not a valid id.
const noPathParam = "\x00absent"

// PathParam returns a parameter of the route, for OrgID and ProjectID:
// OrgID(PathParam("org")) works on "/orgs/:org/orders" in Gin and on
// "/orgs/{org}/orders" in net/http. If the request has no such parameter, or an empty one,
// keys that are bound are refused, as with RequireOrg (RequireProject): a route with its
// organisation in the path is not for that of the key.
func PathParam(name string) func(*http.Request) string {
	return func(r *http.Request) string {
		if value := r.PathValue(name); value != "" {
			return value
		}
		return noPathParam
	}
}

// KeySource is a place in a request where the middleware looks for the key.
type KeySource string

// The key sources that are used without KeySources.
const (
	// BearerToken is the header "Authorization: Bearer".
	BearerToken KeySource = "bearer"
	// XAPIKey is the header X-Api-Key.
	XAPIKey KeySource = "x-api-key"
)

// HeaderKey is a header that has the key and nothing else.
func HeaderKey(name string) KeySource { return KeySource("header:" + name) }

// QueryKey is a query parameter. Many servers and proxies log the query, so prefer a
// header, and use HideCredentials.
func QueryKey(name string) KeySource { return KeySource("query:" + name) }

// CookieKey is a cookie.
func CookieKey(name string) KeySource { return KeySource("cookie:" + name) }

// KeySources replaces the places where the middleware looks for the key. A request with
// different keys in two places is refused.
func KeySources(sources ...KeySource) Option {
	return func(s *settings) {
		if len(sources) == 0 {
			s.check("KeySources", errors.New("name at least one source, or leave the option out"))
			return
		}
		texts := make([]string, len(sources))
		for i, source := range sources {
			texts[i] = string(source)
		}
		var err error
		s.sources, err = forwardauth.ParseKeySources(texts)
		s.check("KeySources", err)
	}
}

// TrustedProxies are the addresses and networks whose X-Forwarded-For is trusted. It
// decides which client address is compared with the key's allow-list. Gin's own trusted
// proxies have no effect here.
func TrustedProxies(networks ...string) Option {
	return func(s *settings) {
		var err error
		s.proxies, err = forwardauth.ParseTrustedProxies(networks)
		s.check("TrustedProxies", err)
	}
}

// Realm is the realm in WWW-Authenticate. Default: keytail.
func Realm(realm string) Option {
	return func(s *settings) {
		var err error
		s.challenge, err = forwardauth.NewChallenge(realm)
		s.check("Realm", err)
	}
}

// Statuses replaces the HTTP status of some refusals. A status must be 400 to 599.
func Statuses(statuses map[Code]int) Option {
	return func(s *settings) {
		for _, code := range slices.Sorted(maps.Keys(statuses)) {
			if code == Valid {
				s.check("Statuses", fmt.Errorf("%s is not a refusal", code))
			}
			if status := statuses[code]; status < 400 || status > 599 {
				s.check("Statuses", fmt.Errorf("status %d for %s: must be 400 to 599", status, code))
			}
		}
		s.statuses = maps.Clone(statuses)
	}
}

// OnRefusal writes the response to a refused request, in place of the problem+json
// body. These headers are already set: WWW-Authenticate, Retry-After, X-Request-Id and
// Cache-Control. The handler is not called in any case.
func OnRefusal(respond func(http.ResponseWriter, *http.Request, Refusal)) Option {
	return func(s *settings) {
		s.check("OnRefusal", needFunction(respond != nil))
		s.respond = respond
	}
}

// OnGinRefusal is OnRefusal for Gin; respond may use c.JSON and all other methods. It
// has no effect in net/http. The chain is aborted in any case.
func OnGinRefusal(respond func(*gin.Context, Refusal)) Option {
	return func(s *settings) {
		s.check("OnGinRefusal", needFunction(respond != nil))
		s.respondGin = respond
	}
}

// AllowPreflight lets CORS preflights pass without a key and without a Principal. A
// preflight is an OPTIONS request with Origin and Access-Control-Request-Method, which
// browsers send without credentials. Use it only for routes on which OPTIONS does
// nothing else.
func AllowPreflight() Option { return func(s *settings) { s.preflight = true } }

// HideCredentials removes the key from the request before the handler gets it: the
// bearer token, headers, query parameters and cookies of the key sources, also in what
// Gin has parsed for an earlier middleware. So others
// cannot log it later: without this option Gin's Recovery logs X-Api-Key when a handler
// panics or the client of a proxy disconnects.
func HideCredentials() Option { return func(s *settings) { s.hideKey = true } }

// CancelOnOutage makes an outage close Principal.Done with ErrStalenessExceeded: when it
// was unknown for longer than the validator's maximum staleness whether the key is
// still valid. Without it an outage does not end a request.
func CancelOnOutage() Option { return func(s *settings) { s.cancelOnOutage = true } }

// CancelOnRevocation ends a request when its key is no longer valid: the request's
// context is cancelled with the cause (context.Cause), later reads of the body and
// writes of the response fail, and a hijacked connection (such as a WebSocket) is
// closed, also after the handler has returned. If nothing has been written yet, the
// client gets a refusal.
func CancelOnRevocation() Option { return func(s *settings) { s.cancel = true } }
