package extauthz

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime/pprof"
	"slices"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/mongotest"
)

// healthStatus returns the health status of a service; "" is the server.
func healthStatus(t *testing.T, conn *grpc.ClientConn, service string) (grpc_health_v1.HealthCheckResponse_ServingStatus, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	answer, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
	return answer.GetStatus(), err
}

const (
	serving    = grpc_health_v1.HealthCheckResponse_SERVING
	notServing = grpc_health_v1.HealthCheckResponse_NOT_SERVING
)

// TestHealth: the status is NOT_SERVING until the instance is live, and during the drain.
// Watches receive each change.
func TestHealth(t *testing.T) {
	t.Parallel()
	live := make(chan struct{})
	s := newServer(t, options{live: live})
	conn := serve(t, s)
	want := func(want grpc_health_v1.HealthCheckResponse_ServingStatus) {
		t.Helper()
		for _, service := range []string{"", "envoy.service.auth.v3.Authorization"} {
			if got, err := healthStatus(t, conn, service); err != nil || got != want {
				t.Errorf("%q: %v, %v, want %v", service, got, err, want)
			}
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	watch, err := grpc_health_v1.NewHealthClient(conn).Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	wantStatus := func(want grpc_health_v1.HealthCheckResponse_ServingStatus) {
		t.Helper()
		if got, err := watch.Recv(); err != nil || got.GetStatus() != want {
			t.Fatalf("got %v, %v, want %v", got, err, want)
		}
	}
	wantStatus(notServing)
	want(notServing)
	if _, err := healthStatus(t, conn, "somebody.else"); status.Code(err) != codes.NotFound {
		t.Errorf("an unknown service: %v", err)
	}
	close(live)
	wantStatus(serving)
	want(serving)
	s.Drain()
	wantStatus(notServing)
	want(notServing)
	if answer, err := authv3.NewAuthorizationClient(conn).Check(ctx, rawRequest("/a", "x-api-key", keyRoot)); err != nil || result(answer) != "VALID" {
		t.Errorf("during the drain: %v, %v", answer, err)
	}
}

// TestOnlyServeStartsWorkers: a daemon without a gRPC listener has no use for them. TestMain finds
// those that Close leaves behind.
func TestOnlyServeStartsWorkers(t *testing.T) {
	workers := func() int {
		var all strings.Builder
		if err := pprof.Lookup("goroutine").WriteTo(&all, 2); err != nil {
			t.Fatal(err)
		}
		return strings.Count(all.String(), "grpc.(*Server).serverWorker(")
	}
	s := newServer(t, options{})
	if n := workers(); n != 0 {
		t.Errorf("a server that does not serve has %d workers", n)
	}
	if got, err := healthStatus(t, serve(t, s), ""); err != nil {
		t.Fatal(got, err)
	}
	if n := workers(); n != streamWorkers {
		t.Errorf("got %d workers, want %d", n, streamWorkers)
	}
}

// TestDrainedIsFinal: an instance that becomes live after the drain does not
// serve.
func TestDrainedIsFinal(t *testing.T) {
	t.Parallel()
	live := make(chan struct{})
	s := newServer(t, options{live: live})
	s.Drain()
	s.setHealth(serving) // what Serve does once live
	if answer, err := s.health.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil || answer.GetStatus() != notServing {
		t.Errorf("got %v, %v, want NOT_SERVING", answer, err)
	}
}

func TestReflection(t *testing.T) {
	t.Parallel()
	conn := serve(t, newServer(t, options{reflection: true}))
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	stream, err := grpc_reflection_v1.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(r *grpc_reflection_v1.ServerReflectionRequest) *grpc_reflection_v1.ServerReflectionResponse {
		t.Helper()
		if err := stream.Send(r); err != nil {
			t.Fatal(err)
		}
		answer, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	var names []string
	for _, service := range ask(&grpc_reflection_v1.ServerReflectionRequest{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{}}).GetListServicesResponse().GetService() {
		names = append(names, service.GetName())
	}
	for _, name := range []string{"envoy.service.auth.v3.Authorization", "grpc.health.v1.Health"} {
		if !slices.Contains(names, name) {
			t.Errorf("%s is not in %q", name, names)
		}
	}
	files := ask(&grpc_reflection_v1.ServerReflectionRequest{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_FileContainingSymbol{
		FileContainingSymbol: "envoy.service.auth.v3.Authorization",
	}}).GetFileDescriptorResponse().GetFileDescriptorProto()
	if len(files) == 0 {
		t.Error("got no description of the service")
	}
}

// slow is a Validator that waits until it may answer.
type slow struct {
	fakeKeys
	asked chan struct{}
	may   chan struct{}
}

func (s slow) Validate(ctx context.Context, text string, req *apikey.Request) apikey.Verdict {
	close(s.asked)
	select {
	case <-s.may:
	case <-ctx.Done():
	}
	return s.fakeKeys.Validate(ctx, text, req)
}

// startBusyServer starts a server with a request in flight, a health watch and a reflection
// stream. None of these ends before the test ends it.
func startBusyServer(t *testing.T) (s *Server, addr string, validator slow, answered, served <-chan error) {
	t.Helper()
	validator = slow{newKeys(), make(chan struct{}), make(chan struct{})}
	s = newServer(t, options{validator: validator, reflection: true})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	end := make(chan error, 1)
	go func() { end <- s.Serve(l) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	watch, err := grpc_health_v1.NewHealthClient(conn).Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	describe, err := grpc_reflection_v1.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := describe.Send(&grpc_reflection_v1.ServerReflectionRequest{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{}}); err != nil {
		t.Fatal(err)
	}
	if _, err := describe.Recv(); err != nil {
		t.Fatal(err)
	}
	answers := make(chan error, 1)
	go func() {
		answer, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), rawRequest("/a", "x-api-key", keyRoot))
		if err == nil && result(answer) != "VALID" {
			err = errors.New(answer.String())
		}
		answers <- err
	}()
	receive(t, validator.asked)
	return s, l.Addr().String(), validator, answers, end
}

// receive receives from c, and fails the test after waitTimeout.
func receive[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case value := <-c:
		return value
	case <-time.After(waitTimeout):
		t.Fatal("received nothing")
		panic("unreachable")
	}
}

// TestShutdownLosesNoRequest: streams do not delay Shutdown.
func TestShutdownLosesNoRequest(t *testing.T) {
	t.Parallel()
	s, addr, validator, answered, served := startBusyServer(t)
	ended := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), waitTimeout)
		defer cancel()
		ended <- s.Shutdown(ctx)
	}()
	// Shutdown has begun when no client can connect any more.
	mongotest.Eventually(t, waitTimeout, func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	}, "the listener is closed")
	select {
	case err := <-ended:
		t.Errorf("Shutdown did not wait for the answer: %v", err)
	default:
	}
	close(validator.may)
	if err := receive(t, answered); err != nil {
		t.Errorf("the request in flight: %v", err)
	}
	if err := receive(t, ended); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if err := receive(t, served); err != nil {
		t.Errorf("Serve: %v", err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Errorf("second Shutdown: %v", err)
	}
	late, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(late); err != nil {
		t.Errorf("Serve after Shutdown: %v", err)
	}
}

