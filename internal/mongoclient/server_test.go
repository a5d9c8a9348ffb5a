package mongoclient

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/address"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
)

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// with returns the URI of a server with another query.
func with(s *mongotest.Devmongo, query string) string {
	uri, _, _ := strings.Cut(s.URI, "?")
	return uri + "?" + query
}

func client(t *testing.T, s *Settings, uri string) *mongo.Client {
	t.Helper()
	c, err := s.Connect(uri)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Disconnect(context.WithoutCancel(t.Context())) })
	return c
}

// TestAWrongSetName: the error contains the real name, which the driver's own
// error does not.
func TestAWrongSetName(t *testing.T) {
	t.Parallel()
	node := mongotest.StartDevmongo(t, devmongo.Config{})
	for _, direct := range []string{"", "&directConnection=true"} {
		uri := with(node, "replicaSet=rs7&serverSelectionTimeoutMS=1000"+direct)
		s := settings(t, uri)
		c := client(t, s, uri)
		_, err := Hello(testContext(t), c)
		if err == nil || strings.Contains(err.Error(), "devmongo") {
			t.Fatalf("the driver returns %v", err)
		}
		for _, words := range []string{`"rs7"`, `is "devmongo"`, "set replicaSet=devmongo"} {
			if got := s.Explain(err).Error(); !strings.Contains(got, words) {
				t.Errorf("%q lacks %q", got, words)
			}
		}
	}
	right := settings(t, node.URI)
	c := client(t, right, node.URI)
	if _, err := Hello(testContext(t), c); err != nil {
		t.Fatal(err)
	}
	if err := right.Explain(context.Canceled); err != context.Canceled { //nolint:errorlint // nothing may be added
		t.Errorf("with the right name: %v", err)
	}
}

// TestOneHostOfAnotherSet is not the reason of an error while the wanted set
// answers: the error must not recommend the other set's name.
func TestOneHostOfAnotherSet(t *testing.T) {
	t.Parallel()
	s := settings(t, "mongodb://db1,db2/keys?replicaSet=rs0")
	addReply := func(host, set string) {
		s.Options.ServerMonitor.ServerHeartbeatSucceeded(&event.ServerHeartbeatSucceededEvent{
			Reply: event.ServerDescription{Addr: address.Address(host), SetName: set},
		})
	}
	failure := errors.New("there is no unique index")
	addReply("db2:27017", "rs1")
	if got := s.Explain(failure).Error(); !strings.Contains(got, `is "rs1"`) {
		t.Errorf("no server of the set has answered: %s", got)
	}
	addReply("db1:27017", "rs0")
	if got := s.Explain(failure); got != failure { //nolint:errorlint // nothing may be added
		t.Errorf("the set has answered: %v", got)
	}
}

// TestADirectConnection is kept to the only member of a set, and refused to one
// of several.
func TestADirectConnection(t *testing.T) {
	t.Parallel()
	one := mongotest.StartDevmongo(t, devmongo.Config{})
	three := mongotest.StartDevmongo(t, devmongo.Config{OtherMembers: []string{"db2:27017", "db3:27017"}, Release44: true})
	for _, c := range []struct {
		uri     string
		refused bool
	}{
		{with(one, "directConnection=true"), false},
		{with(one, "connect=direct&replicaSet=devmongo"), false},
		{with(one, "replicaSet=devmongo"), false},
		{with(three, "directConnection=true"), true},
		{with(three, "connect=direct"), true},
		{with(three, "replicaSet=devmongo"), false},
	} {
		s := settings(t, c.uri)
		err := s.CheckDirect(testContext(t), client(t, s, c.uri))
		if (err != nil) != c.refused || err != nil && !strings.Contains(err.Error(), "3 members") {
			t.Errorf("%s: %v", c.uri, err)
		}
	}
}

// TestHandlesSetTheirConcerns, regardless of their client's settings.
func TestHandlesSetTheirConcerns(t *testing.T) {
	t.Parallel()
	node := mongotest.StartDevmongo(t, devmongo.Config{})
	sent := map[string]bson.Raw{}
	var mutex sync.Mutex
	opts := node.Options("").
		SetReadConcern(readconcern.Local()).
		SetReadPreference(readpref.Secondary()).
		SetWriteConcern(writeconcern.W1()).
		SetMonitor(&event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
			mutex.Lock()
			defer mutex.Unlock()
			sent[e.CommandName] = append(bson.Raw(nil), e.Command...)
		}})
	db := Database(node.Connect(t, opts), node.Database(t))
	ctx := testContext(t)
	keys := db.Collection("api_keys")
	if _, err := keys.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: bson.D{{Key: "key_hash", Value: 1}}, Options: options.Index().SetUnique(true)}); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.InsertOne(ctx, bson.D{{Key: "_id", Value: 1}}); err != nil {
		t.Fatal(err)
	}
	if err := keys.FindOne(ctx, bson.D{}).Err(); err != nil {
		t.Fatal(err)
	}
	stream, err := db.Watch(ctx, mongo.Pipeline{})
	if err != nil {
		t.Fatal(err)
	}
	_ = stream.Close(ctx)
	mutex.Lock()
	defer mutex.Unlock()
	for command, concern := range map[string][2]string{
		"createIndexes": {"writeConcern", "w"}, "insert": {"writeConcern", "w"},
		"find": {"readConcern", "level"}, "aggregate": {"readConcern", "level"},
	} {
		if got, _ := sent[command].Lookup(concern[:]...).StringValueOK(); got != "majority" {
			t.Errorf("%s: %v", command, sent[command])
		}
		if mode, ok := sent[command].Lookup("$readPreference", "mode").StringValueOK(); ok && mode != "primary" {
			t.Errorf("%s reads from %s", command, mode)
		}
	}
}
