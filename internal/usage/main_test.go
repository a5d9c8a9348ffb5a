package usage

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/mongotest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(mongotest.Main(m)) }

// day is when keys are used in these tests, in the whole milliseconds of BSON.
var day = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)

// rig is a Recorder on its own collection.
type rig struct {
	*Recorder
	t       *testing.T
	server  *mongotest.Server
	appName string
	keys    *mongo.Collection
	logs    *observer.ObservedLogs
}

func newRig(t *testing.T, s *mongotest.Server, change ...func(*Config)) *rig {
	t.Helper()
	name := s.Database(t)
	r := &rig{t: t, server: s, appName: "usage-" + name}
	r.keys = s.Client(t, "outsider").Database(name).Collection("api_keys")
	core, logs := observer.New(zap.InfoLevel)
	r.logs = logs
	config := Config{
		Keys:       s.Client(t, r.appName).Database(name).Collection("api_keys"),
		LastUsed:   "last_used",
		UsageCount: "usage_count",
		// Nothing is remembered after its write
		KeyInterval: time.Nanosecond,
		IDValue:     keystore.DefaultSchema().IDValue,
		Logger:      zap.New(core),
		Registerer:  prometheus.NewRegistry(),
	}
	for _, f := range change {
		f(&config)
	}
	u, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	r.Recorder = u
	return r
}

// insert makes a document and returns the id that Record takes.
func (r *rig) insert(id any, fields ...bson.E) apikey.DocID {
	r.t.Helper()
	if _, err := r.keys.InsertOne(r.t.Context(), append(bson.D{{Key: "_id", Value: id}}, fields...)); err != nil {
		r.t.Fatal(err)
	}
	return docID(r.t, id)
}

func docID(t testing.TB, id any) apikey.DocID {
	t.Helper()
	kind, data, err := bson.MarshalValue(id)
	if err != nil {
		t.Fatal(err)
	}
	return keystore.DefaultSchema().ID(bson.RawValue{Type: kind, Value: data})
}

// has compares a document's count and time, both nil when absent.
func (r *rig) has(id, count, last any) {
	r.t.Helper()
	var d bson.M
	if err := r.keys.FindOne(r.t.Context(), bson.D{{Key: "_id", Value: id}}).Decode(&d); err != nil {
		r.t.Fatal(err)
	}
	if at, ok := last.(time.Time); ok {
		last = bson.NewDateTimeFromTime(at)
	}
	got, want := fmt.Sprint(d["usage_count"], d["last_used"]), fmt.Sprint(count, last)
	if got != want {
		r.t.Errorf("%v has count and time %s, want %s", id, got, want)
	}
}

func (r *rig) flush() {
	r.t.Helper()
	if err := r.Flush(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// pends compares how many keys wait, and how many entries there are.
func (r *rig) pends(waiting, held int64) {
	r.t.Helper()
	if w, h := r.waiting.Load(), r.entries.Load(); w != waiting || h != held {
		r.t.Errorf("%d keys wait and there are %d entries, want %d and %d", w, h, waiting, held)
	}
}

func (r *rig) counts(c prometheus.Counter, want float64, what string) {
	r.t.Helper()
	if got := testutil.ToFloat64(c); got != want {
		r.t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// fails makes updates of the Recorder's client fail until the returned function
// is called.
func (r *rig) fails(how ...bson.E) func() {
	r.t.Helper()
	r.server.Needs(r.t, mongotest.Failpoints)
	admin := r.server.Client(r.t, "operator").Database("admin")
	set := func(mode string) {
		data := append(bson.D{{Key: "failCommands", Value: bson.A{"update"}}, {Key: "appName", Value: r.appName}}, how...)
		err := admin.RunCommand(context.Background(), bson.D{
			{Key: "configureFailPoint", Value: "failCommand"}, {Key: "mode", Value: mode}, {Key: "data", Value: data},
		}).Err()
		if err != nil {
			r.t.Error(err)
		}
	}
	set("alwaysOn")
	r.t.Cleanup(func() { set("off") })
	return func() {
		set("off")
		// A client whose connection was closed looks for the server again,
		// which takes longer than a flush may take on a busy machine (TLS, a
		// login).
		if err := r.config.Keys.Database().RunCommand(r.t.Context(), bson.D{{Key: "ping", Value: 1}}).Err(); err != nil {
			r.t.Error(err)
		}
	}
}

func each(t *testing.T, f func(t *testing.T, s *mongotest.Server)) {
	t.Helper()
	mongotest.Each(t, f)
}
