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

// cleanupTimeout bounds what a test does to a server after its end. A server
// that a test has killed must not hold it up for longer.
const cleanupTimeout = 5 * time.Second

// selectionTimeout is how long a test's client looks for a server: longer than
// a restart of secantusd-py takes, also on a machine that is busy with other tests.
const selectionTimeout = 30 * time.Second

// Server is a running server. The flags are facts found by asking the server,
// for tests of what only some servers have; they are no excuse to skip what
// every server should do.
type Server struct {
	// Name is how the suite came by it: one of the Name constants.
	Name string
	// Kind is what it is by its own word: NameDevmongo, NameSecantus, or KindMongoDB.
	// One that is external may be any.
	Kind string
	// URI connects to it.
	URI string
	// Version is what buildInfo says.
	Version string
	// MongoDBTokens: resume tokens are in MongoDB's layout, 0x82 and then eight
	// bytes of cluster time.
	MongoDBTokens bool
	// Failpoints: configureFailPoint with failCommand is accepted.
	Failpoints bool
	// RefusesFuture: a read with an afterClusterTime ahead of the server's own
	// time is refused with InvalidOptions, as by MongoDB, and not answered.
	RefusesFuture bool
	// Views: a view can be created.
	Views bool
	// StreamScope is what the change streams of the test watch, as in
	// keytail.Config. It is no fact of the server: EachScope sets it in a copy.
	StreamScope string
}

// Options are those of a client of this server, for tests that add to them
// (a command monitor, a pool size) before they call Connect. appName may be
// empty; failCommand can be limited to a name.
//
// Its writes wait for a majority, as keytail's own reads do: what a test has written
// is then there for them. (4.4 acknowledges by one node unless it is told.)
func (s *Server) Options(appName string) *options.ClientOptions {
	opts := options.Client().ApplyURI(s.URI).
		SetServerSelectionTimeout(selectionTimeout).
		SetWriteConcern(writeconcern.Majority())
	if appName != "" {
		opts.SetAppName(appName)
	}
	return opts
}

// Connect makes a client that is disconnected when t ends.
func (s *Server) Connect(t testing.TB, opts *options.ClientOptions) *mongo.Client {
	t.Helper()
	client, err := mongo.Connect(opts)
	if err != nil {
		t.Fatalf("cannot make a client of %s: %v", s.Name, err)
	}
	t.Cleanup(func() { disconnect(client) })
	return client
}

// Client makes a client with an optional application name. It is disconnected
// when t ends.
func (s *Server) Client(t testing.TB, appName ...string) *mongo.Client {
	t.Helper()
	return s.Connect(t, s.Options(strings.Join(appName, "")))
}

// Database is a fresh name; what the test puts there is dropped when t ends.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	name := databaseName(t.Name())
	t.Cleanup(func() {
		if err := s.drop(name); err != nil {
			t.Logf("database %s stays behind on %s: %v", name, s.Name, err)
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
	// A client that cannot say goodbye to a killed server is closed all the same
	_ = client.Disconnect(ctx)
}

// databaseName tells a reader of the server's log which test it belongs to. A
// name may have 63 bytes.
func databaseName(test string) string {
	clean := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, test)
	return fmt.Sprintf("kt_%.36s_%016x", clean, rand.Uint64())
}
