package usage

import (
	"errors"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"

	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/mongotest"
)

func TestUsesOfAKeyAreOneUpdate(t *testing.T) {
	each(t, func(t *testing.T, s *mongotest.Server) {
		r := newRig(t, s)
		for _, id := range []any{"text", int64(7), bson.NewObjectID(), 1.5, bson.D{{Key: "a", Value: int32(1)}}} {
			touched := r.insert(id)
			for i := range 5 {
				// Not in the order of time.
				r.Record(touched, day.Add(time.Duration(3*i%5)*time.Second))
			}
			r.pends(1, 1)
			r.flush()
			r.pends(0, 0)
			r.has(id, 5, day.Add(4*time.Second))
			r.Record(touched, day)
			r.flush()
			r.has(id, 6, day.Add(4*time.Second))
		}
		r.counts(r.metrics.written, 10, "written")
	})
}

func TestADeletedDocumentIsNotInsertedAgain(t *testing.T) {
	each(t, func(t *testing.T, s *mongotest.Server) {
		r := newRig(t, s)
		r.Record(docID(t, "nobody"), day)
		r.flush()
		r.pends(0, 0)
		if n, err := r.keys.CountDocuments(t.Context(), bson.D{}); err != nil || n != 0 {
			t.Errorf("%d documents, %v", n, err)
		}
		r.counts(r.metrics.unmatched, 1, "unmatched")
	})
}

// TestFieldsOfOtherTypesAreLeftAlone, and other documents are still updated.
func TestFieldsOfOtherTypesAreLeftAlone(t *testing.T) {
	each(t, func(t *testing.T, s *mongotest.Server) {
		r := newRig(t, s)
		ids := []any{"good", "nulls", "text count", "text time", "number time"}
		touched := []bson.D{
			{},
			{{Key: "last_used", Value: nil}},
			{{Key: "usage_count", Value: "many"}},
			{{Key: "last_used", Value: "2020-01-01"}},
			{{Key: "last_used", Value: int64(1577836800)}},
		}
		for range 2 {
			for i, id := range ids {
				name := docID(t, id)
				if r.logs.Len() == 0 {
					name = r.insert(id, touched[i]...)
				}
				r.Record(name, day)
			}
			r.flush()
			r.pends(0, 0)
		}
		r.has("good", 2, day)
		r.has("nulls", 2, day)
		r.has("text count", "many", nil)
		r.has("text time", nil, "2020-01-01")
		r.has("number time", nil, int64(1577836800))
		r.counts(r.metrics.refused, 2, "refused")
		r.counts(r.metrics.unwilling, 2, "uses dropped because the document refuses")
		r.counts(r.metrics.unmatched, 4, "unmatched")
		warned := r.logs.FilterMessageSnippet("rejects the update of its use").All()
		if len(warned) != 1 || !strings.Contains(warned[0].ContextMap()["key_id"].(string), "text count") {
			t.Errorf("logged %v, want one line about the document", warned)
		}
	})
}

// TestDocumentsThatRefuseDoNotDelayOthers, wherever in the command they are.
func TestDocumentsThatRefuseDoNotDelayOthers(t *testing.T) {
	each(t, func(t *testing.T, s *mongotest.Server) {
		r := newRig(t, s)
		for i := range 40 {
			fields := bson.D{}
			if i%4 == 0 {
				fields = bson.D{{Key: "usage_count", Value: "many"}}
			}
			r.Record(r.insert(int32(i), fields...), day)
		}
		r.flush()
		r.counts(r.metrics.refused, 10, "refused")
		r.counts(r.metrics.written, 30, "written")
		for i := range 40 {
			if i%4 != 0 {
				r.has(int32(i), 1, day)
			}
		}
	})
}

func TestOneFieldIsEnough(t *testing.T) {
	each(t, func(t *testing.T, s *mongotest.Server) {
		for name, test := range map[string]struct {
			change      func(*Config)
			count, last any
		}{
			"no count": {func(c *Config) { c.UsageCount = "" }, nil, day},
			"no time":  {func(c *Config) { c.LastUsed = "" }, 2, nil},
		} {
			r := newRig(t, s, test.change)
			id := r.insert(name)
			r.Record(id, day)
			r.Record(id, day)
			r.flush()
			r.has(name, test.count, test.last)
		}
	})
}

func TestAFailedFlushIsMergedBack(t *testing.T) {
	each(t, func(t *testing.T, s *mongotest.Server) {
		r := newRig(t, s)
		id, other := r.insert("k"), r.insert("other")
		r.Record(id, day)
		r.Record(other, day)
		mend := r.fails(bson.E{Key: "errorCode", Value: 13})
		if err := r.Flush(t.Context()); err == nil {
			t.Fatal("no error")
		}
		r.pends(2, 2)
		r.Record(id, day.Add(time.Second))
		if err := r.Flush(t.Context()); err == nil {
			t.Fatal("no error")
		}
		mend()
		r.flush()
		r.pends(0, 0)
		r.has("k", 2, day.Add(time.Second))
		r.has("other", 1, day)
		r.counts(r.metrics.failures, 2, "failures")
		if n := r.logs.Len(); n != 2 {
			t.Errorf("%d log lines, want one for the failure and one for its end", n)
		}
	})
}

