package main

import (
	"net/http"
	"sync"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail"
)

// guard lets requests in by their API key: a keytail.Service, or in unit tests a
// keytailtest.Validator.
type guard interface {
	Authenticate(options ...keytail.Option) gin.HandlerFunc
}

// addRoutes adds the API. Each route says which scope it needs.
func (b *book) addRoutes(router gin.IRouter, keys guard) {
	orders := router.Group("/orders", keys.Authenticate())
	orders.GET("", keytail.RequireScope("orders:read"), b.list)
	orders.POST("", keytail.RequireScope("orders:write"), b.create)

	// A stream lasts longer than the answer about its key, so it ends with the key:
	// when that is revoked, and when nobody knows any more whether it was.
	streams := router.Group("/orders", keys.Authenticate(keytail.WithRevocationCancel(), keytail.CutOnOutage()))
	streams.GET("/events", keytail.RequireScope("orders:read"), b.events)
}

// book holds everybody's orders.
type book struct {
	mutex  sync.Mutex
	orders map[string][]order // by user
	// more is closed, and replaced, with each new order. closed is closed at a stop.
	more, closed chan struct{}
}

type order struct {
	Item string `json:"item" binding:"required"`
}

func newBook() *book {
	return &book{orders: map[string][]order{}, more: make(chan struct{}), closed: make(chan struct{})}
}

// close ends the streams, which a stop would wait for.
func (b *book) close() { close(b.closed) }

func (b *book) add(user string, o order) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.orders[user] = append(b.orders[user], o)
	close(b.more)
	b.more = make(chan struct{})
}

// of are a user's orders, and what is closed when there is one more.
func (b *book) of(user string) ([]order, <-chan struct{}) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return append([]order{}, b.orders[user]...), b.more
}

func (b *book) list(c *gin.Context) {
	orders, _ := b.of(keytail.Principal(c).UserID)
	c.JSON(http.StatusOK, gin.H{"orders": orders})
}

func (b *book) create(c *gin.Context) {
	var o order
	if err := c.ShouldBindJSON(&o); err != nil {
		c.JSON(http.StatusBadRequest, gin.H{"error": "an order has an item"})
		return
	}
	b.add(keytail.Principal(c).UserID, o)
	c.JSON(http.StatusCreated, o)
}

// events streams a user's orders: those that there are, and those to come.
func (b *book) events(c *gin.Context) {
	c.Header("Content-Type", "text/event-stream")
	for sent := 0; ; {
		orders, more := b.of(keytail.Principal(c).UserID)
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
