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
package auth
