package auth

import (
	"bufio"
	"io"
	"io/fs"
	"net"
	"net/http"

	"github.com/gin-gonic/gin"
)

// httpWriter is the ResponseWriter of net/http handlers with CancelOnRevocation. It is
// written by hand because felixge/httpsnoop, the library for this, would allocate a
// closure per method and request, and does not cover Gin's writer. A method that the
// server's writer does not support returns http.ErrNotSupported.
type httpWriter struct{ *canceller }

// Header implements http.ResponseWriter.
func (w httpWriter) Header() http.Header { return w.response.Header() }

// Unwrap is for http.ResponseController.
func (w httpWriter) Unwrap() http.ResponseWriter { return w.response }

// WriteHeader implements http.ResponseWriter.
func (w httpWriter) WriteHeader(status int) {
	if w.beginWrite(status >= http.StatusOK || status == http.StatusSwitchingProtocols) != nil {
		return
	}
	defer w.endWrite()
	w.response.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w httpWriter) Write(data []byte) (int, error) {
	if err := w.beginWrite(true); err != nil {
		return 0, err
	}
	defer w.endWrite()
	return w.response.Write(data)
}

// fileChunk is how many bytes of a file are sent between two checks of the key. A
// system call that sends 1 MiB makes the cost of a check invisible.
const fileChunk = 1 << 20

// ReadFrom implements io.ReaderFrom, so that io.Copy and http.ServeContent can send
// files without copying them through this process (sendfile). Other sources can block,
// so they go through Write, which checks the key before each write.
func (w httpWriter) ReadFrom(src io.Reader) (sent int64, err error) {
	to, ok := w.response.(io.ReaderFrom)
	file, limit := regularFile(src)
	if !ok || file == nil {
		return io.Copy(struct{ io.Writer }{w}, src)
	}
	for {
		// Package net uses sendfile for a file, and for a LimitedReader of one.
		chunk := &io.LimitedReader{R: file, N: fileChunk}
		if limit != nil {
			chunk.N = min(chunk.N, limit.N)
		}
		size := chunk.N
		n, err := w.readChunk(to, chunk)
		sent += n
		if limit != nil {
			limit.N -= n
		}
		if err != nil || n < size || limit != nil && limit.N <= 0 {
			return sent, err
		}
	}
}

func (w httpWriter) readChunk(to io.ReaderFrom, chunk io.Reader) (int64, error) {
	if err := w.beginWrite(true); err != nil {
		return 0, err
	}
	defer w.endWrite()
	return to.ReadFrom(chunk)
}

// regularFile returns the file that src is, or that it limits; nil if src is anything
// else.
func regularFile(src io.Reader) (file io.Reader, limit *io.LimitedReader) {
	limit, _ = src.(*io.LimitedReader)
	if limit != nil {
		src = limit.R
	}
	// Not *os.File: io.Copy passes a file in a wrapper that hides its WriteTo.
	stat, ok := src.(interface{ Stat() (fs.FileInfo, error) })
	if !ok {
		return nil, nil
	}
	if info, err := stat.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, nil
	}
	return src, limit
}

// Flush is for callers that do not use FlushError.
func (w httpWriter) Flush() { _ = w.FlushError() }

// FlushError is for http.ResponseController.
func (w httpWriter) FlushError() error {
	if err := w.beginWrite(true); err != nil {
		return err
	}
	defer w.endWrite()
	return http.NewResponseController(w.response).Flush()
}

// Hijack implements http.Hijacker.
func (w httpWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) { return w.hijack() }

// CloseNotify implements http.CloseNotifier.
func (w httpWriter) CloseNotify() <-chan bool { return w.closeNotify() }

// serveHTTP calls a handler and ends its request when the key is no longer valid.
func (s *session) serveHTTP(w http.ResponseWriter, r *http.Request, next http.Handler) {
	c := s.startCanceller(w)
	returned := false
	defer func() {
		// After a panic the response is up to the code that recovers.
		if cause := c.finish(); cause != nil && returned {
			s.gate.refuse(w, r, s.gate.refusalFor(cause))
		}
	}()
	next.ServeHTTP(httpWriter{c}, c.watchBody(s.attach(r)))
	returned = true
}

// ginWriter is the ResponseWriter of Gin handlers with CancelOnRevocation. Gin's own
// writer has no ReadFrom, since it counts the bytes, so neither has this one.
type ginWriter struct {
	gin.ResponseWriter
	*canceller
}

// Unwrap is for http.ResponseController.
func (w ginWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeaderNow implements gin.ResponseWriter.
func (w ginWriter) WriteHeaderNow() {
	if w.beginWrite(true) != nil {
		return
	}
	defer w.endWrite()
	w.ResponseWriter.WriteHeaderNow()
}

// Write implements http.ResponseWriter.
func (w ginWriter) Write(data []byte) (int, error) {
	if err := w.beginWrite(true); err != nil {
		return 0, err
	}
	defer w.endWrite()
	return w.ResponseWriter.Write(data)
}

// WriteString implements io.StringWriter.
func (w ginWriter) WriteString(text string) (int, error) {
	if err := w.beginWrite(true); err != nil {
		return 0, err
	}
	defer w.endWrite()
	return w.ResponseWriter.WriteString(text)
}

// Flush implements http.Flusher.
func (w ginWriter) Flush() {
	if w.beginWrite(true) != nil {
		return
	}
	defer w.endWrite()
	w.ResponseWriter.Flush()
}

// Hijack implements http.Hijacker.
func (w ginWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) { return w.hijack() }

// CloseNotify implements http.CloseNotifier.
func (w ginWriter) CloseNotify() <-chan bool { return w.closeNotify() }

// serveGin calls the rest of the chain and ends its request when the key is no longer
// valid.
func (s *session) serveGin(g *gin.Context) {
	writer := g.Writer
	c := s.startCanceller(writer)
	returned := false
	defer func() {
		g.Writer = writer
		// As in serveHTTP.
		if cause := c.finish(); cause != nil && returned {
			s.gate.refuseGin(g, s.gate.refusalFor(cause))
		}
	}()
	g.Writer = ginWriter{writer, c}
	s.attachGin(g)
	g.Request = c.watchBody(g.Request)
	g.Next()
	returned = true
}