// TestWhatMayHaveHappenedIsNotCountedTwice: the connection breaks during the
// command, so its outcome is unknown.
func TestWhatMayHaveHappenedIsNotCountedTwice(t *testing.T) {
	each(t, func(t *testing.T, s *mongotest.Server) {
		r := newRig(t, s)
		id := r.insert("k")
		r.Record(id, day)
		mend := r.fails(bson.E{Key: "closeConnection", Value: true})
		if err := r.Flush(t.Context()); err == nil {
			t.Fatal("no error")
		}
		mend()
		r.pends(1, 1)
		r.flush()
		r.has("k", nil, day)
		r.counts(r.metrics.unknown, 1, "uses whose outcome is unknown")
	})
}

func TestTheRestOfAFailedFlushIsNotSent(t *testing.T) {
	each(t, func(t *testing.T, s *mongotest.Server) {
		r := newRig(t, s)
		for i := range BatchSize + 10 {
			r.Record(docID(t, int32(i)), day)
		}
		mend := r.fails(bson.E{Key: "errorCode", Value: 11601})
		if err := r.Flush(t.Context()); err == nil {
			t.Fatal("no error")
		}
		mend()
		r.counts(r.metrics.unknown, BatchSize, "uses whose outcome is unknown")
		r.pends(BatchSize+10, BatchSize+10)
		r.flush()
		r.pends(0, 0)
	})
}

func TestACrashLosesWhatWasNotFlushed(t *testing.T) {
	each(t, func(t *testing.T, s *mongotest.Server) {
		r := newRig(t, s)
		id := r.insert("k")
		for range 5 {
			r.Record(id, day)
		}
		r.flush()
		for range 3 {
			r.Record(id, day.Add(time.Second))
		}
		// Nothing calls it any more.
		r.has("k", 5, day)
	})
}

func TestPrepareNamesTheMissingPrivilege(t *testing.T) {
	each(t, func(t *testing.T, s *mongotest.Server) {
		r := newRig(t, s)
		r.insert("k")
		if err := r.Prepare(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.has("k", nil, nil)
		mend := r.fails(bson.E{Key: "errorCode", Value: 13})
		err := r.Prepare(t.Context())
		if !errors.Is(err, keystore.ErrUnauthorized) || !strings.Contains(err.Error(), `grant the user of the connection string update on collection "api_keys"`) {
			t.Errorf("got %v", err)
		}
		mend()
		r.fails(bson.E{Key: "errorCode", Value: 11601})
		if err := r.Prepare(t.Context()); err == nil || errors.Is(err, keystore.ErrUnauthorized) {
			t.Errorf("got %v, want an error that is about something else", err)
		}
	})
}

func TestNotApplied(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want bool
	}{
		"no server":            {topology.ServerSelectionError{Wrapped: errors.New("x")}, true},
		"no connection":        {topology.ConnectionError{Wrapped: errors.New("x")}, true},
		"no place in the pool": {topology.WaitQueueTimeoutError{Wrapped: errors.New("x")}, true},
		"said by a label":      {mongo.CommandError{Code: 11602, Labels: []string{driver.RetryableWriteError, driver.NoWritesPerformed}}, true},
		"not allowed":          {mongo.CommandError{Code: 13}, true},
		"connection broke":     {mongo.CommandError{Labels: []string{"NetworkError"}, Wrapped: topology.ConnectionError{}}, false},
		"stepdown":             {mongo.CommandError{Code: 11602, Labels: []string{driver.RetryableWriteError}}, false},
		"killed":               {mongo.CommandError{Code: 11601}, false},
		"deadline":             {mongo.CommandError{Code: 50}, false},
		"anything else":        {errors.New("x"), false},
	} {
		if got := wasNotApplied(test.err); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

// TestAnUpdateThatWasInterruptedWaits, and one that its document refuses does
// not.
func TestAnUpdateThatWasInterruptedWaits(t *testing.T) {
	each(t, func(t *testing.T, s *mongotest.Server) {
		r := newRig(t, s)
		batch := []pending{{id: docID(t, "a"), count: 2, last: 1}, {id: docID(t, "b"), count: 3, last: 1}}
		r.recordRefused(batch, []mongo.BulkWriteError{
			{WriteError: mongo.WriteError{Index: 0, Code: 112}},
			{WriteError: mongo.WriteError{Index: 1, Code: 14}},
			{WriteError: mongo.WriteError{Index: 7, Code: 14}},
		})
		if waits := r.collect(true); len(waits) != 1 || waits[0] != batch[0] {
			t.Errorf("%v waits, want the interrupted one", waits)
		}
		r.counts(r.metrics.unwilling, 3, "uses dropped because the document refuses")
	})
}
