package devmongo

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.uber.org/zap"
)

var (
	errShutdown     = refuse(codeInterruptedAtShutdown, "interrupted at shutdown")
	errTimeout      = refuse(codeMaxTimeMSExpired, "operation exceeded time limit")
	errDisconnected = refuse(279, "the client closed the connection")
)

// conn is one client connection. Its commands run one after the other.
type conn struct {
	s  *Server
	nc net.Conn
	id int32
	// appName comes with the first hello and is guarded by the server's lock.
	appName string
	// replaced is set when Restore replaces the process that served the
	// connection. It is guarded by the server's lock.
	replaced bool
}

func (s *Server) addConn(nc net.Conn) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastConn++
	c := &conn{s: s, nc: nc, id: s.lastConn}
	s.conns[c] = struct{}{}
	return c
}

func (s *Server) removeConn(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// serve answers until either side closes the connection. A second goroutine reads
// ahead, so that a waiting command learns that its client has disconnected.
func (c *conn) serve(ctx context.Context) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(ctx, func() { _ = c.nc.Close() })
	defer stop()
	requests := make(chan *request)
	var reader sync.WaitGroup
	reader.Go(func() {
		defer close(requests)
		c.read(ctx, requests)
		cancel(errDisconnected)
	})
	for req := range requests {
		if err := c.answer(ctx, req); err != nil {
			break
		}
	}
	cancel(errDisconnected)
	_ = c.nc.Close() // ends the reader
	reader.Wait()
	c.s.removeConn(c)
}

func (c *conn) read(ctx context.Context, out chan<- *request) {
	r := bufio.NewReader(c.nc)
	for {
		req, err := readMessage(r)
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				c.s.log.Debug("closed a connection", zap.Int32("connection_id", c.id), zap.Error(err))
			}
			return
		}
		select {
		case out <- req:
		case <-ctx.Done():
			return
		}
	}
}

// errHangUp makes answer close the connection instead of replying.
var errHangUp = errors.New("a failpoint closes the connection")

func (c *conn) answer(ctx context.Context, req *request) error {
	if !c.reachable(ctx) {
		return nil
	}
	reply, err := c.execute(ctx, req)
	if errors.Is(err, errHangUp) {
		return err
	}
	if len(req.body) > 0 {
		c.delayReply(ctx, req.body[0].Key)
	}
	if req.silent || !c.reachable(ctx) {
		return nil
	}
	message, err := compose(req, reply)
	if err != nil {
		return err
	}
	_, err = c.nc.Write(message)
	return err
}

// reachable waits while the connection is frozen. It is false in a black hole.
func (c *conn) reachable(ctx context.Context) bool {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	_ = c.s.await(ctx, func() bool { return c.s.networkFault(c) != netFrozen })
	return c.s.networkFault(c) == netHealthy
}

func (c *conn) execute(ctx context.Context, req *request) (bson.D, error) {
	if req.err != nil {
		return asError(req.err).reply(), nil
	}
	return c.s.execute(ctx, c, req)
}
