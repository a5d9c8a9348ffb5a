package main

import (
	"context"
	"errors"
	"net"
	"net/http"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"go.mongodb.org/mongo-driver/v2/mongo"
	mongooptions "go.mongodb.org/mongo-driver/v2/mongo/options"
	"google.golang.org/grpc"

	"github.com/keytail/keytail/bench/peers"
)

// serveCommand serves a handler in a process of its own, so that its CPU time and memory
// can be measured. The row peers runs it.
type serveCommand struct {
	Handler    string `arg:"" enum:"bare,bare-grpc,introspection" help:"bare answers 204 to everything, bare-grpc allows every check of Envoy; introspection finds keys in the collection."`
	Addr       string `required:"" help:"host:port to listen on."`
	Database   string `help:"The database with the keys."`
	Collection string `help:"The collection with the keys."`
}

// Run serves until the program is stopped.
func (c *serveCommand) Run(ctx context.Context, o *options) error {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", c.Addr)
	if err != nil {
		return err
	}
	switch c.Handler {
	case "bare-grpc":
		server := grpc.NewServer()
		authv3.RegisterAuthorizationServer(server, bareAuthorization{})
		defer context.AfterFunc(ctx, server.Stop)()
		return server.Serve(listener)
	case "introspection":
		client, err := mongo.Connect(mongooptions.Client().ApplyURI(o.URI))
		if err != nil {
			return err
		}
		defer disconnect(client)
		return serveHTTP(ctx, listener, peers.Introspection(client.Database(c.Database).Collection(c.Collection)))
	default:
		return serveHTTP(ctx, listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	}
}

func serveHTTP(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: headerTimeout}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// bareAuthorization allows every check.
type bareAuthorization struct {
	authv3.UnimplementedAuthorizationServer
}

// Check allows the request.
func (bareAuthorization) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return &authv3.CheckResponse{}, nil // the status OK is the zero value
}
