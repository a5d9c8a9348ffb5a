package keystore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
)

// patience is the time limit of a command on a busy machine.
const patience = 30 * time.Second

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// wire records what the client sends, and the errors of the server.
type wire struct {
	mu       sync.Mutex
	commands []string
	finds    []bson.Raw
	refusals []error
}

func (w *wire) monitor() *event.CommandMonitor {
	return &event.CommandMonitor{
		Started: func(_ context.Context, e *event.CommandStartedEvent) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.commands = append(w.commands, e.CommandName)
			if e.CommandName == "find" {
				w.finds = append(w.finds, append(bson.Raw(nil), e.Command...))
			}
		},
		Failed: func(_ context.Context, e *event.CommandFailedEvent) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if e.CommandName == "find" {
				w.refusals = append(w.refusals, e.Failure)
			}
		},
	}
}

func (w *wire) lastFind(t *testing.T) bson.Raw {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.finds) == 0 {
		t.Fatal("no find was sent")
	}
	return w.finds[len(w.finds)-1]
}

func (w *wire) refused() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.refusals)
}

// fixture is a Store on a new collection whose commands are recorded. Its
// client prefers secondaries and has no read concern, to verify that the Store
// does not depend on the client's settings.
type fixture struct {
	*Store
	client *mongo.Client
	keys   *mongo.Collection
	wire   *wire
	logs   *observer.ObservedLogs
}

func newFixture(t *testing.T, s *mongotest.Server, change ...func(*Config)) fixture {
	t.Helper()
	w := &wire{}
	client := s.Connect(t, s.Options("").SetMonitor(w.monitor()).SetReadPreference(readpref.SecondaryPreferred()))
	name := s.Database(t)
	keys := mongotest.CreateAPIKeys(t, client.Database(name))
	core, logs := observer.New(zapcore.DebugLevel)
	config := Config{Client: client, Database: name, Logger: zap.New(core)}
	for _, f := range change {
		f(&config)
	}
	store, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return fixture{store, client, keys, w, logs}
}

// insert writes a document and returns the time of the write.
func (f fixture) insert(t *testing.T, doc bson.Raw) clustertime.Time {
	t.Helper()
	session, err := f.client.StartSession()
	if err != nil {
		t.Fatal(err)
	}
	defer session.EndSession(t.Context())
	if _, err := f.keys.InsertOne(mongo.NewSessionContext(testContext(t), session), doc); err != nil {
		t.Fatal(err)
	}
	at := session.OperationTime()
	return clustertime.New(at.T, at.I)
}

func TestFillsAreSentByTheRule(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		f := newFixture(t, s)
		written := f.insert(t, document(t))
		for _, after := range []clustertime.Time{written, 0} {
			if _, found, err := f.FindByHash(testContext(t), testHash, after); err != nil || !found {
				t.Fatalf("found %v, error %v", found, err)
			}
			checkFind(t, f.wire.lastFind(t), bson.D{{Key: "key_hash", Value: testHash.Hex()}}, after, 2)
			if _, found, err := findByID(testContext(t), f, f.Schema().ID(rawValue(t, "key-1")), after); err != nil || !found {
				t.Fatalf("found %v, error %v", found, err)
			}
			checkFind(t, f.wire.lastFind(t), bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: bson.A{"key-1"}}}}}, after, 0)
		}
		if n := f.client.NumberSessionsInProgress(); n != 0 {
			t.Errorf("%d sessions are still open", n)
		}
	})
}

// TestFindByIDsReturnsExistingDocuments: ids of different types, one that no
// document has, and one that no document can have.
func TestFindByIDsReturnsExistingDocuments(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		f := newFixture(t, s)
		var ids []apikey.DocID
		for i, id := range []any{"key-1", int32(7), bson.NewObjectID()} {
			f.insert(t, document(t, bson.E{Key: "_id", Value: id}, bson.E{Key: "key_hash", Value: strings.Repeat(fmt.Sprint(i), 64)}))
			ids = append(ids, f.Schema().ID(rawValue(t, id)))
		}
		ids = append(ids, f.Schema().ID(rawValue(t, "nobody")), "", ids[0])
		documents, err := f.FindByIDs(testContext(t), ids, 0)
		if err != nil || len(documents) != 3 {
			t.Fatalf("%d documents, error %v", len(documents), err)
		}
		for _, d := range documents {
			if !slices.Contains(ids, d.ID) || !d.HasHash {
				t.Errorf("%+v", d)
			}
		}
	})
}

