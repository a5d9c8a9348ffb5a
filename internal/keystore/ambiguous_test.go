package keystore

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
)

// withoutIndex drops the unique index of the fixture's collection.
func (f fixture) withoutIndex(t *testing.T) {
	t.Helper()
	if err := f.keys.Indexes().DropOne(t.Context(), "key_hash_1"); err != nil {
		t.Fatal(err)
	}
}

// readers are the reads by hash.
func (f fixture) readers() map[string]func(context.Context) (Document, bool, error) {
	return map[string]func(context.Context) (Document, bool, error){
		"fill":         func(ctx context.Context) (Document, bool, error) { return f.FindByHash(ctx, testHash, 0) },
		"linearizable": func(ctx context.Context) (Document, bool, error) { return f.FindLinearizable(ctx, testHash) },
	}
}

// TestTwoDocumentsWithOneHashAreDisabled, regardless of their contents, in
// either order.
func TestTwoDocumentsWithOneHashAreDisabled(t *testing.T) {
	active := []bson.E{}
	others := map[string][]bson.E{
		"active":         {{Key: "scopes", Value: bson.A{"*"}}},
		"inactive":       {{Key: "is_active", Value: false}},
		"expired":        {{Key: "expires_at", Value: time.Now().Add(-time.Hour)}},
		"defective":      {{Key: "expires_at", Value: "tomorrow"}},
		"hash in a list": {{Key: "key_hash", Value: bson.A{testHash.Hex(), "else"}}},
	}
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		for name, other := range others {
			for _, order := range [][][]bson.E{{active, other}, {other, active}, {active, other, active}} {
				f := newFixture(t, s)
				f.withoutIndex(t)
				for i, fields := range order {
					f.insert(t, document(t, append(fields, bson.E{Key: "_id", Value: "key-" + string(rune('1'+i))})...))
				}
				for kind, read := range f.readers() {
					got, found, err := read(testContext(t))
					if err != nil || !found || !got.Ambiguous {
						t.Fatalf("%s, %s: found %v, error %v, %+v", name, kind, found, err, got)
					}
					for _, request := range []apikey.Request{{}, {Scopes: []string{"read"}}} {
						if code := apikey.Decide(&got.Record, &request, time.Now()); code != apikey.Disabled {
							t.Errorf("%s, %s: %v", name, kind, code)
						}
					}
					if !strings.Contains(got.Record.Defect, sharesHash) || got.Record.DefectReason != apikey.ReasonSharedHash {
						t.Errorf("%s, %s: the defect is %q, its reason %q", name, kind, got.Record.Defect, got.Record.DefectReason)
					}
				}
			}
		}
	})
}

// TestOneDocumentIsReadByOneCommand: looking for a second document costs no
// extra command and leaves no cursor open.
func TestOneDocumentIsReadByOneCommand(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		f := newFixture(t, s)
		f.withoutIndex(t)
		for n := range 4 {
			for kind, read := range f.readers() {
				f.wire.mu.Lock()
				f.wire.commands = nil
				f.wire.mu.Unlock()
				got, found, err := read(testContext(t))
				if err != nil || found != (n > 0) || got.Ambiguous != (n > 1) {
					t.Fatalf("%d documents, %s: found %v, error %v, %+v", n, kind, found, err, got)
				}
				f.wire.mu.Lock()
				if !slices.Equal(f.wire.commands, []string{"find"}) {
					t.Errorf("%d documents, %s: %v", n, kind, f.wire.commands)
				}
				f.wire.mu.Unlock()
				if n := timesSent(t, f.wire.lastFind(t), "maxTimeMS"); n != 1 {
					t.Errorf("%s: maxTimeMS is sent %d times", kind, n)
				}
			}
			f.insert(t, document(t, bson.E{Key: "_id", Value: n}))
		}
	})
}

func timesSent(t *testing.T, command bson.Raw, field string) (n int) {
	t.Helper()
	elements, err := command.Elements()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range elements {
		if e.Key() == field {
			n++
		}
	}
	return n
}

