package extauthz

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/instrument"
	"github.com/keytail/keytail/internal/serverspan"
)

const (
	// maxMessage bounds a request, in bytes. Envoy allows 60 KiB of headers
	// unless configured otherwise; a larger message is an error, which does not
	// allow a request.
	maxMessage = 256 << 10
	// maxMetadata bounds the metadata of a gRPC request, in bytes: timeout, user
	// agent, trace.
	maxMetadata = 16 << 10
	// maxStreams bounds the requests in flight on one connection. Envoy has a
	// connection for each of its threads, and opens another one if this is not
	// enough.
	maxStreams = 1000
	// handshakeTimeout: a connection begins with a few packets; a peer that takes
	// longer blocks it deliberately.
	handshakeTimeout = 5 * time.Second
	// minPing is the shortest interval between pings of a client. Envoy's
	// examples have 30 s.
	minPing = 5 * time.Second
	// pingAfter and pingTimeout find connections whose other end has disappeared.
	pingAfter   = time.Minute
	pingTimeout = 20 * time.Second
	// maxIdle closes connections without a call, so that idle clients do not use up
	// the connections of the listener.
	maxIdle = 5 * time.Minute

	// streamWorkers goroutines take the calls, one after the other, so that most calls find a
	// stack that is large enough: growing one is about a tenth of the CPU time of a check. A call
	// that finds all of them busy gets a goroutine of its own, so they limit nothing.
	streamWorkers = 16

	// DefaultCallTimeout is as long as a request over HTTP may take: two reads of the
	// database. Envoy waits 200 ms unless configured otherwise.
	DefaultCallTimeout = 20 * time.Second
	// DefaultMaxConnectionAge is rare enough to cost nothing, and soon enough for a
	// fleet behind a load balancer of connections to spread over new instances.
	DefaultMaxConnectionAge = 30 * time.Minute
)

// statuses are those that Check answers a client with: 404 is a policy that does not
// exist, and 503 includes a panic.
var statuses = []int{200, 400, 401, 403, 404, 503}

// Config of a Server.
type Config struct {
	// Authority decides. Required.
	Authority *forwardauth.Authority
	// HideCredentials removes the key from allowed requests before Envoy forwards
	// them.
	HideCredentials bool
	// Reflection serves the description of the services to everyone who connects.
	Reflection bool
	// CallTimeout bounds a call from its first byte to the end of its response, so
	// that a call of which only a part is sent is not held. Zero: DefaultCallTimeout.
	CallTimeout time.Duration
	// MaxConnectionAge is the age at which the server asks a client to connect again
	// (GOAWAY, which loses no call). After CallTimeout more it closes the connection,
	// and ends streams of health and reflection with it. Zero: DefaultMaxConnectionAge.
	MaxConnectionAge time.Duration
	// Live is closed once keytail can validate keys: from then on health reports
	// SERVING. Required.
	Live <-chan struct{}
	// Tracer begins the spans of checks. Nil: tracing is off.
	Tracer *serverspan.Tracer
	// Requests measures checks. Nil: they are not measured.
	Requests *instrument.Requests
	// Logger gets panics, and a line for each request at debug level. Nil: none.
	Logger *zap.Logger
}

// Server is the gRPC server with all its services.
type Server struct {
	authv3.UnimplementedAuthorizationServer

	authority       *forwardauth.Authority
	hideCredentials bool
	// readsQuery: a query parameter is among the key sources.
	readsQuery bool
	// keyHeaders are the headers from which a key is read.
	keyHeaders []string
	live       <-chan struct{}
	checks     *instrument.Route
	tracer     *serverspan.Tracer // nil: off
	logger     *zap.Logger
	calls      Calls

	// grpc makes the server of gRPC when it is needed first, as that starts its workers.
	grpc   func() *grpc.Server
	health *health.Server
	// ending ends streams that would never end.
	ending context.Context
	end    context.CancelFunc
}

