package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	mongooptions "go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/internal/mongotest"
)

// env is the environment of one row: its options, its directory and its server.
type env struct {
	*options
	row    string
	dir    string
	server *mongotest.Secantus // nil until the row needs it, or if --uri names a replica set
	began  time.Time
}

func newEnv(o *options, name string) (*env, error) {
	dir, err := os.MkdirTemp("", "keytail-bench-")
	if err != nil {
		return nil, err
	}
	return &env{options: o, row: name, dir: dir, began: time.Now()}, nil
}

func (e *env) close() {
	if e.server != nil {
		e.server.Kill9()
	}
	_ = os.RemoveAll(e.dir)
}

// progress prints a line with the time since the row began.
func (e *env) progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%6.1fs  %s: %s\n", time.Since(e.began).Seconds(), e.row, fmt.Sprintf(format, args...))
}

// size returns full, or quick with --quick.
func (e *env) size(full, quick int) int {
	if e.Quick {
		return quick
	}
	return full
}

// duration returns the time of one measurement: full, or at most 100 ms with --quick.
func (e *env) duration(full time.Duration) time.Duration {
	if e.Quick {
		return min(full, 100*time.Millisecond)
	}
	return full
}

// mongoURI returns the URI of the replica set to measure with. Without --uri the first
// call starts a server.
func (e *env) mongoURI() (string, error) {
	if e.URI != "" {
		return e.URI, nil
	}
	if e.server == nil {
		e.progress("starting secantusd-py")
		server, err := mongotest.OpenSecantus(e.dir, mongotest.SecantusConfig{})
		if err != nil {
			return "", fmt.Errorf("%w; or name a replica set with --uri", err)
		}
		e.server = server
	}
	return e.server.URI, nil
}

// connect creates a client for one side of a comparison. The caller disconnects it.
func (e *env) connect(change ...func(*mongooptions.ClientOptions)) (*mongo.Client, error) {
	uri, err := e.mongoURI()
	if err != nil {
		return nil, err
	}
	opts := mongooptions.Client().ApplyURI(uri).SetServerSelectionTimeout(10 * time.Second)
	for _, f := range change {
		f(opts)
	}
	return mongo.Connect(opts)
}

// serverName describes the server that the row was measured with, for the report.
func (e *env) serverName(ctx context.Context) string {
	client, err := e.connect()
	if err != nil {
		return "unknown server"
	}
	defer disconnect(client)
	var info struct {
		Version string `bson:"version"`
	}
	if err := client.Database("admin").RunCommand(ctx, bson.D{{Key: "buildInfo", Value: 1}}).Decode(&info); err != nil {
		return "server of an unknown version"
	}
	if e.URI == "" {
		return "one secantusd-py, which reports the version of MongoDB " + info.Version
	}
	return "replica set of version " + info.Version
}

// disconnect closes a client. It ignores errors: the measurement is complete.
func disconnect(client *mongo.Client) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = client.Disconnect(ctx)
}
