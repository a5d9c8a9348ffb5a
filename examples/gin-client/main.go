// Command gin-client is a small API of orders that asks a keytail daemon about API
// keys, and hears from it when one is revoked.
//
//	KEYTAIL_URL=http://127.0.0.1:8080 KEYTAIL_TOKEN_FILE=token gin-client
//	curl -i localhost:8000/orders -H 'Authorization: Bearer kt_…'
//
// The daemon needs --caller-token-file, without which it sends no events. The API
// itself is package orders, as in gin-api.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gin-gonic/gin"
	"golang.org/x/sync/errgroup"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/client"
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
		config := client.Config{URL: os.Getenv("KEYTAIL_URL"), TokenFile: os.Getenv("KEYTAIL_TOKEN_FILE"), Logger: slog.Default()}
		err = run(ctx, config, listener, drainDelay)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run serves until ctx ends, and returns when everything has stopped.
func run(ctx context.Context, config client.Config, listener net.Listener, drain time.Duration) error {
	keys, err := client.New(config)
	if err != nil {
		return err // a sentence for each mistake
	}
	defer keys.Close()
	group, ctx := errgroup.WithContext(ctx)
	// It listens to the end: a key may be revoked under the last requests, too.
	hearing, stop := context.WithCancel(context.WithoutCancel(ctx))
	group.Go(func() error { return keys.Run(hearing) })
	group.Go(func() error {
		defer stop()
		return serve(ctx, keys, listener, drain)
	})
	return group.Wait()
}

// serve answers until ctx ends, and then lets the requests end that are under way.
func serve(ctx context.Context, keys *client.Client, listener net.Listener, drain time.Duration) error {
	router, book := gin.New(), orders.New()
	router.Use(gin.Recovery())
	router.GET("/readyz", ready(ctx, keys))
	book.AddRoutes(router, withOwnErrors{keys})
	server := &http.Server{Handler: router, ReadHeaderTimeout: 5 * time.Second}
	server.RegisterOnShutdown(book.Close)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	time.Sleep(drain) // /readyz says 503, all else goes on
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastRequests)
	defer cancel()
	err := server.Shutdown(ending)
	if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// ready says yes from keytail's first answer, which shows that address and token are
// right, until the stop. It says so when keytail is away later, too: then requests
// get 503 from here, which tells clients more than a balancer without instances.
func ready(stopping context.Context, keys *client.Client) gin.HandlerFunc {
	var answered atomic.Bool
	return func(c *gin.Context) {
		if !answered.Load() {
			_, err := keys.Validate(c.Request.Context(), "a-text-that-is-no-key", auth.Request{})
			answered.Store(err == nil)
		}
		if !answered.Load() || stopping.Err() != nil {
			c.String(http.StatusServiceUnavailable, "not ready\n")
			return
		}
		c.String(http.StatusOK, "ready\n")
	}
}

// withOwnErrors gives refusals the form that all errors of this API have.
type withOwnErrors struct{ *client.Client }

func (k withOwnErrors) Authenticate(options ...auth.Option) gin.HandlerFunc {
	return k.Client.Authenticate(append(options, auth.OnGinRefusal(refuse))...)
}

// refuse answers; the headers (WWW-Authenticate, Retry-After) are set.
func refuse(c *gin.Context, r auth.Refusal) {
	c.JSON(r.Status, gin.H{"error": r.Detail, "code": r.Code, "request_id": r.RequestID})
}
