package auth

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/internal/forwardauth"
)

// Authenticate returns Gin middleware that lets requests with a valid key pass and
// gives them a Principal. It answers all other requests and aborts their chain. A route
// needs it once. It panics if an option is invalid, see CheckOptions.
//
// The request gets an X-Request-Id, the client's or a new one, which the response
// repeats. X-Auth-User-Id and the other identity headers of forward-auth are deleted
// from the request.
func Authenticate(v Validator, opts ...Option) gin.HandlerFunc {
	g := newGate("auth.Authenticate", v, opts)
	return func(c *gin.Context) {
		if g.org != nil || g.project != nil {
			for _, param := range c.Params {
				c.Request.SetPathValue(param.Key, param.Value)
			}
		}
		s, refusal := g.admit(c.Writer.Header(), c.Request)
		if refusal != nil {
			g.refuseGin(c, refusal)
			return
		}
		if g.cancel && !s.preflight {
			s.serveGin(c)
			return
		}
		defer s.release()
		s.attachGin(c)
		c.Next()
	}
}

// attachGin gives the rest of the chain the session's request.
func (s *session) attachGin(c *gin.Context) {
	c.Request = s.attach(c.Request)
	if s.gate.hideKey {
		for _, name := range forwardauth.QueryNames(s.gate.sources) {
			// Gin keeps the query that it has parsed for an earlier middleware, and
			// offers no way to drop it; the slice that it returns is the one it keeps.
			clear(c.QueryArray(name))
		}
	}
}

// refuseGin writes the response and aborts the chain.
func (g *gate) refuseGin(c *gin.Context, refusal *Refusal) {
	if g.respondGin == nil {
		g.refuse(c.Writer, c.Request, refusal)
	} else {
		refusal.setHeaders(c.Writer.Header())
		limitBodyRead(c.Writer, c.Request)
		g.respondGin(c, *refusal)
	}
	c.Abort()
}

// Middleware is Authenticate for net/http. The handler gets the principal from
// FromContext.
func Middleware(v Validator, opts ...Option) func(http.Handler) http.Handler {
	g := newGate("auth.Middleware", v, opts)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s, refusal := g.admit(w.Header(), r)
			if refusal != nil {
				g.refuse(w, r, refusal)
				return
			}
			if g.cancel && !s.preflight {
				s.serveHTTP(w, r, next)
				return
			}
			defer s.release()
			next.ServeHTTP(w, s.attach(r))
		})
	}
}
