// Command gin-client is a small orders API that validates API keys through a keytail
// daemon, and cancels streams when their key is revoked.
//
//	KEYTAIL_URL=http://127.0.0.1:8080 KEYTAIL_TOKEN_FILE=token gin-client
//	curl -i localhost:8000/orders -H 'Authorization: Bearer kt_…'
//
// The daemon needs --caller-token-file, otherwise it sends no events. The API is in
// package orders, as in gin-api.
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
	// drainDelay is the time for load balancers to notice that /readyz returns 503.
	drainDelay = 5 * time.Second
	// shutdownTimeout is the time for the last requests.
	shutdownTimeout = 10 * time.Second
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
		return err // one line for each mistake
	}
	defer keys.Close()
	group, ctx := errgroup.WithContext(ctx)
	// Events are needed until the end: a key may be revoked during the last requests.
	receiving, stop := context.WithCancel(context.WithoutCancel(ctx))
	group.Go(func() error { return keys.Run(receiving) })
	group.Go(func() error {
		defer stop()
		return serve(ctx, keys, listener, drain)
	})
	return group.Wait()
}

// serve serves until ctx ends, and then waits for the requests in progress.
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
	time.Sleep(drain) // /readyz returns 503, all other requests are still served
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	err := server.Shutdown(ending)
	if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// ready returns 200 from keytail's first answer until the shutdown. The first answer
// shows that the address and the token are correct. If keytail becomes unreachable later,
// the API stays ready and answers requests with 503 itself, which tells clients more than
// a load balancer without instances.
func ready(stopping context.Context, keys *client.Client) gin.HandlerFunc {
	var answered atomic.Bool
	return func(c *gin.Context) {
		if !answered.Load() {
			_, err := keys.Validate(c.Request.Context(), "not-an-existing-key", auth.Request{})
			answered.Store(err == nil)
		}
		if !answered.Load() || stopping.Err() != nil {
			c.String(http.StatusServiceUnavailable, "not ready\n")
			return
		}
		c.String(http.StatusOK, "ready\n")
	}
}

// withOwnErrors writes refusals in the format of this API's errors.
type withOwnErrors struct{ *client.Client }

func (k withOwnErrors) Authenticate(options ...auth.Option) gin.HandlerFunc {
	return k.Client.Authenticate(append(options, auth.OnGinRefusal(refuse))...)
}

// refuse writes the body; WWW-Authenticate and Retry-After are already set.
func refuse(c *gin.Context, r auth.Refusal) {
	c.JSON(r.Status, gin.H{"error": r.Detail, "code": r.Code, "request_id": r.RequestID})
}
