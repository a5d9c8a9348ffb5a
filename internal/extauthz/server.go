package extauthz

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/keytail/keytail/internal/forwardauth"
)

const (
	// maxMessage bounds a question, in bytes. Envoy lets a request's headers be
	// 60 KiB unless it is told otherwise; past this bound a question is an error,
	// which Envoy does not take for a yes.
	maxMessage = 256 << 10
	// maxMetadata bounds what the gRPC request says about itself, in bytes: time-out,
	// user agent, trace.
	maxMetadata = 16 << 10
	// maxStreams bounds what one connection may have under way. Envoy has a connection
	// for each of its threads, and opens another one when this is not enough.
	maxStreams = 1000
	// handshakeTimeout: the beginning of a connection is a few packets; who takes
	// longer holds it on purpose.
	handshakeTimeout = 5 * time.Second
	// minPing is how often a client may ping without being cut. Envoy's examples have
	// 30 s.
	minPing = 5 * time.Second
	// pingAfter and pingTimeout find connections whose other end is gone without a
	// word.
	pingAfter   = time.Minute
	pingTimeout = 20 * time.Second
)

// Config of a Server.
type Config struct {
	// Authority answers. Required.
	Authority *forwardauth.Authority
	// HideCredentials takes the key out of requests that are allowed, before they go
	// upstream.
	HideCredentials bool
	// Live is closed once keys can be answered: from then on health says SERVING.
	// Required.
	Live <-chan struct{}
	// Logger gets a line for each question at debug level, and panics. Nil: none.
	Logger *zap.Logger
}

// Server is the gRPC server with all its services.
type Server struct {
	authv3.UnimplementedAuthorizationServer

	authority *forwardauth.Authority
	hides     bool
	// queries: a query parameter is among the key sources.
	queries bool
	live    <-chan struct{}
	logger  *zap.Logger

	grpc   *grpc.Server
	health *health.Server
	// ending ends when streams have to, which would last for ever.
	ending context.Context
	end    context.CancelFunc
}

// New makes a Server. It listens to nothing and starts nothing.
func New(config Config) (*Server, error) {
	if config.Authority == nil || config.Live == nil {
		return nil, errors.New("extauthz: an authority and a channel for the first live are needed")
	}
	s := &Server{
		authority: config.Authority, hides: config.HideCredentials, live: config.Live,
		logger: zap.NewNop(), health: health.NewServer(),
	}
	s.ending, s.end = context.WithCancel(context.Background())
	if config.Logger != nil {
		s.logger = config.Logger.Named("extauthz")
	}
	for _, source := range s.authority.Sources() {
		s.queries = s.queries || strings.HasPrefix(source.String(), "query:")
	}
	s.say(grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	s.grpc = grpc.NewServer(
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxHeaderListSize(maxMetadata),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingAfter, Timeout: pingTimeout}),
		grpc.UnaryInterceptor(s.recoverUnary),
		grpc.StreamInterceptor(s.boundStream),
	)
	authv3.RegisterAuthorizationServer(s.grpc, s)
	grpc_health_v1.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)
	return s, nil
}

// say sets what health answers about the server, and about the one service that
// matters.
func (s *Server) say(status grpc_health_v1.HealthCheckResponse_ServingStatus) {
	s.health.SetServingStatus("", status)
	s.health.SetServingStatus(authv3.Authorization_ServiceDesc.ServiceName, status)
}

// Serve answers on l until Shutdown, and returns nil then.
func (s *Server) Serve(l net.Listener) error {
	served := make(chan struct{})
	waited := make(chan struct{})
	go func() {
		defer close(waited)
		select {
		case <-s.live:
			s.say(grpc_health_v1.HealthCheckResponse_SERVING)
		case <-served:
		}
	}()
	err := s.grpc.Serve(l)
	close(served)
	<-waited
	if errors.Is(err, grpc.ErrServerStopped) {
		return nil // Shutdown was faster
	}
	return err
}

// Drain makes health say NOT_SERVING from now on, whatever happens. Questions are
// answered as before.
func (s *Server) Drain() { s.health.Shutdown() }

// Shutdown closes the listener, asks clients to leave (GOAWAY, which loses no
// question) and waits for answers under way until ctx ends; those that are left
// are cut, and the error says so.
func (s *Server) Shutdown(ctx context.Context) error {
	s.Drain()
	s.end()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		s.grpc.GracefulStop()
	}()
	select {
	case <-stopped:
		return nil
	case <-ctx.Done():
	}
	s.grpc.Stop()
	<-stopped
	return fmt.Errorf("the gRPC server was stopped before it was done: %w", ctx.Err())
}

// Close ends everything at once.
func (s *Server) Close() error {
	s.grpc.Stop()
	return nil
}
