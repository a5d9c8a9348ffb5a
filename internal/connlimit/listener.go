package connlimit

import (
	"container/list"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/lograte"
)

// Config of a Listener.
type Config struct {
	// Limit is the number of connections. Required.
	Limit int
	// Name of the listener, for the metrics and the log: public, operations, …
	Name string
	// Registerer takes the metrics. Nil: none are registered.
	Registerer prometheus.Registerer
	// Logger gets a line a minute while the limit is reached. Nil: none.
	Logger *zap.Logger
}

// Listener accepts at most Config.Limit connections at a time.
type Listener struct {
	net.Listener
	config  Config
	metrics metrics
	// lines and busyLines limit the log lines about connections and requests.
	lines, busyLines lograte.Limiter
	// requests are those in progress, see BeginRequest.
	requests atomic.Int64

	mutex sync.Mutex
	// changed is signalled when a connection has ended or has become idle, and at Close.
	changed *sync.Cond
	open    int
	// conns has all connections, and busy between them. Those before busy have no request in
	// progress, and the first one has been idle longest. A connection moves in each request, so it
	// keeps its element.
	conns  *list.List
	busy   *list.Element
	closed bool
}

// New limits the connections that l accepts.
func New(l net.Listener, config Config) (*Listener, error) {
	if config.Limit < 1 {
		return nil, errors.New("connlimit: Config.Limit must be positive")
	}
	if config.Logger == nil {
		config.Logger = zap.NewNop()
	}
	limited := &Listener{Listener: l, config: config, conns: list.New()}
	limited.busy = limited.conns.PushBack(nil)
	limited.changed = sync.NewCond(&limited.mutex)
	return limited, limited.register()
}

// Accept returns the next connection, once there is room for it.
func (l *Listener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if !l.takeRoom() {
		_ = accepted.Close()
		return nil, net.ErrClosed
	}
	c := &conn{Conn: accepted, listener: l}
	l.mutex.Lock()
	c.place = l.conns.PushBack(c)
	l.mutex.Unlock()
	return c, nil
}

// takeRoom waits for room and takes it. False: the listener has been closed.
func (l *Listener) takeRoom() bool {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.open >= l.config.Limit {
		l.logFull()
		if l.conns.Front() == l.busy {
			l.metrics.delayed.Inc()
		}
	}
	for l.open >= l.config.Limit && !l.closed {
		if !l.evictLocked() {
			l.changed.Wait()
		}
	}
	if l.closed {
		return false
	}
	l.open++
	return true
}

// evictLocked closes the connection that has been idle longest. False: none is idle.
func (l *Listener) evictLocked() bool {
	longest := l.conns.Front()
	if longest == l.busy {
		return false
	}
	victim := longest.Value.(*conn)
	victim.releaseLocked()
	// Not its own Close, which takes the lock. The server notices that the connection
	// is closed, and closes it again.
	_ = victim.Conn.Close()
	l.metrics.evicted.Inc()
	return true
}

func (l *Listener) logFull() {
	if skipped, ok := l.lines.Allow(time.Now()); ok {
		l.config.Logger.Warn("the listener has as many connections as it may have: idle ones are closed for new ones, and new ones wait while none is idle; if these are your own clients, raise the limit of open files (ulimit -n), or --max-connections if it is set",
			zap.Int("limit", l.config.Limit), zap.Int("times_since_last_line", skipped+1))
	}
}

// Close closes the listener, not its connections.
func (l *Listener) Close() error {
	l.mutex.Lock()
	l.closed = true
	l.changed.Broadcast()
	l.mutex.Unlock()
	return l.Listener.Close()
}

// ConnState tells the listener which connections are idle. It is for
// http.Server.ConnState; without it, none is ever idle. A connection that has not sent
// a request yet is idle, too.
func (l *Listener) ConnState(of net.Conn, state http.ConnState) {
	if wrapped, ok := of.(interface{ NetConn() net.Conn }); ok { // TLS
		of = wrapped.NetConn()
	}
	c, ok := of.(*conn)
	if !ok {
		return
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	switch {
	case c.released:
	case state == http.StateNew, state == http.StateIdle:
		l.conns.MoveBefore(c.place, l.busy)
		l.changed.Signal()
	default:
		l.conns.MoveToBack(c.place)
	}
}

// conn is a connection that counts.
type conn struct {
	net.Conn
	listener *Listener
	// place is where the connection is in Listener.conns.
	place *list.Element
	// released: the connection does not count any more.
	released bool
}

// Close closes the connection. It may be called more than once.
func (c *conn) Close() error {
	c.listener.mutex.Lock()
	c.releaseLocked()
	c.listener.mutex.Unlock()
	return c.Conn.Close()
}

func (c *conn) releaseLocked() {
	if !c.released {
		c.released = true
		c.listener.conns.Remove(c.place)
		c.listener.open--
		c.listener.changed.Signal()
	}
}
