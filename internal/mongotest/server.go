package mongotest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
)

// cleanupTimeout bounds the cleanup after a test. A server that the test has killed
// must not delay it for longer.
const cleanupTimeout = 5 * time.Second

// selectionTimeout is how long a client of a test waits for a server. A restart of
// secantusd-py takes less, even on a machine that is busy with other tests.
const selectionTimeout = 30 * time.Second

// Server is a running server. The feature flags are read from the server. They are for tests of
// features that only some servers have, not for skipping what every server should do.
type Server struct {
	// Name is where the server comes from: one of the Name constants.
	Name string
	// Kind is what the server reports to be: NameDevmongo, NameSecantus, or KindMongoDB.
	// An external server may be of any kind.
	Kind string
	// URI is the connection string.
	URI string
	// Version is the version that buildInfo reports.
	Version string
	// MongoDBTokens: resume tokens are in MongoDB's layout, 0x82 and then eight
	// bytes of cluster time.
	MongoDBTokens bool
	// Failpoints: configureFailPoint with failCommand is accepted.
	Failpoints bool
	// RefusesFuture: the server rejects a read whose afterClusterTime is ahead of the
	// server's cluster time with InvalidOptions, as MongoDB does.
	RefusesFuture bool
	// Views: the server can create views.
	Views bool
	// StreamScope is what the change streams of the test watch, as in keytail.Config.
	// It is not a property of the server: EachScope sets it in a copy.
	StreamScope string
}

// Options returns the options of a client of this server, for tests that add to
// them (a command monitor, a pool size) before they call Connect. appName may be
// empty; failCommand can be limited to one appName.
//
// Writes wait for a majority: keytail reads with read concern majority, and sees
// what a test has written only then. (4.4 acknowledges after one node by default.)
func (s *Server) Options(appName string) *options.ClientOptions {
	opts := options.Client().ApplyURI(s.URI).
		SetServerSelectionTimeout(selectionTimeout).
		SetWriteConcern(writeconcern.Majority())
	if appName != "" {
		opts.SetAppName(appName)
	}
	return opts
}

// Connect returns a client that is disconnected when t ends.
func (s *Server) Connect(t testing.TB, opts *options.ClientOptions) *mongo.Client {
	t.Helper()
	client, err := mongo.Connect(opts)
	if err != nil {
		t.Fatalf("cannot create a client of %s: %v", s.Name, err)
	}
	t.Cleanup(func() { disconnect(client) })
	return client
}

// Client returns a client with an optional application name. It is disconnected
// when t ends.
func (s *Server) Client(t testing.TB, appName ...string) *mongo.Client {
	t.Helper()
	return s.Connect(t, s.Options(strings.Join(appName, "")))
}

// Database returns the name of a new database, which is dropped when t ends.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	name := databaseName(t.Name())
	t.Cleanup(func() {
		if err := s.drop(name); err != nil {
			t.Logf("cannot drop database %s on %s: %v", name, s.Name, err)
		}
	})
	return name
}

func (s *Server) drop(database string) error {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
	defer cancel()
	client, err := mongo.Connect(s.Options("").SetServerSelectionTimeout(time.Second))
	if err != nil {
		return err
	}
	defer disconnect(client)
	return client.Database(database).Drop(ctx)
}

func disconnect(client *mongo.Client) {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
	defer cancel()
	// Fails when the server has been killed. The client is closed all the same.
	_ = client.Disconnect(ctx)
}

// databaseName contains the name of the test, for readers of the server's log. A
// name has 63 bytes at most.
func databaseName(test string) string {
	clean := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, test)
	return fmt.Sprintf("kt_%.36s_%016x", clean, rand.Uint64())
}
