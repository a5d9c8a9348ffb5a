package auth

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// lastWriteTimeout bounds a write that is in progress when the key is revoked: enough
// for a client that reads, so that its response does not break off in the middle.
const lastWriteTimeout = time.Second

// canceller ends one request when its key is no longer valid: it cancels the context,
// and makes reads of the body and writes of the response fail. The writers for Gin and
// for net/http share it.
type canceller struct {
	session *session
	cancel  context.CancelCauseFunc
	// response is the server's own writer.
	response http.ResponseWriter

	mutex sync.Mutex
	// cause is why the key is no longer valid, nil while it is.
	cause error
	// writes is the number of writes in progress.
	writes int
	// unread: the request has a body that was not read to its end.
	unread bool
	// wrote: the client got a status. finished: the handler has returned.
	wrote, finished bool
	// conn is the hijacked connection, nil if there is none.
	conn *watchedConn
}

// startCanceller watches the session's key, and gives the session a context that is
// cancelled when the key is no longer valid.
func (s *session) startCanceller(response http.ResponseWriter) *canceller {
	c := &canceller{session: s, response: response}
	s.Context, c.cancel = context.WithCancelCause(s.Context)
	s.startWatch(c.revoke)
	return c
}

// revoke is called when the key is no longer valid.
func (c *canceller) revoke(cause error) {
	c.mutex.Lock()
	conn := c.conn
	if c.finished && conn == nil {
		c.mutex.Unlock()
		return
	}
	c.cause = cause
	if c.writes > 0 && conn == nil {
		// The client may not be reading. A server without deadlines ends the write when
		// the client disconnects.
		c.setWriteDeadline(time.Now().Add(lastWriteTimeout))
	}
	if c.unread && conn == nil {
		// Neither the handler, which may wait for it, nor the server, which would wait for
		// the rest of the body before it responds, may read what the client sends now.
		c.stopReads()
	}
	c.mutex.Unlock()
	c.cancel(cause)
	if conn != nil {
		conn.abort()
	}
}

// beginWrite begins a write, or returns the cause if the key is no longer valid.
// status: the write sends a status if none was sent yet.
func (c *canceller) beginWrite(status bool) error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.cause != nil {
		return c.cause
	}
	c.writes++
	c.wrote = c.wrote || status
	return nil
}

// endWrite ends a write.
func (c *canceller) endWrite() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.writes--
	if c.cause != nil && c.writes == 0 && c.conn == nil {
		// The server still writes the end of the response, and may use the connection for
		// the next request.
		c.setWriteDeadline(time.Time{})
	}
}

// stopReads ends the read of the body that is in progress, and all later ones.
func (c *canceller) stopReads() {
	_ = http.NewResponseController(c.response).SetReadDeadline(time.Now())
}

func (c *canceller) setWriteDeadline(at time.Time) {
	_ = http.NewResponseController(c.response).SetWriteDeadline(at)
}

// finish is called when the handler has returned. It returns the cause if the client
// must get a refusal.
func (c *canceller) finish() error {
	c.mutex.Lock()
	c.finished = true
	hijacked := c.conn != nil
	cause := c.cause
	if c.wrote || hijacked {
		cause = nil
	}
	c.mutex.Unlock()
	if !hijacked {
		c.session.release()
	}
	c.cancel(nil)
	return cause
}

// hijack takes over the connection. From then on the connection is watched, not the
// handler.
func (c *canceller) hijack() (net.Conn, *bufio.ReadWriter, error) {
	if err := c.beginWrite(false); err != nil {
		return nil, nil, err
	}
	defer c.endWrite()
	inner, buffer, err := http.NewResponseController(c.response).Hijack()
	if err != nil {
		return nil, nil, err
	}
	conn := &watchedConn{Conn: inner, session: c.session}
	c.mutex.Lock()
	c.conn = conn
	revoked := c.cause != nil
	c.mutex.Unlock()
	if revoked {
		// The key was revoked before there was a connection to close.
		conn.abort()
	}
	return conn, buffer, nil
}

// watchBody returns the request with a body whose reads fail after a revocation: the
// handler must not act on what a client sends after it.
func (c *canceller) watchBody(r *http.Request) *http.Request {
	if r.Body == nil || r.Body == http.NoBody {
		return r
	}
	r.Body = watchedBody{r.Body, c}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.unread = true; c.cause != nil {
		c.stopReads()
	}
	return r
}

// watchedBody is the body of a request.
type watchedBody struct {
	io.ReadCloser
	canceller *canceller
}

func (b watchedBody) Read(data []byte) (int, error) {
	if cause := b.canceller.revoked(); cause != nil {
		return 0, cause
	}
	n, err := b.ReadCloser.Read(data)
	if cause := b.canceller.afterRead(err); cause != nil {
		return 0, cause // the data may have come after the revocation
	}
	return n, err
}

// revoked returns the cause, nil while the key is valid.
func (c *canceller) revoked() error { return c.afterRead(nil) }

// afterRead records the end of the body, and returns the cause, nil while the key is
// valid.
func (c *canceller) afterRead(err error) error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if err == io.EOF { //nolint:errorlint // the io.Reader contract
		c.unread = false
	}
	return c.cause
}

// closeNotify is for handlers that do not use the context, such as Gin's Stream.
func (c *canceller) closeNotify() <-chan bool {
	closed := make(chan bool, 1)
	context.AfterFunc(c.session.Context, func() { closed <- true })
	return closed
}

// watchedConn is a hijacked connection. It is watched until it is closed.
type watchedConn struct {
	net.Conn
	session *session
}

// Close closes the connection and ends the watch.
func (c *watchedConn) Close() error {
	c.session.release()
	return c.Conn.Close()
}

// NetConn returns the server's connection.
func (c *watchedConn) NetConn() net.Conn { return c.Conn }

// abort closes the TCP connection directly: TLS would first send a closing message, and
// wait for a client that does not read.
func (c *watchedConn) abort() {
	conn := c.Conn
	if layered, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = layered.NetConn()
	}
	_ = conn.Close()
}
