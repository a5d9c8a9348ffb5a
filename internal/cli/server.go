package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/config"
	"github.com/keytail/keytail/internal/connlimit"
	"github.com/keytail/keytail/internal/routes"
)

const (
	// readHeaderTimeout: a header is one packet; a client that takes longer
	// blocks a connection deliberately.
	readHeaderTimeout = 5 * time.Second
	// readTimeout covers a body of at most 16 KiB over a slow connection.
	readTimeout = 10 * time.Second
	// writeTimeout starts at the end of the header. It has space for a database
	// read and a second, direct one before the response.
	writeTimeout = 20 * time.Second
	// idleTimeout is longer than the 60 to 90 s after which proxies close an idle
	// connection: the side that sends requests should close it.
	idleTimeout = 120 * time.Second
	// maxHeaderBytes is the most that proxies forward (nginx: four buffers of 8
	// KiB), so that a header that is too long for a key still gets a verdict.
	maxHeaderBytes = 32 << 10
	// maxStreams bounds the requests in progress on one connection of HTTP/2: the smallest
	// number that RFC 9113, section 6.5.2, recommends.
	maxStreams = 100
	// shutdownTimeout is for requests in flight, whose database reads take a few
	// seconds at most. With the drain delay it stays below the 30 s that
	// orchestrators allow.
	shutdownTimeout = 15 * time.Second
)

// listener is a bound address with its server.
type listener struct {
	net.Listener
	// name and flag are those of config.Listener.
	name, flag string
	// limit bounds the connections of Listener.
	limit  *connlimit.Listener
	server serving
	// certificates is nil for plain HTTP.
	certificates *certificates
	// connectionCloser wraps the handler of the server. Nil for gRPC, whose
	// shutdown requests clients to leave before it loses a request (GOAWAY).
	connectionCloser *connectionCloser
}

// serving is an http.Server, or the one of gRPC.
type serving interface {
	// Serve serves l until Shutdown.
	Serve(l net.Listener) error
	// Shutdown closes the listener and waits for requests in flight until ctx ends.
	Shutdown(ctx context.Context) error
	// Close closes all remaining connections.
	Close() error
}

// connectionCloser requests clients to close their connections, once it has
// begun. A proxy may send a request on an idle connection at the very moment at
// which the server closes it, and that request is lost. So the server informs
// the proxy first, with a response, and the proxy closes the connection.
// (http.Server's SetKeepAlivesEnabled would close idle connections immediately,
// with the same problem.) Over HTTP/2 the server turns the header into a
// GOAWAY.
type connectionCloser struct {
	begun atomic.Bool
	next  http.Handler
}

// ServeHTTP sets the header before the handler writes anything.
func (l *connectionCloser) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if l.begun.Load() {
		w.Header().Set("Connection", "close")
	}
	l.next.ServeHTTP(w, r)
}

// listen binds addr. The error names the flag, and wraps syscall.EADDRINUSE if the
// address is in use.
func listen(ctx context.Context, flag, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err == nil {
		return l, nil
	}
	reason := err
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		reason = op.Err
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("--%s: another program listens on %s: stop it, or use another address (%w)", flag, addr, reason)
	}
	return nil, fmt.Errorf("--%s: cannot listen on %s: %w", flag, addr, reason)
}

// url is the address for people.
func (l listener) url() string {
	if l.certificates != nil {
		return "https://" + l.Addr().String()
	}
	return "http://" + l.Addr().String()
}

// handle sets the handler of a bound listener. A nil registerer registers no metric.
func (l *listener) handle(handler http.Handler, logger *zap.Logger, registerer prometheus.Registerer) error {
	errorLog, err := limitErrors(logger.Named(l.name), l.name, registerer)
	if err != nil {
		return err
	}
	l.connectionCloser = &connectionCloser{next: l.limit.LimitRequests(handler, http.HandlerFunc(routes.Busy))}
	server := newServer(l.connectionCloser, errorLog)
	server.ConnState = l.limit.ConnState
	l.serveBy(server)
	return nil
}

// serveBy sets the server of a bound listener.
func (l *listener) serveBy(s serving) {
	l.server = s
	l.Listener = l.limit
	if l.certificates != nil {
		l.Listener = l.certificates.listener(l.Listener)
	}
}

// follow reads the certificates again when they change, until ctx ends.
func (l listener) follow(ctx context.Context) error {
	if l.certificates == nil {
		return nil
	}
	return l.certificates.files.Run(ctx)
}

// newServer has a limit for everything that a client can prolong.
func newServer(handler http.Handler, logger *zap.Logger) *http.Server {
	// NewStdLogAt fails for unknown levels only.
	errorLog, _ := zap.NewStdLogAt(logger, zap.WarnLevel)
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          errorLog,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		// net/http would answer "OPTIONS *" with a 200, which means allowed.
		DisableGeneralOptionsHandler: true,
	}
}

// serve serves until shutdown, which is not an error.
func (l listener) serve() error {
	if err := l.server.Serve(l.Listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("the %s listener on %s failed: %w", l.name, l.Addr(), err)
	}
	return nil
}

// shutdown closes the listener and waits for requests in flight until ctx ends,
// and then closes their connections.
func (l listener) shutdown(ctx context.Context) error {
	if err := l.server.Shutdown(ctx); err != nil {
		_ = l.server.Close()
		return fmt.Errorf("requests in flight on the %s listener were interrupted: %w", l.name, err)
	}
	return nil
}

// listeners are the enabled ones, in the order of config.Listeners.
type listeners []listener

// fields are the bound addresses, for the log.
func (all listeners) fields() []zap.Field {
	var fields []zap.Field
	for _, l := range all {
		fields = append(fields, zap.Stringer(config.Key(l.flag), l.Addr()))
	}
	return fields
}

// addr is the bound address of the listener with this name, or "" if it is disabled.
func (all listeners) addr(name string) string {
	for _, l := range all {
		if l.name == name {
			return l.Addr().String()
		}
	}
	return ""
}

// url is the address of the listener with this name, or "" if it is disabled.
func (all listeners) url(name string) string {
	for _, l := range all {
		if l.name == name {
			return l.url()
		}
	}
	return ""
}

// leave requests the clients of all listeners to close their connections.
func (all listeners) leave() {
	for _, l := range all {
		if l.connectionCloser != nil {
			l.connectionCloser.begun.Store(true)
		}
	}
}

// shutdown closes one after the other, see listener.shutdown.
func (all listeners) shutdown(ctx context.Context) error {
	var errs []error
	for _, l := range all {
		errs = append(errs, l.shutdown(ctx))
	}
	return errors.Join(errs...)
}

// close closes those that are bound.
func (all listeners) close() {
	for _, l := range all {
		if l.Listener != nil {
			_ = l.Close()
		}
	}
}
