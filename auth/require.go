package auth

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/internal/apikey"
)

// requirement is a set of scopes that a request requires.
type requirement struct {
	scopes []string
	// any: one of the scopes is enough.
	any bool
}

// newRequirement panics if a scope is invalid; caller is the exported function.
func newRequirement(caller string, scopes []string, anyOf bool) *requirement {
	if err := checkScopes(scopes); err != nil {
		panic(fmt.Sprintf("%s: %v", caller, err))
	}
	return &requirement{slices.Clone(scopes), anyOf}
}

// met reports whether a key with these scopes meets the requirement.
func (q *requirement) met(keyScopes []string) bool {
	has := func(scope string) bool { return apikey.Holds(keyScopes, scope) }
	if q.any {
		return slices.ContainsFunc(q.scopes, has)
	}
	return !slices.ContainsFunc(q.scopes, func(scope string) bool { return !has(scope) })
}

// check returns a refusal, or nil if the request meets the requirement. From then on
// Principal.Done also depends on it.
func (q *requirement) check(r *http.Request) (*gate, *Refusal) {
	s := sessionOf(r.Context())
	switch {
	case s == nil:
		return noGate, noGate.refusal(Misconfigured, nil)
	case s.preflight:
		return s.gate, nil
	case !q.met(s.principal.Scopes):
		return s.gate, s.gate.refusal(InsufficientPermissions, q.scopes)
	}
	s.require(q)
	return s.gate, nil
}

// noGate answers requests that did not pass Authenticate or Middleware.
var noGate = func() *gate {
	settings, _ := settingsOf(nil)
	return &gate{settings: settings}
}()

// RequireScope returns Gin middleware that lets requests pass whose key has all of these
// scopes. It must come after Authenticate. It panics if a scope is invalid.
func RequireScope(scopes ...string) gin.HandlerFunc {
	return ginRequire(newRequirement("auth.RequireScope", scopes, false))
}

// RequireAnyScope is RequireScope for keys that have at least one of these scopes.
func RequireAnyScope(scopes ...string) gin.HandlerFunc {
	return ginRequire(newRequirement("auth.RequireAnyScope", scopes, true))
}

func ginRequire(q *requirement) gin.HandlerFunc {
	return func(c *gin.Context) {
		if g, refusal := q.check(c.Request); refusal != nil {
			g.refuseGin(c, refusal)
		}
	}
}

// ScopeMiddleware is RequireScope for net/http.
func ScopeMiddleware(scopes ...string) func(http.Handler) http.Handler {
	return httpRequire(newRequirement("auth.ScopeMiddleware", scopes, false))
}

// AnyScopeMiddleware is RequireAnyScope for net/http.
func AnyScopeMiddleware(scopes ...string) func(http.Handler) http.Handler {
	return httpRequire(newRequirement("auth.AnyScopeMiddleware", scopes, true))
}

func httpRequire(q *requirement) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if g, refusal := q.check(r); refusal != nil {
				g.refuse(w, r, refusal)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}
