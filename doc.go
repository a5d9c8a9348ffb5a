// Package keytail validates API keys from memory inside a Go program. Its cache
// follows the change stream of the keys' MongoDB collection, so that no answer is
// older than a stated bound, and a revoked key is rejected within milliseconds.
//
//	service, err := keytail.New(ctx, keytail.Config{Client: client, Database: "app"})
//	...
//	go service.Run(ctx)
//	router.Use(service.Authenticate())
//	router.GET("/orders", auth.RequireScope("orders:read"), func(c *gin.Context) {
//		p := auth.FromGin(c)
//		c.JSON(http.StatusOK, ordersOf(p.OrgID, p.UserID))
//	})
//
// Package auth has the options of the middleware, and what a handler learns about
// the key. Package client has the same methods for programs that use a keytail
// daemon, and package keytailtest has them for unit tests.
//
// docs/embedding.md explains the use of this package, docs/guarantees.md what its
// answers guarantee.
package keytail
