// Command gin-client is a small API of orders. It validates API keys with a keytail
// daemon, which sends an event when a key is revoked.
//
//	KEYTAIL_URL=http://127.0.0.1:8080 KEYTAIL_TOKEN_FILE=token gin-client
//	curl -i localhost:8000/orders -H 'Authorization: Bearer kt_…'
//
// The daemon needs --caller-token-file to send events. The API itself is package orders,
// as in gin-api.
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
		return err // it names each invalid setting
	}
	defer keys.Close()
	group, ctx := errgroup.WithContext(ctx)
	// The event stream stays connected to the end, because the key of one of the last
	// requests may be revoked, too.
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	group.Go(func() error { return keys.Run(following) })
	group.Go(func() error {
		defer stop()
		return serve(ctx, keys, listener, drain)
	})
	return group.Wait()
}

// serve handles requests until ctx ends, then waits for the requests in progress.
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
	time.Sleep(drain) // /readyz responds 503; all other requests continue
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastRequests)
	defer cancel()
	err := server.Shutdown(ending)
	if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// ready responds 200 from keytail's first answer, which shows that the address and the
// token are right, until the shutdown. It also does so when keytail becomes unreachable
// later: this API then responds 503, which informs clients better than a load balancer
// without instances.
func ready(stopping context.Context, keys *client.Client) gin.HandlerFunc {
	var answered atomic.Bool
	return func(c *gin.Context) {
		if !answered.Load() {
			_, err := keys.Validate(c.Request.Context(), "a-malformed-key", auth.Request{})
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

// refuse writes the response. The headers (WWW-Authenticate, Retry-After) are already set.
func refuse(c *gin.Context, r auth.Refusal) {
	c.JSON(r.Status, gin.H{"error": r.Detail, "code": r.Code, "request_id": r.RequestID})
}
