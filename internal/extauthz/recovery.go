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

// errPanicked is what a caller of health or reflection sees of a bug.
var errPanicked = status.Error(codes.Unavailable, "keytail failed because of a bug, see its log")

// errEnding ends streams that would last for ever.
var errEnding = status.Error(codes.Unavailable, "keytail shuts down")

// recoverUnary keeps a panic from ending the process, which gRPC does not do.
func (s *Server) recoverUnary(ctx context.Context, in any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (out any, err error) {
	defer func() {
		if value := recover(); value != nil {
			s.panicked(info.FullMethod, value)
			out, err = nil, errPanicked
		}
	}()
	return next(ctx, in)
}

// boundStream does the same for streams, and lets none outlive Shutdown: a watch of
// the health and a client of the reflection end when they like, and GracefulStop
// would wait for them.
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

// boundedStream is a stream with a context that may end before the client does.
type boundedStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context ends with the server, too.
func (b boundedStream) Context() context.Context { return b.ctx }

// RecvMsg waits for a message until the context ends. What still waits then is let
// go by gRPC as soon as the handler has returned.
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

// panicked logs where a panic was. Of its value it says what cannot have come from
// a request: the runtime's own errors hold types and numbers only.
func (s *Server) panicked(method string, value any) {
	text := fmt.Sprintf("a value of type %T", value)
	if err, ok := value.(runtime.Error); ok {
		text = err.Error()
	}
	s.logger.Error("a handler panicked, which is a bug in keytail",
		zap.String("method", method), zap.String("panic", text), zap.ByteString("stack", debug.Stack()))
}
