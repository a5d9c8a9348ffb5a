package keyadmin

import (
	"context"
	"fmt"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/managedkey"
	"github.com/keytail/keytail/internal/mongotest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(mongotest.Main(m)) }

const patience = 30 * time.Second

// fixture is an Admin whose client can be made to fail, and an outsider's view.
type fixture struct {
	*Admin
	t      *testing.T
	server *mongotest.Server
	app    string
	keys   *mongo.Collection
	lines  *mongo.Collection
	logs   *observer.ObservedLogs
}

func newFixture(t *testing.T, s *mongotest.Server, change ...func(*Config)) *fixture {
	t.Helper()
	name := s.Database(t)
	outside := s.Client(t).Database(name)
	o := &fixture{t: t, server: s, app: "fixture-" + name, keys: mongotest.CreateAPIKeys(t, outside), lines: outside.Collection(CollectionName)}
	client := s.Client(t, o.app)
	store, err := keystore.New(keystore.Config{Client: client, Database: name})
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zapcore.DebugLevel)
	o.logs = logs
	config := Config{Store: store, Audit: client.Database(name).Collection(CollectionName), Logger: zap.New(core)}
	for _, f := range change {
		f(&config)
	}
	if o.Admin, err = New(config); err != nil {
		t.Fatal(err)
	}
	if err := o.Prepare(o.ctx()); err != nil {
		t.Fatal(err)
	}
	return o
}

func (o *fixture) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	o.t.Cleanup(cancel)
	return ctx
}

// withAndWithoutTransactions runs f with transactions, where the server has
// them, and without.
func withAndWithoutTransactions(t *testing.T, f func(t *testing.T, o *fixture), change ...func(*Config)) {
	t.Helper()
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		for _, alone := range []bool{false, true} {
			t.Run(map[bool]string{false: "transaction", true: "alone"}[alone], func(t *testing.T) {
				o := newFixture(t, s, change...)
				if !alone && o.noTransactions {
					t.Skip("the server has no transactions")
				}
				o.noTransactions = alone
				f(t, o)
			})
		}
	})
}

// fail makes commands of the Admin's client fail until the function that it
// returns is called, or the test ends.
func (o *fixture) fail(mode any, data ...bson.E) func() {
	o.t.Helper()
	o.server.Needs(o.t, mongotest.Failpoints)
	admin := o.lines.Database().Client().Database("admin")
	set := func(mode any, data bson.D) error {
		return admin.RunCommand(context.Background(), bson.D{{Key: "configureFailPoint", Value: "failCommand"}, {Key: "mode", Value: mode}, {Key: "data", Value: data}}).Err()
	}
	if err := set(mode, append(bson.D{{Key: "appName", Value: o.app}}, data...)); err != nil {
		o.t.Fatal(err)
	}
	off := func() {
		if err := set("off", bson.D{{Key: "failCommands", Value: bson.A{"ping"}}}); err != nil {
			o.t.Error(err)
		}
	}
	o.t.Cleanup(off)
	return off
}

func times(n int) bson.D { return bson.D{{Key: "times", Value: n}} }

func skip(n int) bson.D { return bson.D{{Key: "skip", Value: n}} }

func commands(names ...any) bson.E { return bson.E{Key: "failCommands", Value: bson.A(names)} }

func code(n int) bson.E { return bson.E{Key: "errorCode", Value: n} }

var closes = bson.E{Key: "closeConnection", Value: true}

// ann is the caller.
var ann = managedkey.Caller{Actor: "ann", RequestID: "request-1"}

func ptr[T any](v T) *T { return &v }

// createKey creates a key of a user.
func (o *fixture) createKey(user string) managedkey.Written {
	o.t.Helper()
	written, err := o.Create(o.ctx(), ann, managedkey.Fields{UserID: &user, Scopes: ptr([]string{"read"})})
	if err != nil {
		o.t.Fatal(err)
	}
	return written
}

// reaches waits until the client treats the server as available again: a
// connection that was closed makes the driver forget it, and look for it as
// long as 500 ms later.
func (o *fixture) reaches(id string) {
	o.t.Helper()
	mongotest.Eventually(o.t, 10*time.Second, func() bool {
		_, err := o.Get(o.ctx(), ann, id)
		return err == nil
	}, "no primary is found again")
}

func (o *fixture) count(c *mongo.Collection, filter bson.D) int64 {
	o.t.Helper()
	n, err := c.CountDocuments(o.ctx(), filter)
	if err != nil {
		o.t.Fatal(err)
	}
	return n
}

// mustCount checks how many keys and lines there are.
func (o *fixture) mustCount(keys, lines int64, what ...any) {
	o.t.Helper()
	if k, l := o.count(o.keys, bson.D{}), o.count(o.lines, bson.D{}); k != keys || l != lines {
		o.t.Errorf("%d keys and %d lines, want %d and %d: %s", k, l, keys, lines, fmt.Sprint(what...))
	}
}