// New makes a Server. It does not listen and starts nothing.
func New(config Config) (*Server, error) {
	if config.Authority == nil || config.Live == nil {
		return nil, errors.New("extauthz: Config needs Authority and Live")
	}
	s := &Server{
		authority: config.Authority, tracer: config.Tracer, hideCredentials: config.HideCredentials, live: config.Live,
		checks: config.Requests.Route(authv3.Authorization_Check_FullMethodName, statuses...),
		logger: zap.NewNop(), calls: unlimited{}, health: health.NewServer(),
	}
	s.ending, s.end = context.WithCancel(context.Background())
	if config.Logger != nil {
		s.logger = config.Logger.Named("extauthz")
	}
	s.readsQuery, s.keyHeaders = forwardauth.ReadQuery(s.authority.Sources()), forwardauth.HeaderNames(s.authority.Sources())
	s.setHealth(grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	s.grpc = sync.OnceValue(func() *grpc.Server { return s.newGRPC(config) })
	return s, nil
}

// newGRPC makes the server of gRPC with all its services. Its Stop ends its workers.
func (s *Server) newGRPC(config Config) *grpc.Server {
	server := grpc.NewServer(s.options(config)...)
	authv3.RegisterAuthorizationServer(server, s)
	grpc_health_v1.RegisterHealthServer(server, s.health)
	if config.Reflection {
		reflection.Register(server)
	}
	return server
}

// options have a limit for everything that a client can prolong.
func (s *Server) options(config Config) []grpc.ServerOption {
	callTimeout := cmp.Or(config.CallTimeout, DefaultCallTimeout)
	return []grpc.ServerOption{
		grpc.NumStreamWorkers(streamWorkers), // experimental: without it, checks only take longer
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxHeaderListSize(maxMetadata),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.InTapHandle(s.boundCall(callTimeout)),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: pingAfter, Timeout: pingTimeout, MaxConnectionIdle: maxIdle,
			MaxConnectionAge:      cmp.Or(config.MaxConnectionAge, DefaultMaxConnectionAge),
			MaxConnectionAgeGrace: callTimeout,
		}),
		grpc.UnaryInterceptor(s.recoverUnary),
		grpc.StreamInterceptor(s.boundStream),
	}
}

// Limit bounds the calls and streams that are in progress at a time. Call it before Serve.
func (s *Server) Limit(calls Calls) { s.calls = calls }

// Calls counts the calls in progress. Many goroutines call its methods concurrently.
type Calls interface {
	// BeginRequest reports whether another call may begin. If so, EndRequest follows.
	BeginRequest() bool
	EndRequest()
}

// unlimited lets every call begin.
type unlimited struct{}

func (unlimited) BeginRequest() bool { return true }
func (unlimited) EndRequest()        {}

var errBusy = status.Error(codes.ResourceExhausted, "keytail has as many calls in progress as it may have, try again")

// boundCall counts each call, and gives it a deadline that begins with its headers. An
// interceptor would be too late: gRPC calls it when the message has arrived, which a client
// can delay for ever. Health watches and reflection are streams that stay open; they end
// with their connection.
func (s *Server) boundCall(timeout time.Duration) tap.ServerInHandle {
	return func(ctx context.Context, call *tap.Info) (context.Context, error) {
		if !s.calls.BeginRequest() {
			return ctx, errBusy
		}
		bounded, cancel := ctx, func() {}
		switch call.FullMethodName {
		case authv3.Authorization_Check_FullMethodName, grpc_health_v1.Health_Check_FullMethodName, grpc_health_v1.Health_List_FullMethodName:
			bounded, cancel = context.WithTimeout(ctx, timeout)
		}
		context.AfterFunc(ctx, func() { // gRPC ends ctx with the call
			cancel()
			s.calls.EndRequest()
		})
		return bounded, nil
	}
}

// setHealth sets the health of the server, and of the authorization service.
func (s *Server) setHealth(status grpc_health_v1.HealthCheckResponse_ServingStatus) {
	s.health.SetServingStatus("", status)
	s.health.SetServingStatus(authv3.Authorization_ServiceDesc.ServiceName, status)
}

// Serve serves l until Shutdown, and then returns nil.
func (s *Server) Serve(l net.Listener) error {
	served := make(chan struct{})
	waited := make(chan struct{})
	go func() {
		defer close(waited)
		select {
		case <-s.live:
			s.setHealth(grpc_health_v1.HealthCheckResponse_SERVING)
		case <-served:
		}
	}()
	err := s.grpc().Serve(l)
	close(served)
	<-waited
	if errors.Is(err, grpc.ErrServerStopped) {
		return nil // Shutdown came first
	}
	return err
}

// Drain makes health report NOT_SERVING permanently. Requests are answered as
// before.
func (s *Server) Drain() { s.health.Shutdown() }

// Shutdown closes the listener, requests clients to leave (GOAWAY, which loses
// no request) and waits for responses in flight until ctx ends. It then closes
// the remaining connections, and returns an error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.Drain()
	s.end()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		s.grpc().GracefulStop()
	}()
	select {
	case <-stopped:
		return nil
	case <-ctx.Done():
	}
	s.grpc().Stop()
	<-stopped
	return fmt.Errorf("the gRPC server was stopped with requests in flight: %w", ctx.Err())
}

// Close closes all connections immediately.
func (s *Server) Close() error {
	s.grpc().Stop()
	return nil
}
