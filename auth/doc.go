// Package auth checks API keys in Gin and net/http services: middleware over a
// Validator. A keytail.Service validates keys inside the process, a client.Client
// sends requests to a daemon, and a keytailtest.Validator has its keys in memory, for unit tests.
// Each of them has the methods Authenticate (for Gin) and Middleware (for net/http),
// so a service changes from one to another in one line.
//
//	router.Use(service.Authenticate())
//	router.GET("/orders", auth.RequireScope("orders:read"), func(c *gin.Context) {
//		p := auth.FromGin(c)
//		c.JSON(200, ordersOf(p.OrgID, p.UserID))
//	})
//
// A request is for the organisation and the project that its key is bound to, as the
// Principal has them. A service that takes them from elsewhere, such as its path, needs
// OrgID and ProjectID.
//
// The middleware answers a refused request itself: 401, 403, or 503 when the key
// cannot be validated, with a problem+json body. The handler is not called. Both the
// status and the body can be replaced.
//
// A key can be revoked during a request. Principal.Done reports it, and
// CancelOnRevocation acts on it: it cancels the request's context with the cause and
// closes hijacked connections such as WebSockets.
//
// # Names
//
// Package auth is the only home of the types, options, functions and errors that
// the three validators share: Request, Verdict, Key, Code, Option, Principal,
// ErrUnavailable and the rest. Packages keytail, client and keytailtest export no
// second name for any of them. A program that configures the middleware or looks at
// a verdict imports package auth.
//
// Authenticate, FromGin, RequireScope, RequireAnyScope and OnGinRefusal are for Gin.
// Middleware, FromContext, ScopeMiddleware, AnyScopeMiddleware and OnRefusal are for
// net/http. Everything else works with both.
//
// Options are written in the program, so invalid options are mistakes in the program:
// Authenticate, Middleware and the functions that require scopes panic at setup, with a
// message that names the option. CheckOptions returns the same as an error.
//
// # Trust
//
// The middleware trusts the key, and nothing else that a client sends. It deletes
// X-Auth-User-Id and the other identity headers of forward-auth from the request, in
// every spelling, also when the request came through keytail's own forward-auth. It
// uses X-Forwarded-For only from TrustedProxies.
package auth
