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

// env is what rows measure with.
type env struct {
	*options
	row    string
	dir    string
	server *mongotest.Secantus // nil: not asked for, or the URI's
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

// say shows progress: a line a step, with the time since the row began.
func (e *env) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%6.1fs  %s: %s\n", time.Since(e.began).Seconds(), e.row, fmt.Sprintf(format, args...))
}

// size is full, or quick with --quick.
func (e *env) size(full, quick int) int {
	if e.Quick {
		return quick
	}
	return full
}

// lasting is a time for one measurement: full, or a tenth of a second with --quick.
func (e *env) lasting(full time.Duration) time.Duration {
	if e.Quick {
		return min(full, 100*time.Millisecond)
	}
	return full
}

// mongoURI is the set to measure with, which is started when it is needed first.
func (e *env) mongoURI() (string, error) {
	if e.URI != "" {
		return e.URI, nil
	}
	if e.server == nil {
		e.say("starting secantusd-py")
		server, err := mongotest.OpenSecantus(e.dir, mongotest.SecantusConfig{})
		if err != nil {
			return "", fmt.Errorf("%w; or name a replica set by --uri", err)
		}
		e.server = server
	}
	return e.server.URI, nil
}

// connect is a client of its own for one side of a comparison; close it.
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

// serverName says what the row was measured with, for the report.
func (e *env) serverName(ctx context.Context) string {
	client, err := e.connect()
	if err != nil {
		return "a server that is not known"
	}
	defer disconnect(client)
	var info struct {
		Version string `bson:"version"`
	}
	if err := client.Database("admin").RunCommand(ctx, bson.D{{Key: "buildInfo", Value: 1}}).Decode(&info); err != nil {
		return "a server of a version that is not known"
	}
	if e.URI == "" {
		return "one secantusd-py, which answers as MongoDB " + info.Version
	}
	return "a replica set of version " + info.Version
}

// disconnect ends a client; what goes wrong then does not matter any more.
func disconnect(client *mongo.Client) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = client.Disconnect(ctx)
}
