package auth

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
)

// lastWrite is how long a write may take that is under way when the key ends: enough
// for a client that reads, so that what it gets ends as it should.
const lastWrite = time.Second

// cutter makes what a handler reads of its request, and what it writes, fail when its
// key has ended. It is what Gin's and net/http's writers have in common.
type cutter struct {
	session *session
	cancel  context.CancelCauseFunc
	// answer is the server's own writer.
	answer http.ResponseWriter

	mutex sync.Mutex
	// cause is why the key has ended.
	cause error
	// writing is how many writes are under way.
	writing int
	// unread: the request has a body that has not been read to its end.
	unread bool
	// wrote: the client has got a status. finished: the handler has returned.
	wrote, finished bool
	// conn is set when the connection was hijacked.
	conn *cutConn
}

// begin begins to watch the session's key, and gives it a context that ends with it.
func (s *session) begin(answer http.ResponseWriter) *cutter {
	c := &cutter{session: s, answer: answer}
	s.Context, c.cancel = context.WithCancelCause(s.Context)
	s.watched(c.end)
	return c
}

// end is called when the key has ended.
func (c *cutter) end(cause error) {
	c.mutex.Lock()
	conn := c.conn
	if c.finished && conn == nil {
		c.mutex.Unlock()
		return
	}
	c.cause = cause
	if c.writing > 0 && conn == nil {
		// The client may not be reading. A server that knows no deadlines ends the write
		// when the client is gone.
		c.deadline(time.Now().Add(lastWrite))
	}
	if c.unread && conn == nil {
		// What the client sends from here on is nobody's any more: not the handler's, who
		// may be waiting for it, and not the server's, which would wait for the rest of it
		// before it answers.
		c.readNoMore()
	}
	c.mutex.Unlock()
	c.cancel(cause)
	if conn != nil {
		conn.cut()
	}
}

// enter begins a write, unless the key has ended. says: the client gets a status by
// it, if it has none yet.
func (c *cutter) enter(says bool) error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.cause != nil {
		return c.cause
	}
	c.writing++
	c.wrote = c.wrote || says
	return nil
}

func (c *cutter) leave() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.writing--
	if c.cause != nil && c.writing == 0 && c.conn == nil {
		// The end of the answer is still to be written, and the connection may be used
		// for the next one.
		c.deadline(time.Time{})
	}
}

// readNoMore ends the read of the body that is under way, and all that come.
func (c *cutter) readNoMore() {
	_ = http.NewResponseController(c.answer).SetReadDeadline(time.Now())
}

func (c *cutter) deadline(at time.Time) {
	_ = http.NewResponseController(c.answer).SetWriteDeadline(at)
}

// finish is called when the handler has returned, and returns the cause if the
// client has to be told of it.
func (c *cutter) finish() error {
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

// hijack takes the connection over: from here on it is what is cut.
func (c *cutter) hijack() (net.Conn, *bufio.ReadWriter, error) {
	if err := c.enter(false); err != nil {
		return nil, nil, err
	}
	defer c.leave()
	conn, buffer, err := http.NewResponseController(c.answer).Hijack()
	if err != nil {
		return nil, nil, err
	}
	cut := &cutConn{Conn: conn, session: c.session}
	c.mutex.Lock()
	c.conn = cut
	ended := c.cause != nil
	c.mutex.Unlock()
	if ended {
		// It has ended in between, when there was no connection to close yet.
		cut.cut()
	}
	return cut, buffer, nil
}

// guard is the request with a body that ends with the key: whoever obeys what comes in
// by it must not go on to.
func (c *cutter) guard(r *http.Request) *http.Request {
	if r.Body == nil || r.Body == http.NoBody {
		return r
	}
	r.Body = cutBody{r.Body, c}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.unread = true; c.cause != nil {
		c.readNoMore()
	}
	return r
}

// cutBody is the body of a request.
type cutBody struct {
	io.ReadCloser
	cutter *cutter
}

func (b cutBody) Read(data []byte) (int, error) {
	if cause := b.cutter.ended(); cause != nil {
		return 0, cause
	}
	n, err := b.ReadCloser.Read(data)
	if cause := b.cutter.read(err); cause != nil {
		return 0, cause // it may have come after the end
	}
	return n, err
}

// ended is the cause, nil if the key has not ended.
func (c *cutter) ended() error { return c.read(nil) }

// read takes note of how a read of the body came out, and returns the cause if the
// key has ended.
func (c *cutter) read(err error) error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if err == io.EOF { //nolint:errorlint // the io.Reader contract
		c.unread = false
	}
	return c.cause
}

