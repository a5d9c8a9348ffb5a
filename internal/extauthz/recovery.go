package extauthz

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// errPanicked is what a client of health or reflection receives after a panic.
var errPanicked = status.Error(codes.Unavailable, "keytail failed because of a bug, see its log")

// errEnding ends streams that would never end.
var errEnding = status.Error(codes.Unavailable, "keytail is shutting down")

// recoverUnary prevents a panic from ending the process. gRPC does not do that.
func (s *Server) recoverUnary(ctx context.Context, in any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (out any, err error) {
	defer func() {
		if value := recover(); value != nil {
			s.panicked(info.FullMethod, value)
			out, err = nil, errPanicked
		}
	}()
	return next(ctx, in)
}

// boundStream does the same for streams, and ends them at Shutdown: a health
// watch or a reflection client ends whenever it likes, and GracefulStop would
// wait for it.
func (s *Server) boundStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	defer context.AfterFunc(s.ending, cancel)()
	defer func() {
		if value := recover(); value != nil {
			s.panicked(info.FullMethod, value)
			err = errPanicked
		}
	}()
	return next(srv, boundedStream{stream, ctx})
}

// boundedStream is a stream whose context may end before the client does.
type boundedStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context ends with the server, too.
func (b boundedStream) Context() context.Context { return b.ctx }

// RecvMsg waits for a message until the context ends. gRPC releases a receive
// that still waits as soon as the handler has returned.
func (b boundedStream) RecvMsg(into any) error {
	received := make(chan error, 1)
	go func() { received <- b.ServerStream.RecvMsg(into) }()
	select {
	case err := <-received:
		return err
	case <-b.ctx.Done():
		return errEnding
	}
}

// panicked logs where a panic happened. Of its value it logs what cannot come
// from a request: the runtime's own errors contain types and numbers only.
func (s *Server) panicked(method string, value any) {
	text := fmt.Sprintf("a value of type %T", value)
	if err, ok := value.(runtime.Error); ok {
		text = err.Error()
	}
	s.logger.Error("a handler panicked, which is a bug in keytail",
		zap.String("method", method), zap.String("panic", text), zap.ByteString("stack", debug.Stack()))
}
