// Command gin-api is a small API of orders with keytail inside: API keys are judged
// from memory, and a revoked key loses what it has open within milliseconds.
//
//	MONGODB_URI=mongodb://db1,db2,db3/?replicaSet=rs0 gin-api     # the keys are app.api_keys
//	curl -i localhost:8000/orders -H 'Authorization: Bearer kt_…'
//	curl -N localhost:8000/orders/events -H 'Authorization: Bearer kt_…'
//
// The API itself is package orders, whose unit tests need no MongoDB.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/gin-gonic/gin"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/sync/errgroup"

	"github.com/keytail/keytail"
	"github.com/keytail/keytail/examples/orders"
)

const (
	// drainDelay gives balancers the time to see that /readyz says no.
	drainDelay = 5 * time.Second
	// lastRequests may take this long at a stop.
	lastRequests = 10 * time.Second
)

func main() {
	gin.SetMode(gin.ReleaseMode)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:8000")
	if err == nil {
		err = run(ctx, os.Getenv("MONGODB_URI"), listener, drainDelay)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run serves until ctx ends, and returns when everything has stopped.
func run(ctx context.Context, uri string, listener net.Listener, drain time.Duration) error {
	// A network that failed for a moment must not hold reads up for the driver's 30 s.
	client, err := mongo.Connect(options.Client().ApplyURI(uri).SetConnectTimeout(3 * time.Second).SetHeartbeatInterval(3 * time.Second))
	if err != nil {
		return err
	}
	defer func() { _ = client.Disconnect(context.WithoutCancel(ctx)) }()
	keys, err := keytail.New(ctx, keytail.Config{Client: client, Database: "app"})
	if err != nil {
		return err // a sentence that says what is missing
	}
	group, ctx := errgroup.WithContext(ctx)
	// keytail stops last: until then it answers for the requests that are under way.
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	group.Go(func() error { return keys.Run(following) })
	group.Go(func() error {
		defer stop()
		return serve(ctx, keys, listener, drain)
	})
	return group.Wait()
}

// serve answers until ctx ends, and then lets the requests end that are under way.
func serve(ctx context.Context, keys *keytail.Service, listener net.Listener, drain time.Duration) error {
	router, book := gin.New(), orders.New()
	router.Use(gin.Recovery())
	router.GET("/readyz", gin.WrapH(keys.Operations()))
	book.AddRoutes(router, keys)
	server := &http.Server{Handler: router, ReadHeaderTimeout: 5 * time.Second}
	server.RegisterOnShutdown(book.Close)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	keys.Drain() // /readyz says 503 from here on; all else goes on
	time.Sleep(drain)
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastRequests)
	defer cancel()
	err := server.Shutdown(ending)
	if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
