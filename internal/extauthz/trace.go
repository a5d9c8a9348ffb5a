package extauthz

import (
	"context"
	"net/http"
	"net/netip"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/serverspan"
)

// spanName is the full name of the method, as the semantic conventions have it.
const spanName = "envoy.service.auth.v3.Authorization/Check"

// startSpan begins the span of a check, if tracing is on, and returns the request with
// it in its context. Envoy's own trace is in the metadata of the call. The traceparent
// among the described headers is its client's and not read here.
func (s *Server) startSpan(r *http.Request) (*http.Request, trace.Span) {
	if s.tracer == nil {
		return r, nil
	}
	ctx, span := s.tracer.Start(r.Context(), &serverspan.Request{
		Name: spanName, Traceparent: s.traceparent(r), Peer: grpcPeer(r.Context()), Attributes: spanAttributes,
	})
	return r.WithContext(ctx), span
}

// endSpan ends the span of a check with the status for the client. Nil: tracing is off.
// The call itself always succeeds.
func endSpan(span trace.Span, status int) {
	if span == nil {
		return
	}
	if span.IsRecording() {
		span.SetAttributes(semconv.RPCResponseStatusCode("OK"))
		span.SetAttributes(serverspan.HTTPStatus(status)...)
	}
	serverspan.End(span, status)
}

func spanAttributes() []attribute.KeyValue {
	return []attribute.KeyValue{semconv.RPCSystemNameGRPC, semconv.RPCMethod(spanName)}
}

// traceparent is that of the call, unless it contains a key of the client's.
func (s *Server) traceparent(r *http.Request) string {
	values := metadata.ValueFromIncomingContext(r.Context(), "traceparent")
	if len(values) != 1 || forwardauth.ContainsKey(values[0], r, s.authority.Sources()) {
		return ""
	}
	return values[0]
}

// grpcPeer is the other end of the connection. Zero: it is not TCP.
func grpcPeer(ctx context.Context) netip.Addr {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return netip.Addr{}
	}
	address, _ := netip.ParseAddrPort(p.Addr.String())
	return address.Addr().Unmap()
}
