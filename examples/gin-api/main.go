// Command gin-api is a small API of orders with embedded keytail: it validates API keys
// from memory, and ends open streams within milliseconds when their key is revoked.
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
	// drainDelay gives load balancers time to notice that /readyz responds 503.
	drainDelay = 5 * time.Second
	// lastRequests limits the time for the last requests at shutdown.
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
	// After a short network failure, reads must not wait for the driver's default of 30 s.
	client, err := mongo.Connect(options.Client().ApplyURI(uri).SetConnectTimeout(3 * time.Second).SetHeartbeatInterval(3 * time.Second))
	if err != nil {
		return err
	}
	defer func() { _ = client.Disconnect(context.WithoutCancel(ctx)) }()
	keys, err := keytail.New(ctx, keytail.Config{Client: client, Database: "app"})
	if err != nil {
		return err // it names what is missing, and how to fix it
	}
	group, ctx := errgroup.WithContext(ctx)
	// keytail stops last, because requests in progress still need it.
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	group.Go(func() error { return keys.Run(following) })
	group.Go(func() error {
		defer stop()
		return serve(ctx, keys, listener, drain)
	})
	return group.Wait()
}

// ready answers the load balancer.
func ready(c *gin.Context, status keytail.Status) {
	code := http.StatusServiceUnavailable
	if status.Ready {
		code = http.StatusOK
	}
	c.String(code, "%s\n", status.State)
}

// serve answers until ctx ends, and then lets the requests end that are in progress.
func serve(ctx context.Context, keys *keytail.Service, listener net.Listener, drain time.Duration) error {
	router, book := gin.New(), orders.New()
	router.Use(gin.Recovery())
	router.GET("/readyz", func(c *gin.Context) { ready(c, keys.Status()) })
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
	keys.Drain() // from here on /readyz responds 503; all other requests continue
	time.Sleep(drain)
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastRequests)
	defer cancel()
	err := server.Shutdown(ending)
	if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
