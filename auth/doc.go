// Package auth lets API keys into Gin and net/http services: middleware over
// whatever validates keys. A keytail.Service does that inside the process, a
// client.Client asks a daemon, and a keytailtest.Validator holds keys for unit
// tests; each has the methods Authenticate (Gin) and Middleware (net/http), so
// that a service can change from one to another in one line.
//
//	router.Use(service.Authenticate())
//	router.GET("/orders", auth.RequireScope("orders:read"), func(c *gin.Context) {
//		c.JSON(200, ordersOf(auth.PrincipalOf(c).UserID))
//	})
//
// A request that is refused is answered by the middleware: 401, 403, or 503 when
// the truth cannot be known, with a problem+json body, and the handler is not called.
// Both can be replaced.
//
// A key may end while its request goes on. Principal.Done tells, and
// WithRevocationCancel acts: it cancels the request's context with the cause and
// closes WebSockets.
//
// What the middleware believes: the key, and nothing else that a client sends. Its
// X-Auth-User-Id and other identity headers of forward-auth are deleted from the
// request in every spelling, also when the request came through keytail's own
// forward-auth: whoever authenticates here needs no second opinion. Its
// X-Forwarded-For counts only behind TrustedProxies.
package auth