// checkFind compares the command that was sent with the rule for fills.
func checkFind(t *testing.T, find bson.Raw, filter bson.D, after clustertime.Time, limit int) {
	t.Helper()
	var sent struct {
		Filter      bson.D
		ReadConcern bson.D `bson:"readConcern"`
		LSID        bson.D `bson:"lsid"`
		Limit       int
	}
	if err := bson.Unmarshal(find, &sent); err != nil {
		t.Fatal(err)
	}
	concern := bson.D{{Key: "level", Value: "majority"}}
	if after != 0 {
		concern = append(concern, bson.E{Key: "afterClusterTime", Value: bson.Timestamp{T: after.Seconds(), I: after.Increment()}})
	}
	if diff := cmp.Diff(concern, sent.ReadConcern); diff != "" {
		t.Errorf("read concern: %s", diff)
	}
	if diff := cmp.Diff(filter, sent.Filter); diff != "" {
		t.Errorf("filter: %s", diff)
	}
	if got := member(find); got != "primary" {
		t.Errorf("it reads from %s", got)
	}
	if sent.LSID == nil || sent.Limit != limit {
		t.Errorf("session %v, limit %d", sent.LSID, sent.Limit)
	}
}

func TestFindReadsTheDocument(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		f := newFixture(t, s)
		doc := document(t,
			bson.E{Key: "_id", Value: int32(7)}, bson.E{Key: "scopes", Value: bson.A{"a", "b:*"}},
			bson.E{Key: "expires_at", Value: bson.DateTime(1893456000000)}, bson.E{Key: "metadata", Value: bson.D{{Key: "a", Value: bson.D{}}}})
		at := f.insert(t, doc)
		want := f.Schema().Decode(doc)
		got, found, err := f.FindByHash(testContext(t), testHash, at)
		if diff := cmp.Diff(want, got, compareRecords); err != nil || !found || diff != "" {
			t.Errorf("by hash: found %v, error %v, %s", found, err, diff)
		}
		// By a number of another type, as MongoDB compares them
		got, found, err = findByID(testContext(t), f, f.Schema().ID(rawValue(t, 7.0)), at)
		if diff := cmp.Diff(want, got, compareRecords); err != nil || !found || diff != "" {
			t.Errorf("by id: found %v, error %v, %s", found, err, diff)
		}
	})
}

func TestEveryTypeOfIDIsFoundByItsForm(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		f := newFixture(t, s)
		for i, id := range []any{
			"text", "", int32(1), int64(1) << 40, 1.5, bson.NewObjectID(),
			bson.Binary{Subtype: 4, Data: make([]byte, 16)},
			bson.D{{Key: "tenant", Value: "a"}, {Key: "n", Value: int32(2)}},
			true, bson.DateTime(5), decimal(t, "2.5"),
		} {
			hash := apikey.HashOf(strings.Repeat("x", i+1))
			at := f.insert(t, document(t, bson.E{Key: "_id", Value: id}, bson.E{Key: "key_hash", Value: hash.Hex()}))
			form := f.Schema().ID(rawValue(t, id))
			got, found, err := findByID(testContext(t), f, form, at)
			if err != nil || !found || got.ID != form || got.Hash != hash {
				t.Errorf("%v (%T): found %v, error %v, %+v", id, id, found, err, got)
			}
		}
	})
}

