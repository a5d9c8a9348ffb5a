package client

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/revocation"
)

// Authenticate is auth.Authenticate with c: Gin middleware that lets requests with a
// valid key pass. It panics if an option is invalid.
func (c *Client) Authenticate(opts ...auth.Option) gin.HandlerFunc {
	return auth.Authenticate(c, opts...)
}

// Middleware is auth.Middleware with c, for net/http.
func (c *Client) Middleware(opts ...auth.Option) func(http.Handler) http.Handler {
	return auth.Middleware(c, opts...)
}

// Mark implements auth.RevocationWatcher.
func (c *Client) Mark() uint64 { return c.watches.Mark() }

// Watch implements auth.RevocationWatcher. Without Run a watch ends only by expiry.
func (c *Client) Watch(request auth.WatchRequest) auth.Watch {
	return c.watches.Add(revocation.Entry(request))
}