// closeNotify is for those that have not heard of contexts, such as Gin's Stream.
func (c *cutter) closeNotify() <-chan bool {
	gone := make(chan bool, 1)
	context.AfterFunc(c.session.Context, func() { gone <- true })
	return gone
}

// cutConn is a hijacked connection, which is watched as long as it is open.
type cutConn struct {
	net.Conn
	session *session
}

// Close closes the connection and ends the watch.
func (c *cutConn) Close() error {
	c.session.release()
	return c.Conn.Close()
}

// NetConn is the connection itself.
func (c *cutConn) NetConn() net.Conn { return c.Conn }

// cut closes the connection for good. TLS would say goodbye first, and wait for a
// client that does not read.
func (c *cutConn) cut() {
	conn := c.Conn
	if layered, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = layered.NetConn()
	}
	_ = conn.Close()
}

// httpWriter is the ResponseWriter of net/http handlers.
type httpWriter struct{ *cutter }

func (w httpWriter) Header() http.Header { return w.answer.Header() }

// Unwrap is for http.ResponseController.
func (w httpWriter) Unwrap() http.ResponseWriter { return w.answer }

func (w httpWriter) WriteHeader(status int) {
	if w.enter(status >= http.StatusOK || status == http.StatusSwitchingProtocols) != nil {
		return
	}
	defer w.leave()
	w.answer.WriteHeader(status)
}

func (w httpWriter) Write(data []byte) (int, error) {
	if err := w.enter(true); err != nil {
		return 0, err
	}
	defer w.leave()
	return w.answer.Write(data)
}

// Flush is for those who do not know FlushError.
func (w httpWriter) Flush() { _ = w.FlushError() }

// FlushError is what http.ResponseController calls.
func (w httpWriter) FlushError() error {
	if err := w.enter(true); err != nil {
		return err
	}
	defer w.leave()
	return http.NewResponseController(w.answer).Flush()
}

func (w httpWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) { return w.hijack() }

func (w httpWriter) CloseNotify() <-chan bool { return w.closeNotify() }

func (s *session) serveHTTP(w http.ResponseWriter, r *http.Request, next http.Handler) {
	c := s.begin(w)
	returned := false
	defer func() {
		// A handler that panics is answered for by whoever recovers.
		if cause := c.finish(); cause != nil && returned {
			s.gate.refuse(w, r, s.gate.ended(cause))
		}
	}()
	next.ServeHTTP(httpWriter{c}, c.guard(s.attach(r)))
	returned = true
}

// ginWriter is the ResponseWriter of Gin handlers.
type ginWriter struct {
	gin.ResponseWriter
	*cutter
}

// Unwrap is for http.ResponseController.
func (w ginWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w ginWriter) WriteHeaderNow() {
	if w.enter(true) != nil {
		return
	}
	defer w.leave()
	w.ResponseWriter.WriteHeaderNow()
}

func (w ginWriter) Write(data []byte) (int, error) {
	if err := w.enter(true); err != nil {
		return 0, err
	}
	defer w.leave()
	return w.ResponseWriter.Write(data)
}

func (w ginWriter) WriteString(text string) (int, error) {
	if err := w.enter(true); err != nil {
		return 0, err
	}
	defer w.leave()
	return w.ResponseWriter.WriteString(text)
}

// Flush is Gin's, and no more when the key has ended.
func (w ginWriter) Flush() {
	if w.enter(true) != nil {
		return
	}
	defer w.leave()
	w.ResponseWriter.Flush()
}

func (w ginWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) { return w.hijack() }

func (w ginWriter) CloseNotify() <-chan bool { return w.closeNotify() }

func (s *session) serveGin(c *gin.Context) {
	writer := c.Writer
	cut := s.begin(writer)
	returned := false
	defer func() {
		c.Writer = writer
		// As in serveHTTP.
		if cause := cut.finish(); cause != nil && returned {
			s.gate.refuseGin(c, s.gate.ended(cause))
		}
	}()
	c.Writer = ginWriter{writer, cut}
	c.Request = cut.guard(s.attach(c.Request))
	c.Next()
	returned = true
}
