package extauthz

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
)

// halfCall sends the headers of a call and nothing else, and returns its error.
func halfCall(t *testing.T, conn *grpc.ClientConn) <-chan error {
	t.Helper()
	stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true}, authv3.Authorization_Check_FullMethodName)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- stream.RecvMsg(&authv3.CheckResponse{}) }()
	return ended
}

// TestHalfSentCallsEnd: calls whose message never comes do not stay open, and the
// connection still answers others.
func TestHalfSentCallsEnd(t *testing.T) {
	t.Parallel()
	conn := serve(t, newServer(t, options{callTimeout: 50 * time.Millisecond}))
	calls := make([]<-chan error, 500)
	for i := range calls {
		calls[i] = halfCall(t, conn)
	}
	for _, ended := range calls {
		if err := receive(t, ended); status.Code(err) != codes.DeadlineExceeded {
			t.Fatalf("got %v, want DeadlineExceeded", err)
		}
	}
	mustAnswer(t, conn)
}

// mustAnswer fails the test if a call is not answered. The limits of these tests are so short
// that a busy machine can exceed them, so it tries again.
func mustAnswer(t *testing.T, conn *grpc.ClientConn) {
	t.Helper()
	for began := time.Now(); ; {
		answer, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), rawRequest("/a", "x-api-key", keyRoot), grpc.WaitForReady(true))
		if code := status.Code(err); (code == codes.DeadlineExceeded || code == codes.Unavailable) && time.Since(began) < waitTimeout {
			continue
		}
		if err != nil || result(answer) != "VALID" {
			t.Errorf("the next call: %v, %v", answer, err)
		}
		return
	}
}

// few lets two calls begin, and is told of each that has ended.
type few struct {
	open  atomic.Int64
	ended chan struct{}
}

func (f *few) BeginRequest() bool {
	if f.open.Add(1) <= 2 {
		return true
	}
	f.open.Add(-1)
	return false
}

func (f *few) EndRequest() {
	f.open.Add(-1)
	f.ended <- struct{}{}
}

// TestCallsInProgressAreBounded: half-sent ones, of which a connection may have a thousand,
// would need more memory than there is.
func TestCallsInProgressAreBounded(t *testing.T) {
	t.Parallel()
	s := newServer(t, options{})
	calls := &few{ended: make(chan struct{}, 10)}
	s.Limit(calls)
	conn := serve(t, s)
	ctx, leave := context.WithCancel(t.Context())
	for range 2 {
		stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, authv3.Authorization_Check_FullMethodName)
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = stream.RecvMsg(&authv3.CheckResponse{}) }()
	}
	check := func() error {
		_, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), rawRequest("/a", "x-api-key", keyRoot))
		return err
	}
	if err := check(); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a third call: %v", err)
	}
	leave()
	receive(t, calls.ended)
	receive(t, calls.ended)
	if err := check(); err != nil {
		t.Errorf("a call afterwards: %v", err)
	}
}

// TestStreamsOutliveTheCallTimeout: a health watch is not a call that is half sent.
func TestStreamsOutliveTheCallTimeout(t *testing.T) {
	t.Parallel()
	s := newServer(t, options{callTimeout: 10 * time.Millisecond})
	conn := serve(t, s)
	watch, err := grpc_health_v1.NewHealthClient(conn).Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	next := func(want grpc_health_v1.HealthCheckResponse_ServingStatus) {
		t.Helper()
		for {
			switch answer, err := watch.Recv(); {
			case err != nil:
				t.Fatal(err)
			case answer.GetStatus() == want:
				return
			}
		}
	}
	next(serving)
	if err := receive(t, halfCall(t, conn)); status.Code(err) != codes.DeadlineExceeded { // the timeout of a later call has passed
		t.Errorf("a call that is half sent: %v", err)
	}
	s.Drain()
	next(notServing)
}

// TestOldConnectionsEnd with what is still open on them, and a client that wants to
// continue connects again.
func TestOldConnectionsEnd(t *testing.T) {
	t.Parallel()
	conn := serve(t, newServer(t, options{callTimeout: 50 * time.Millisecond, maxAge: 50 * time.Millisecond}))
	watch, err := grpc_health_v1.NewHealthClient(conn).Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		for {
			if _, err := watch.Recv(); err != nil {
				ended <- err
				return
			}
		}
	}()
	if err := receive(t, ended); status.Code(err) != codes.Unavailable {
		t.Errorf("got %v, want Unavailable", err)
	}
	mustAnswer(t, conn)
}

// TestReflectionIsOffByDefault: a stranger is not told what there is to call.
func TestReflectionIsOffByDefault(t *testing.T) {
	t.Parallel()
	stream, err := grpc_reflection_v1.NewServerReflectionClient(serve(t, newServer(t, options{}))).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Unimplemented {
		t.Errorf("got %v, want Unimplemented", err)
	}
}
