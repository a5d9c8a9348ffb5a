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

	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/config"
)

const (
	// readHeaderTimeout: a header is one packet; who takes longer holds a
	// connection on purpose.
	readHeaderTimeout = 5 * time.Second
	// readTimeout covers a body of at most 16 KiB over a bad line.
	readTimeout = 10 * time.Second
	// writeTimeout starts with the header's end. It leaves room for a database read
	// and a second, direct one before the answer.
	writeTimeout = 20 * time.Second
	// idleTimeout is above the 60 to 90 s after which proxies close an idle
	// connection: the side that sends requests should be the one that closes.
	idleTimeout = 120 * time.Second
	// maxHeaderBytes is what proxies let through at most (nginx: four buffers of
	// 8 KiB), so that a header that is too long for a key is still answered by a
	// verdict.
	maxHeaderBytes = 32 << 10
	// shutdownTimeout is for requests in flight, whose database reads take a few
	// seconds at most. With the drain delay it stays under the 30 s that
	// orchestrators allow.
	shutdownTimeout = 15 * time.Second
)

// listener is a bound address with what is to be served on it.
type listener struct {
	net.Listener
	// name and flag are those of config.Listener.
	name, flag string
	server     serving
	// certificates is nil for plain HTTP.
	certificates *certificates
	// leaving is what the server's handler is wrapped with. Nil for gRPC, whose
	// shutdown asks clients to leave before it loses a request (GOAWAY).
	leaving *leaving
}

// serving is an http.Server, or the one of gRPC.
type serving interface {
	// Serve answers until Shutdown.
	Serve(l net.Listener) error
	// Shutdown closes the listener and waits for requests in flight until ctx ends.
	Shutdown(ctx context.Context) error
	// Close cuts what is left.
	Close() error
}

// leaving asks clients to close their connections, once it has begun. A proxy
// that keeps an idle connection may send a request in the very moment in which
// the listener's end closes it, and that request is lost: so the proxy is told
// before, with an answer, and closes it itself. (http.Server's
// SetKeepAlivesEnabled would close idle connections at once, which is the same
// accident earlier.) Over HTTP/2 the server makes a GOAWAY of the header.
type leaving struct {
	begun atomic.Bool
	next  http.Handler
}

// ServeHTTP sets the header before the handler writes anything.
func (l *leaving) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if l.begun.Load() {
		w.Header().Set("Connection", "close")
	}
	l.next.ServeHTTP(w, r)
}

// listen binds addr. With fallback, a port that is taken is replaced by a free
// one of the same host. The error is a sentence about the flag.
func listen(ctx context.Context, flag, addr string, fallback bool) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) && fallback {
		l, err = lc.Listen(ctx, "tcp", freePort(addr))
	}
	if err == nil {
		return l, nil
	}
	reason := err
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		reason = op.Err
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("--%s: another program listens on %s; stop it or give another address (%w)", flag, addr, reason)
	}
	return nil, fmt.Errorf("--%s: cannot listen on %s: %w", flag, addr, reason)
}

// freePort is addr with port 0. An addr without a port stays as it is.
func freePort(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return net.JoinHostPort(host, "0")
}

// url is how a person asks it.
func (l listener) url() string {
	if l.certificates != nil {
		return "https://" + l.Addr().String()
	}
	return "http://" + l.Addr().String()
}

// handle says what is served on a listener that has been bound.
func (l *listener) handle(handler http.Handler, logger *zap.Logger) {
	l.leaving = &leaving{next: handler}
	l.serveBy(newServer(l.leaving, logger.Named(l.name)))
}

// serveBy says what serves a listener that has been bound.
func (l *listener) serveBy(s serving) {
	l.server = s
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

// newServer has a limit for everything that a client can make last.
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
		// net/http would answer "OPTIONS *" by itself, and with a 200, which is a yes.
		DisableGeneralOptionsHandler: true,
	}
}

// serve answers until shutdown. The end that shutdown causes is no error.
func (l listener) serve() error {
	if err := l.server.Serve(l.Listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("the %s listener on %s failed: %w", l.name, l.Addr(), err)
	}
	return nil
}

// shutdown closes the listener and waits for requests in flight until ctx ends;
// those that are left are cut.
func (l listener) shutdown(ctx context.Context) error {
	if err := l.server.Shutdown(ctx); err != nil {
		_ = l.server.Close()
		return fmt.Errorf("requests in flight on the %s listener were cut: %w", l.name, err)
	}
	return nil
}

// listeners are those that are on, in the order of config.Listeners.
type listeners []listener

// fields are the bound addresses, for the log.
func (all listeners) fields() []zap.Field {
	var fields []zap.Field
	for _, l := range all {
		fields = append(fields, zap.Stringer(config.Key(l.flag), l.Addr()))
	}
	return fields
}

// url is how a person asks the listener of this name, "" if it is off.
func (all listeners) url(name string) string {
	for _, l := range all {
		if l.name == name {
			return l.url()
		}
	}
	return ""
}

// leave asks the clients of all to close their connections.
func (all listeners) leave() {
	for _, l := range all {
		if l.leaving != nil {
			l.leaving.begun.Store(true)
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

// close gives up those that have been bound.
func (all listeners) close() {
	for _, l := range all {
		if l.Listener != nil {
			_ = l.Close()
		}
	}
}
