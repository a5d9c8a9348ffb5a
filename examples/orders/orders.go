// Package orders is the API of the examples gin-api and gin-client: orders, and a
// stream of them. It does not depend on how API keys are validated: by a keytail.Service
// in the process, by a daemon with a client.Client, or in unit tests by a
// keytailtest.Validator.
package orders

import (
	"net/http"
	"sync"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/auth"
)

// Keys authenticates requests by their API key.
type Keys interface {
	Authenticate(options ...auth.Option) gin.HandlerFunc
}

// AddRoutes adds the routes of the API. Each route requires a scope.
func (b *Book) AddRoutes(router gin.IRouter, keys Keys) {
	// Hide the key from the handlers, which do not need it. Code that logs requests would
	// log it, as Gin's Recovery does when a client disconnects.
	orders := router.Group("/orders", keys.Authenticate(auth.HideCredentials()))
	orders.GET("", auth.RequireScope("orders:read"), b.list)
	orders.POST("", auth.RequireScope("orders:write"), b.create)

	// A stream lasts longer than a verdict is valid. So it ends when its key is revoked, and
	// when keytail no longer knows whether the key is valid.
	streams := router.Group("/orders", keys.Authenticate(auth.HideCredentials(), auth.CancelOnRevocation(), auth.CancelOnOutage()))
	streams.GET("/events", auth.RequireScope("orders:read"), b.events)
}

// Book has the orders of all users.
type Book struct {
	mutex  sync.Mutex
	orders map[owner][]order
	// more is closed and replaced with each new order. closed is closed at shutdown.
	more, closed chan struct{}
}

// owner is whose orders a request is about. No path of this API names an organisation, so
// the organisation is that of the key: a user with keys of two has separate orders in each.
// An API that had it in its path would name it, with auth.OrgID(auth.PathParam("org")).
type owner struct {
	orgID  string // empty: the key is not bound to an organisation
	userID string
}

func ownerOf(c *gin.Context) owner {
	p := auth.FromGin(c)
	return owner{p.OrgID, p.UserID}
}

type order struct {
	Item string `json:"item" binding:"required"`
}

// New creates an empty book.
func New() *Book {
	return &Book{orders: map[owner][]order{}, more: make(chan struct{}), closed: make(chan struct{})}
}

// Close ends the streams, so that the shutdown of the server does not wait for them.
func (b *Book) Close() { close(b.closed) }

func (b *Book) add(of owner, o order) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.orders[of] = append(b.orders[of], o)
	close(b.more)
	b.more = make(chan struct{})
}

// of returns an owner's orders, and a channel that is closed when there is another order.
func (b *Book) of(who owner) ([]order, <-chan struct{}) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return append([]order{}, b.orders[who]...), b.more
}

func (b *Book) list(c *gin.Context) {
	orders, _ := b.of(ownerOf(c))
	c.JSON(http.StatusOK, gin.H{"orders": orders})
}

func (b *Book) create(c *gin.Context) {
	var o order
	if err := c.ShouldBindJSON(&o); err != nil {
		c.JSON(http.StatusBadRequest, gin.H{"error": "an order needs an item"})
		return
	}
	b.add(ownerOf(c), o)
	c.JSON(http.StatusCreated, o)
}

// events streams an owner's orders, existing and new ones.
func (b *Book) events(c *gin.Context) {
	c.Header("Content-Type", "text/event-stream")
	for sent := 0; ; {
		orders, more := b.of(ownerOf(c))
		for ; sent < len(orders); sent++ {
			c.SSEvent("order", orders[sent])
		}
		c.Writer.Flush()
		select {
		case <-more:
		case <-b.closed:
			return
		case <-c.Request.Context().Done():
			// The client has disconnected, or its key is no longer valid; context.Cause reports
			// which.
			return
		}
	}
}
