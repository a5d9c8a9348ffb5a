package auth

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/internal/apikey"
)

// requirement is what RequireScope and RequireAny want.
type requirement struct {
	scopes []string
	// one of them is enough.
	one bool
}

func newRequirement(caller string, scopes []string, one bool) *requirement {
	if err := checkScopes(scopes); err != nil {
		panic(fmt.Sprintf("%s: %v", caller, err))
	}
	return &requirement{slices.Clone(scopes), one}
}

func (q *requirement) met(held []string) bool {
	holds := func(scope string) bool { return apikey.Holds(held, scope) }
	if q.one {
		return slices.ContainsFunc(q.scopes, holds)
	}
	return !slices.ContainsFunc(q.scopes, func(scope string) bool { return !holds(scope) })
}

// check refuses the request of r, or returns nil. What was required also counts for
// Done from now on.
func (q *requirement) check(r *http.Request) (*gate, *Refusal) {
	s := sessionOf(r.Context())
	switch {
	case s == nil:
		return nobody, nobody.refusal(Misconfigured, nil)
	case s.preflight:
		return s.gate, nil
	case !q.met(s.principal.Scopes):
		return s.gate, s.gate.refusal(InsufficientPermissions, q.scopes)
	}
	s.need(q)
	return s.gate, nil
}

// nobody is the gate of those who stand before none.
var nobody = func() *gate {
	settings, _ := settingsOf(nil)
	return &gate{settings: settings}
}()

func (s *session) need(q *requirement) {
	s.mutex.Lock()
	if s.needs == nil {
		s.needs = s.place[:0]
	}
	s.needs = append(s.needs, q)
	w := s.watch
	s.mutex.Unlock()
	if w != nil {
		// What was asked about meanwhile did not include this.
		w.Again()
	}
}

// RequireScope lets requests pass whose key holds all these scopes. It stands
// behind Authenticate, and panics at once if a scope cannot be one.
func RequireScope(scopes ...string) gin.HandlerFunc {
	return ginRequire(newRequirement("auth.RequireScope", scopes, false))
}

// RequireAny lets requests pass whose key holds at least one of these scopes.
func RequireAny(scopes ...string) gin.HandlerFunc {
	return ginRequire(newRequirement("auth.RequireAny", scopes, true))
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

// AnyScopeMiddleware is RequireAny for net/http.
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
