package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/keytail/keytail/internal/extauthz"
	"github.com/keytail/keytail/internal/forwardauth"
)

var checkRow = row{
	name:         "check",
	title:        "forward-auth over gRPC",
	measures:     "Check of Envoy's external authorization, with a cached key and the headers of a browser",
	comparedWith: "a gRPC server whose Check allows everything with an empty response, and one whose response is always the same as keytail's first",
	goals:        "at least 0.9 times the calls per second, and at most 1.1 times the p99 latency of each",
	run:          measureCheck,
}

func measureCheck(ctx context.Context, e *env, r *result) error {
	const connections, streams = 2, 8
	keys, err := generateKeys(e.size(1000, 50))
	if err != nil {
		return err
	}
	full, err := newCheckServer(keys)
	if err != nil {
		return err
	}
	same, err := full.Check(ctx, checkRequest(keys[0]))
	if err != nil {
		return err
	}
	empty := constantServer(&authv3.CheckResponse{Status: &status.Status{Code: int32(codes.OK)}})
	sameBytes := constantServer(same)
	m := newMeasurement(e, fmt.Sprintf("%d connections with %d calls at a time each", connections, streams))
	for _, s := range []struct {
		name  string
		serve func(net.Listener) error
		stop  func()
	}{
		{sideKeytail, full.Serve, func() { _ = full.Close() }},
		{sideEmpty, empty.Serve, empty.Stop},
		{sideSame, sameBytes.Serve, sameBytes.Stop},
	} {
		var config net.ListenConfig
		listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		done := make(chan struct{})
		go func() { defer close(done); _ = s.serve(listener) }()
		defer func() { s.stop(); <-done }()
		c, err := newChecker(listener.Addr().String(), keys, connections, streams)
		if err != nil {
			return err
		}
		defer c.close()
		m.add(s.name, c.run)
	}
	if err := m.run(ctx); err != nil {
		return err
	}
	m.compare(r, sideEmpty, 0.9, 1.1)
	m.compare(r, sideSame, 0.9, 1.1)
	r.note(fmt.Sprintf("The server that sends the same bytes handles %s times the calls per second of the empty one: that is what the identity headers cost any program that answers Envoy with them, as messages that it encodes and Envoy decodes.", m.rates(sideSame, sideEmpty).text()))
	r.note("Calls per second are called requests per second here. The client, in the same process, uses the larger part of the CPU time of a call, as gRPC's clients do: compare the CPU times per call for what keytail adds.")
	r.table(m.table())
	return nil
}

// newCheckServer returns keytail's gRPC server with these keys in its cache.
func newCheckServer(keys []string) (*extauthz.Server, error) {
	v, err := newCachedValidator(keys, 64)
	if err != nil {
		return nil, err
	}
	authority, err := forwardauth.New(forwardauth.Config{Validator: v, Operation: forwardauth.OperationExtAuthz, RemovesAbsent: true})
	if err != nil {
		return nil, err
	}
	live := make(chan struct{})
	close(live)
	return extauthz.New(extauthz.Config{Authority: authority, Live: live})
}

// constantServer returns an authorization server with one response for all.
func constantServer(response *authv3.CheckResponse) *grpc.Server {
	server := grpc.NewServer()
	authv3.RegisterAuthorizationServer(server, constantCheck{response: response})
	return server
}

type constantCheck struct {
	authv3.UnimplementedAuthorizationServer

	response *authv3.CheckResponse
}

func (c constantCheck) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return c.response, nil
}

// checker calls Check over several connections.
type checker struct {
	connections []*grpc.ClientConn
	// streams is the number of calls at a time on each connection.
	streams  int
	requests []*authv3.CheckRequest
}

func newChecker(address string, keys []string, connections, streams int) (*checker, error) {
	c := &checker{streams: streams}
	for _, key := range keys {
		c.requests = append(c.requests, checkRequest(key))
	}
	for range connections {
		connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			c.close()
			return nil, err
		}
		c.connections = append(c.connections, connection)
	}
	return c, nil
}

func (c *checker) close() {
	for _, connection := range c.connections {
		_ = connection.Close()
	}
}

// checkRequest is what Envoy sends for a browser's request.
func checkRequest(key string) *authv3.CheckRequest {
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{
			SocketAddress: &corev3.SocketAddress{Address: "203.0.113.9"},
		}}},
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Method: "GET", Path: "/orders/1?page=2", Host: "api.example", Scheme: "https", Protocol: "HTTP/1.1",
			Headers: map[string]string{
				":authority": "api.example", ":method": "GET", ":path": "/orders/1?page=2", ":scheme": "https",
				"accept": "application/json", "accept-encoding": "gzip, deflate, br", "accept-language": "en-GB,en;q=0.5",
				"authorization": "Bearer " + key, "user-agent": "Mozilla/5.0 (X11; Linux x86_64)",
				"x-forwarded-proto": "https", "x-request-id": "2f1a51e6-1c2f-4b8e-9d0a-0f5b8d8a7c11",
			},
		}},
	}}
}

// run calls Check for the duration.
func (c *checker) run(ctx context.Context, duration time.Duration) (*load, error) {
	return measureLoad(ctx, len(c.connections)*c.streams, duration, c.stream)
}

// stream calls Check until a time, with one request after the other.
func (c *checker) stream(ctx context.Context, number int, until time.Time) (*hdrhistogram.Histogram, error) {
	client := authv3.NewAuthorizationClient(c.connections[number/c.streams])
	latency := newLatency()
	begin := number * len(c.requests) / (len(c.connections) * c.streams)
	for at := begin; ; at++ {
		began := time.Now()
		if at > begin && (!began.Before(until) || ctx.Err() != nil) {
			return latency, nil
		}
		response, err := client.Check(ctx, c.requests[at%len(c.requests)])
		if err != nil {
			return nil, err
		}
		if code := codes.Code(response.GetStatus().GetCode()); code != codes.OK { //nolint:gosec // codes are small
			return nil, fmt.Errorf("Check answered %v, want OK", code)
		}
		if err := latency.RecordValue(max(1, time.Since(began).Nanoseconds())); err != nil {
			return nil, err
		}
	}
}
