// Package orders is the API of the examples gin-api and gin-client: orders, and a
// stream of orders. It works with every validator of API keys: a keytail.Service in the
// same process, a client.Client that asks a daemon, or a keytailtest.Validator in unit
// tests.
package orders

import (
	"net/http"
	"sync"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/auth"
)

// Keys has the middleware that checks API keys.
type Keys interface {
	Authenticate(options ...auth.Option) gin.HandlerFunc
}

// AddRoutes adds the API. Each route requires a scope.
func (b *Book) AddRoutes(router gin.IRouter, keys Keys) {
	// The handlers do not need the key, and code that logs a request would log it: Gin's
	// Recovery logs the headers when a client disconnects.
	orders := router.Group("/orders", keys.Authenticate(auth.HideCredentials()))
	orders.GET("", auth.RequireScope("orders:read"), b.list)
	orders.POST("", auth.RequireScope("orders:write"), b.create)

	// A stream lasts longer than the verdict about its key, so it is cancelled when the key
	// is revoked, and when it has been unknown for too long whether it was.
	streams := router.Group("/orders", keys.Authenticate(auth.HideCredentials(), auth.CancelOnRevocation(), auth.CancelOnOutage()))
	streams.GET("/events", auth.RequireScope("orders:read"), b.events)
}

// Book has the orders of all users.
type Book struct {
	mutex  sync.Mutex
	orders map[string][]order // by user
	// more is closed and replaced with each new order. closed is closed at shutdown.
	more, closed chan struct{}
}

type order struct {
	Item string `json:"item" binding:"required"`
}

// New returns an empty Book.
func New() *Book {
	return &Book{orders: map[string][]order{}, more: make(chan struct{}), closed: make(chan struct{})}
}

// Close ends the streams, for which a shutdown of the server would wait.
func (b *Book) Close() { close(b.closed) }

func (b *Book) add(user string, o order) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.orders[user] = append(b.orders[user], o)
	close(b.more)
	b.more = make(chan struct{})
}

// of returns a user's orders, and a channel that is closed with the next order.
func (b *Book) of(user string) ([]order, <-chan struct{}) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return append([]order{}, b.orders[user]...), b.more
}

func (b *Book) list(c *gin.Context) {
	orders, _ := b.of(auth.FromGin(c).UserID)
	c.JSON(http.StatusOK, gin.H{"orders": orders})
}

func (b *Book) create(c *gin.Context) {
	var o order
	if err := c.ShouldBindJSON(&o); err != nil {
		c.JSON(http.StatusBadRequest, gin.H{"error": "an order needs an item"})
		return
	}
	b.add(auth.FromGin(c).UserID, o)
	c.JSON(http.StatusCreated, o)
}

// events streams a user's orders, existing and new ones.
func (b *Book) events(c *gin.Context) {
	c.Header("Content-Type", "text/event-stream")
	for sent := 0; ; {
		orders, more := b.of(auth.FromGin(c).UserID)
		for ; sent < len(orders); sent++ {
			c.SSEvent("order", orders[sent])
		}
		c.Writer.Flush()
		select {
		case <-more:
		case <-b.closed:
			return
		case <-c.Request.Context().Done():
			// The client has disconnected, or its key is no longer valid; context.Cause tells
			// which.
			return
		}
	}
}