// TestShutdownEnds: after its deadline, Shutdown closes the remaining connections.
func TestShutdownEnds(t *testing.T) {
	t.Parallel()
	s, _, _, answered, served := startBusyServer(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown: %v", err)
	}
	if err := receive(t, answered); err == nil {
		t.Error("the request in flight was answered")
	}
	if err := receive(t, served); err != nil {
		t.Errorf("Serve: %v", err)
	}
}

// TestLimits: headers of 100 KB get a verdict, a request over the limit gets an error, and
// neither affects the next one.
func TestLimits(t *testing.T) {
	t.Parallel()
	client := authv3.NewAuthorizationClient(serve(t, newServer(t, options{})))
	many := []string{"x-api-key", keyRoot}
	for range 100 {
		many = append(many, "x-bulk", strings.Repeat("x", 1000))
	}
	for name, test := range map[string]struct {
		ask  *authv3.CheckRequest
		want string
	}{
		"100 KB of headers":     {rawRequest("/a", many...), "VALID"},
		"a key of 100 KB":       {rawRequest("/a", "x-api-key", strings.Repeat("k", 100_000)), "MALFORMED"},
		"a cookie of 100 KB":    {rawRequest("/a", "cookie", strings.Repeat("k=v;", 25_000)), "MISSING"},
		"100 KB of commas":      {plainRequest("/a", map[string]string{"x-api-key": strings.Repeat(",", 100_000)}), "MALFORMED"},
		"100 KB of hops":        {rawRequest("/a", "x-api-key", keyRoot, "x-forwarded-for", strings.Repeat("10.0.0.1,", 11_000)), "VALID"},
		"a path of 100 KB":      {rawRequest("/"+strings.Repeat("a", 100_000), "x-api-key", keyRoot), "VALID"},
		"past the bound":        {rawRequest("/a", "x-api-key", keyRoot, "x-bulk", strings.Repeat("x", maxMessage)), ""},
		"and then a plain one":  {rawRequest("/a", "x-api-key", keyRoot), "VALID"},
		"10,000 headers, empty": {rawRequest("/a", append(slices.Repeat([]string{"a", ""}, 10_000), "x-api-key", keyRoot)...), "VALID"},
	} {
		answer, err := client.Check(t.Context(), test.ask)
		if test.want == "" {
			if status.Code(err) != codes.ResourceExhausted {
				t.Errorf("%s: %v, %v", name, answer, err)
			}
			continue
		}
		if err != nil || result(answer) != test.want {
			t.Errorf("%s: %.300v, %v", name, answer, err)
		}
	}
}