func TestAnEmptyResultIsNotAnError(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		f := newFixture(t, s)
		at := f.insert(t, document(t))
		if _, found, err := f.FindByHash(testContext(t), apikey.HashOf("another key"), at); found || err != nil {
			t.Errorf("by hash: found %v, error %v", found, err)
		}
		if _, found, err := findByID(testContext(t), f, f.Schema().ID(rawValue(t, "key-2")), at); found || err != nil {
			t.Errorf("by id: found %v, error %v", found, err)
		}
	})
}

func TestDefectiveDocumentIsFoundAndDisabled(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		f := newFixture(t, s)
		at := f.insert(t, document(t, bson.E{Key: "expires_at", Value: "tomorrow"}))
		got, found, err := f.FindByHash(testContext(t), testHash, at)
		if err != nil || !found || got.Record.Defect == "" {
			t.Errorf("found %v, error %v, defect %q", found, err, got.Record.Defect)
		}
		if _, _, err := findByID(testContext(t), f, got.ID, at); err != nil {
			t.Error(err)
		}
		if f.logs.FilterField(zap.String("key_id", "key-1")).Len() != 1 {
			t.Errorf("it is not logged once: %v", f.logs.All())
		}
		// MongoDB finds an array by one of its elements
		other := apikey.HashOf("in an array")
		at = f.insert(t, document(t, bson.E{Key: "_id", Value: "key-2"}, bson.E{Key: "key_hash", Value: bson.A{other.Hex()}}))
		got, found, err = f.FindByHash(testContext(t), other, at)
		if err != nil || !found || got.Record.Defect == "" || got.HasHash {
			t.Errorf("array: found %v, error %v, %+v", found, err, got)
		}
	})
}

// TestReadAheadOfAnIdleServerIsAnswered requires one tick after the newest
// write: this is the floor of a stream on an idle server.
func TestReadAheadOfAnIdleServerIsAnswered(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		f := newFixture(t, s)
		ahead := f.insert(t, document(t)) + 1
		answer := make(chan error, 1)
		ctx := testContext(t)
		go func() {
			_, found, err := f.FindByHash(ctx, testHash, ahead)
			if err == nil && !found {
				err = errors.New("not found")
			}
			answer <- err
		}()
		// Another client writes, as a heartbeat does, once the server has
		// refused; a server that waits, or whose clock advances anyway, may
		// answer before
		other := s.Client(t).Database(f.database.Name()).Collection("other")
		var err error
		answered := false
		mongotest.Eventually(t, patience, func() bool {
			select {
			case err = <-answer:
				answered = true
			default:
			}
			return answered || f.wire.refused() > 0
		}, "a refusal or an answer")
		if !answered {
			if _, err := other.InsertOne(ctx, bson.D{}); err != nil {
				t.Fatal(err)
			}
			err = <-answer
		}
		if err != nil {
			t.Errorf("got %v", err)
		}
	})
}

// TestReadOneTickAheadIsRetried is the same on a server whose clock stands
// still until the test moves it.
func TestReadOneTickAheadIsRetried(t *testing.T) {
	s := mongotest.StartDevmongo(t, devmongo.Config{NoopInterval: -1})
	f := newFixture(t, &s.Server)
	ahead := f.insert(t, document(t)) + 1
	ctx := testContext(t)
	answer := make(chan error, 1)
	go func() {
		_, _, err := f.FindByHash(ctx, testHash, ahead)
		answer <- err
	}()
	mongotest.Eventually(t, patience, func() bool { return f.wire.refused() >= 2 }, "two refusals")
	select {
	case err := <-answer:
		t.Fatalf("answered before the server's time had moved: %v", err)
	default:
	}
	s.Node.TickNoop()
	if err := <-answer; err != nil {
		t.Error(err)
	}
}

func TestReadFarAheadEndsWithItsDeadline(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		s.Needs(t, mongotest.RefusesFuture)
		f := newFixture(t, s)
		at := f.insert(t, document(t))
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		_, found, err := f.FindByHash(ctx, testHash, clustertime.New(at.Seconds()+3600, 1))
		if err == nil || found {
			t.Fatalf("found %v, error %v", found, err)
		}
		if !mongo.IsTimeout(err) {
			t.Errorf("got %v, want a time-out", err)
		}
	})
}
