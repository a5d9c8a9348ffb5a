// Package orders is the API of the examples gin-api and gin-client: orders, and a
// stream of them. What validates its API keys is not its business: a keytail.Service
// in the process, a client.Client of a daemon, or in unit tests a
// keytailtest.Validator.
package orders

import (
	"net/http"
	"sync"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/auth"
)

// Keys lets requests in by their API key.
type Keys interface {
	Authenticate(options ...auth.Option) gin.HandlerFunc
}

// AddRoutes adds the API. Each route says which scope it needs.
func (b *Book) AddRoutes(router gin.IRouter, keys Keys) {
	// The handlers have no use for the key, and whoever logs a request would log it:
	// Gin's Recovery shows the headers when a client has gone.
	orders := router.Group("/orders", keys.Authenticate(auth.HideCredentials()))
	orders.GET("", auth.RequireScope("orders:read"), b.list)
	orders.POST("", auth.RequireScope("orders:write"), b.create)

	// A stream lasts longer than the answer about its key, so it ends with the key:
	// when that is revoked, and when nobody knows any more whether it was.
	streams := router.Group("/orders", keys.Authenticate(auth.HideCredentials(), auth.CancelOnRevocation(), auth.CancelOnOutage()))
	streams.GET("/events", auth.RequireScope("orders:read"), b.events)
}

// Book holds everybody's orders.
type Book struct {
	mutex  sync.Mutex
	orders map[string][]order // by user
	// more is closed, and replaced, with each new order. closed is closed at a stop.
	more, closed chan struct{}
}

type order struct {
	Item string `json:"item" binding:"required"`
}

// New makes an empty book.
func New() *Book {
	return &Book{orders: map[string][]order{}, more: make(chan struct{}), closed: make(chan struct{})}
}

// Close ends the streams, which a stop of the server would wait for.
func (b *Book) Close() { close(b.closed) }

func (b *Book) add(user string, o order) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.orders[user] = append(b.orders[user], o)
	close(b.more)
	b.more = make(chan struct{})
}

// of are a user's orders, and what is closed when there is one more.
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
		c.JSON(http.StatusBadRequest, gin.H{"error": "an order has an item"})
		return
	}
	b.add(auth.FromGin(c).UserID, o)
	c.JSON(http.StatusCreated, o)
}

// events streams a user's orders: those that there are, and those to come.
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
			// The client has left, or its key is not valid any more; context.Cause says
			// which.
			return
		}
	}
}