// TestSharedHashesAreLoggedOnceAndCounted: the log has the ids of the
// documents, never the hash, and the command that creates the index.
func TestSharedHashesAreLoggedOnceAndCounted(t *testing.T) {
	t.Parallel()
	s, logs, registry := observed(t)
	two := []Document{
		{ID: "a", Hash: testHash, HasHash: true, Record: apikey.Record{KeyID: "a", UserID: "u", Active: true}},
		{ID: "b", Hash: testHash, HasHash: true, Record: apikey.Record{KeyID: "b", UserID: "u"}},
	}
	for range 3 {
		if got := s.ambiguous(two); got.ID != "b" {
			t.Errorf("the one that refuses is b, got %s", got.ID)
		}
	}
	want := `
# HELP keytail_ambiguous_reads_total Reads of a hash that more than one document has, so the key is DISABLED. The log has the _ids of some.
# TYPE keytail_ambiguous_reads_total counter
keytail_ambiguous_reads_total 3
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "keytail_ambiguous_reads_total"); err != nil {
		t.Error(err)
	}
	if logs.Len() != 1 {
		t.Fatalf("got %d lines: %v", logs.Len(), logs.All())
	}
	fields := logs.All()[0].ContextMap()
	if names, ok := fields["key_ids"].([]any); !ok || !slices.Equal(names, []any{"a", "b"}) {
		t.Errorf("got %v", fields)
	}
	if fields["index"] != `db.getCollection("api_keys").createIndex({"key_hash": 1}, {unique: true})` {
		t.Errorf("got %v", fields["index"])
	}
	if two[0].Record.Defect != "" || !two[0].Record.Active || two[1].Record.Defect != "" {
		t.Errorf("the documents were changed: %+v", two)
	}
}

func newWatch(t *testing.T, f fixture) (*IndexWatch, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewRegistry()
	w, err := NewIndexWatch(IndexWatchConfig{Store: f.Store, Logger: f.logger, Registerer: registry})
	if err != nil {
		t.Fatal(err)
	}
	if got := testutil.CollectAndCount(w.checks); got != 4 {
		t.Errorf("%d results of a look are there from the start, want all 4", got)
	}
	return w, registry
}

func (f fixture) lines(words string) int {
	return f.logs.FilterMessageSnippet(words).Len()
}

// TestAMissingIndexIsReported by one log line for each change, the metric, and
// the reason that readyz shows.
func TestAMissingIndexIsReported(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		f := newFixture(t, s)
		w, _ := newWatch(t, f)
		check := func(want bool, missing, again int) {
			t.Helper()
			for range 2 {
				if got := w.Check(testContext(t)); got != want || (w.Problem() == "") != want {
					t.Fatalf("the index is seen: %v, problem %q", got, w.Problem())
				}
			}
			if got := testutil.ToFloat64(w.present); (got == 1) != want {
				t.Errorf("the metric is %v", got)
			}
			if f.lines("the unique index on the hash is missing") != missing || f.lines("exists again") != again {
				t.Errorf("got %v", f.logs.All())
			}
		}
		check(true, 0, 0)
		f.withoutIndex(t)
		check(false, 1, 0)
		if !strings.Contains(w.Problem(), `db.getCollection("api_keys").createIndex({"key_hash": 1}, {unique: true})`) {
			t.Errorf("got %q", w.Problem())
		}
		if _, err := f.keys.Indexes().CreateOne(t.Context(), mongo.IndexModel{Keys: bson.D{{Key: "key_hash", Value: 1}}}); err != nil {
			t.Fatal(err)
		}
		check(false, 1, 0)
		f.withoutIndex(t)
		if err := f.createIndex(testContext(t)); err != nil {
			t.Fatal(err)
		}
		check(true, 1, 1)
		// A missing collection is not a missing index; the change stream
		// reports it.
		if err := f.keys.Drop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if w.Check(testContext(t)) || w.Problem() != "" || testutil.ToFloat64(w.checks.WithLabelValues("no_collection")) != 1 {
			t.Errorf("a collection that is gone: %q", w.Problem())
		}
	})
}

// TestAFailedCheckIsNotAMissingIndex: the state of the index is unknown, which
// is logged once.
func TestAFailedCheckIsNotAMissingIndex(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		d := newWriteRig(t, s)
		core, logs := observer.New(zapcore.DebugLevel)
		w, err := NewIndexWatch(IndexWatchConfig{Store: d.Store, Logger: zap.New(core)})
		if err != nil {
			t.Fatal(err)
		}
		d.fail(t, "alwaysOn", commands("listIndexes"), bson.E{Key: "errorCode", Value: codeUnauthorized})
		for range 3 {
			if w.Check(testContext(t)) {
				t.Fatal("Check reports an index although the check failed")
			}
		}
		if w.Problem() != "" || testutil.ToFloat64(w.present) != 1 || testutil.ToFloat64(w.checks.WithLabelValues("failed")) != 3 {
			t.Errorf("problem %q", w.Problem())
		}
		if logs.Len() != 1 || logs.FilterMessageSnippet("could not be checked").Len() != 1 {
			t.Errorf("got %v", logs.All())
		}
		d.fail(t, "off", commands("listIndexes"))
		if !w.Check(testContext(t)) || logs.Len() != 1 {
			t.Errorf("Check does not report the index afterwards, or the log has another line: %v", logs.All())
		}
	})
}

// TestTheIndexIsChecked at the interval, and when a check is requested.
func TestTheIndexIsChecked(t *testing.T) {
	s := mongotest.StartDevmongo(t, devmongo.Config{})
	for name, c := range map[string]struct {
		interval time.Duration
		then     func(*IndexWatch)
	}{
		"at the interval": {10 * time.Millisecond, func(*IndexWatch) {}},
		"on request":      {time.Hour, (*IndexWatch).CheckSoon},
	} {
		f := newFixture(t, &s.Server)
		f.withoutIndex(t)
		w, err := NewIndexWatch(IndexWatchConfig{Store: f.Store, Interval: c.interval, Logger: f.logger})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- w.Run(ctx) }()
		c.then(w)
		mongotest.Eventually(t, patience, func() bool { return w.Problem() != "" }, name+": it is not noticed")
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// TestAMissingIndexIsReportedAgain every ten minutes.
func TestAMissingIndexIsReportedAgain(t *testing.T) {
	s := mongotest.StartDevmongo(t, devmongo.Config{})
	f := newFixture(t, &s.Server)
	w, _ := newWatch(t, f)
	f.withoutIndex(t)
	for _, want := range []int{1, 1, 2, 2} {
		w.Check(testContext(t))
		if got := f.lines("the unique index on the hash is missing"); got != want {
			t.Errorf("%d lines, want %d", got, want)
		}
		w.lastLogged = w.lastLogged.Add(-indexReminder * 2 / 3)
	}
}
