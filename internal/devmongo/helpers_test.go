package devmongo

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/internal/clustertime"
)

// code returns the server's error code, or zero.
func code(err error) int {
	if we, ok := errors.AsType[mongo.WriteException](err); ok && len(we.WriteErrors) > 0 {
		return we.WriteErrors[0].Code
	}
	if se, ok := errors.AsType[mongo.ServerError](err); ok && len(se.ErrorCodes()) > 0 {
		return se.ErrorCodes()[0]
	}
	return 0
}

func wantCode(t *testing.T, err error, want int) {
	t.Helper()
	if got := code(err); got != want {
		t.Errorf("error code %d, want %d: %v", got, want, err)
	}
}

func findOne(t *testing.T, coll *mongo.Collection, filter any) bson.D {
	t.Helper()
	var got bson.D
	if err := coll.FindOne(testContext(t), filter).Decode(&got); err != nil {
		t.Fatalf("find %v: %v", filter, err)
	}
	return got
}

// direct executes a command without a driver.
func (s *Server) direct(t *testing.T, cmd bson.D) bson.D {
	t.Helper()
	raw, err := bson.Marshal(append(cmd, bson.E{Key: "$db", Value: "app"}))
	if err != nil {
		t.Fatal(err)
	}
	body, err := decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := s.execute(context.Background(), &conn{s: s}, &request{body: body})
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

func setFailPoint(t *testing.T, client *mongo.Client, mode any, data bson.D) {
	t.Helper()
	cmd := d("configureFailPoint", "failCommand", "mode", mode, "data", data)
	if err := client.Database("admin").RunCommand(testContext(t), cmd).Err(); err != nil {
		t.Fatal(err)
	}
}

// until polls a condition under the server's lock, for tests that wait until a command
// waits.
func (s *Server) until(ctx context.Context, cond func() bool) error {
	for {
		s.mu.Lock()
		ok := cond()
		s.mu.Unlock()
		if ok || ctx.Err() != nil {
			return ctx.Err()
		}
		runtime.Gosched()
	}
}

// watcher is a collection or a database.
type watcher interface {
	Watch(context.Context, any, ...options.Lister[options.ChangeStreamOptions]) (*mongo.ChangeStream, error)
}

func watch(t *testing.T, w watcher, pipeline any, change ...func(*options.ChangeStreamOptionsBuilder)) *mongo.ChangeStream {
	t.Helper()
	opts := options.ChangeStream().SetMaxAwaitTime(100 * time.Millisecond)
	for _, f := range change {
		f(opts)
	}
	if pipeline == nil {
		pipeline = mongo.Pipeline{}
	}
	cs, err := w.Watch(testContext(t), pipeline, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cs.Close(context.Background()) })
	return cs
}

// next returns the next event.
func next(t *testing.T, cs *mongo.ChangeStream) bson.D {
	t.Helper()
	if !cs.Next(testContext(t)) {
		t.Fatalf("no event: %v (id %d)", cs.Err(), cs.ID())
	}
	var ev bson.D
	if err := cs.Decode(&ev); err != nil {
		t.Fatal(err)
	}
	return ev
}

// noEvent fails t if an event arrives within one wait.
func noEvent(t *testing.T, cs *mongo.ChangeStream) {
	t.Helper()
	for range 2 { // the first call reads only the first batch
		if cs.TryNext(testContext(t)) {
			t.Fatalf("unexpected event %v", cs.Current)
		}
		if cs.Err() != nil {
			t.Fatal(cs.Err())
		}
	}
}

func opOf(ev bson.D) string { s, _ := field(ev, "operationType").(string); return s }

func part(ev bson.D, path string) any { return lookup(ev, strings.Split(path, ".")) }

func tokenAt(t *testing.T, raw bson.Raw) clustertime.Time {
	t.Helper()
	var token bson.D
	if err := bson.Unmarshal(raw, &token); err != nil {
		t.Fatal(err)
	}
	p, err := parseToken(token)
	if err != nil {
		t.Fatal(err)
	}
	return p.at
}

// held is the delay that tests inject. It is long compared to a command.
const held = 300 * time.Millisecond

func named(t *testing.T, s *Server, appName string) *mongo.Collection {
	t.Helper()
	client := connect(t, s, func(o *options.ClientOptions) { o.SetAppName(appName) })
	if err := client.Ping(testContext(t), nil); err != nil {
		t.Fatal(err)
	}
	return client.Database("app").Collection("api_keys")
}

// takes returns how long f takes.
func takes(f func()) time.Duration {
	began := time.Now()
	f()
	return time.Since(began)
}