// TestMetadataIsBounded: the metadata of a call is limited.
func TestMetadataIsBounded(t *testing.T) {
	t.Parallel()
	client := authv3.NewAuthorizationClient(serve(t, newServer(t, options{})))
	ask := func(size int) error {
		_, err := client.Check(metadata.AppendToOutgoingContext(t.Context(), "x-bulk", strings.Repeat("x", size)), rawRequest("/a"))
		return err
	}
	// The client may send the first call before it has received the limit.
	for _, size := range []int{100, maxMetadata / 2} {
		if err := ask(size); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	if err := ask(2 * maxMetadata); err == nil {
		t.Error("a call over the limit was answered")
	}
}

// TestConnectionsAreBounded: a client that sends nothing, or pings endlessly, is
// disconnected.
func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	addr := serve(t, newServer(t, options{})).Target()
	const (
		preface  = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
		settings = "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
		ping     = "\x00\x00\x08\x06\x00\x00\x00\x00\x00eight by"
	)
	for name, test := range map[string]struct{ sent, want string }{
		"silence": {"", ""},
		"pings":   {preface + settings + strings.Repeat(ping, 10), "too_many_pings"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			if err := conn.SetDeadline(time.Now().Add(waitTimeout)); err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(conn, test.sent) // it may be cut before the end
			got, err := io.ReadAll(conn)
			if errors.Is(err, os.ErrDeadlineExceeded) || !strings.Contains(string(got), test.want) {
				t.Errorf("the connection is still open: got %q, %v", got, err)
			}
		})
	}
}

// TestPanicsOfOtherServices: they do not end the process, and responses and log contain
// nothing of the value.
func TestPanicsOfOtherServices(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.DebugLevel)
	s := newServer(t, options{logger: zap.New(core)})
	_, err := s.recoverUnary(t.Context(), nil, &grpc.UnaryServerInfo{FullMethod: "/a/b"}, func(context.Context, any) (any, error) { panic("a-secret") })
	if status.Code(err) != codes.Unavailable {
		t.Errorf("got %v, want Unavailable", err)
	}
	err = s.boundStream(nil, fakeStream{ctx: t.Context()}, &grpc.StreamServerInfo{FullMethod: "/a/b"}, func(any, grpc.ServerStream) error {
		none := make([]string, 0)
		_ = none[len(logs.All())]
		return nil
	})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("got %v, want Unavailable", err)
	}
	all := logs.All()
	if len(all) != 2 || all[0].ContextMap()["panic"] != "a value of type string" || !strings.Contains(all[1].ContextMap()["panic"].(string), "index out of range") {
		t.Errorf("got log %v", all)
	}
}

type fakeStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (f fakeStream) Context() context.Context { return f.ctx }

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	if _, err := New(Config{}); err == nil {
		t.Error("New without an authority: got no error")
	}
}
