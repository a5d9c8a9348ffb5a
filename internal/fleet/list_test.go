package fleet

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/mongotest"
)

func TestDecodeAssumesTheSafeValue(t *testing.T) {
	at := time.Date(2026, 11, 23, 20, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		document bson.D
		want     heartbeat
		none     bool
	}{
		"whole": {
			document: bson.D{
				{Key: "_id", Value: "a/1"},
				{Key: "at", Value: at},
				{Key: "processed", Value: bson.Timestamp{T: 7, I: 3}},
				{Key: "max_stale_ms", Value: int64(1500)},
				{Key: "staleness_ms", Value: int64(20)},
				{Key: "version", Value: "v1"},
			},
			want: heartbeat{maxStale: 1500 * time.Millisecond, Instance: Instance{
				ID: "a/1", Version: "v1", Revision: clustertime.New(7, 3), Staleness: 20 * time.Millisecond, LastSeen: at,
			}},
		},
		"the first": {
			document: bson.D{{Key: "_id", Value: "a/1"}, {Key: "at", Value: at}, {Key: "max_stale_ms", Value: 1500}},
			want:     heartbeat{maxStale: 1500 * time.Millisecond, Instance: Instance{ID: "a/1", Staleness: -1, LastSeen: at}},
		},
		"wrong types": {
			document: bson.D{
				{Key: "_id", Value: 7},
				{Key: "at", Value: at},
				{Key: "processed", Value: at},
				{Key: "max_stale_ms", Value: "1"},
				{Key: "staleness_ms", Value: -3},
				{Key: "version", Value: 1},
			},
			want: heartbeat{maxStale: longestMaxStale, Instance: Instance{Staleness: -1, LastSeen: at}},
		},
		"too long": {
			document: bson.D{{Key: "at", Value: at}, {Key: "max_stale_ms", Value: int64(1) << 60}},
			want:     heartbeat{maxStale: longestMaxStale, Instance: Instance{Staleness: -1, LastSeen: at}},
		},
		"a time and an age beyond all limits": {
			document: bson.D{{Key: "at", Value: bson.DateTime(math.MaxInt64)}, {Key: "staleness_ms", Value: int64(math.MaxInt64)}},
			want:     heartbeat{maxStale: longestMaxStale, Instance: Instance{Staleness: -1, LastSeen: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)}},
		},
		"before all times": {
			document: bson.D{{Key: "at", Value: bson.DateTime(math.MinInt64)}},
			want:     heartbeat{maxStale: longestMaxStale, Instance: Instance{Staleness: -1, LastSeen: time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)}},
		},
		"negative": {
			document: bson.D{{Key: "at", Value: at}, {Key: "max_stale_ms", Value: -1}},
			want:     heartbeat{maxStale: longestMaxStale, Instance: Instance{Staleness: -1, LastSeen: at}},
		},
		"without a time": {document: bson.D{{Key: "_id", Value: "a/1"}}, none: true},
	} {
		raw, err := bson.Marshal(c.document)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := decode(raw)
		if ok == c.none {
			t.Errorf("%s: a heartbeat: %v", name, ok)
		}
		got.key, got.version = "", "" // TestHeartbeatsAreDistinguished
		if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(heartbeat{})); diff != "" {
			t.Errorf("%s, want - and got +:\n%s", name, diff)
		}
	}
}

// TestHeartbeatsAreDistinguished by what an instance writes anew each time, and
// documents by an _id of any type.
func TestHeartbeatsAreDistinguished(t *testing.T) {
	at := time.Date(2026, 11, 23, 20, 0, 0, 0, time.UTC)
	of := func(id, n any, at time.Time) heartbeat {
		raw, err := bson.Marshal(bson.D{{Key: "_id", Value: id}, {Key: "n", Value: n}, {Key: "at", Value: at}})
		if err != nil {
			t.Fatal(err)
		}
		h, _ := decode(raw)
		return h
	}
	one := of("a/1", int64(1), at)
	if again := of("a/1", int64(1), at); again != one {
		t.Errorf("%+v is not %+v", again, one)
	}
	for _, other := range []heartbeat{of("a/1", int64(2), at), of("a/1", "1", at), of("a/1", int64(1), at.Add(-time.Millisecond))} {
		if other.version == one.version || other.key != one.key {
			t.Errorf("%+v is the heartbeat %+v", other, one)
		}
	}
	for _, other := range []heartbeat{of("a/2", int64(1), at), of(int64(7), int64(1), at), of(int32(7), int64(1), at)} {
		if other.key == one.key {
			t.Errorf("%+v is the document %+v", other, one)
		}
	}
}

// TestTheListIsReadAfterAClusterTime: it contains what a majority has
// acknowledged, and not the instances of other fleets.
func TestTheListIsReadAfterAClusterTime(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		db := s.Client(t).Database(s.Database(t))
		beats := db.Collection("beats", options.Collection().SetWriteConcern(writeconcern.Majority()))
		l := newList(beats, "db.keys")
		session, err := db.Client().StartSession(options.Session().SetCausalConsistency(false))
		if err != nil {
			t.Fatal(err)
		}
		defer session.EndSession(t.Context())
		ctx := mongo.NewSessionContext(t.Context(), session)
		for i, ns := range []string{"db.keys", "db.other", "db.keys"} {
			if _, err := beats.InsertOne(ctx, bson.D{{Key: "_id", Value: string(rune('a' + i))}, {Key: "ns", Value: ns}, {Key: "at", Value: time.Now()}}); err != nil {
				t.Fatal(err)
			}
			at := session.OperationTime()
			all, err := l.read(t.Context(), clustertime.New(at.T, at.I), false)
			if want := 1 + i/2; err != nil || len(all) != want {
				t.Fatalf("%d on the list, want %d: %+v, %v", len(all), want, all, err)
			}
			brief, err := l.read(t.Context(), clustertime.New(at.T, at.I), true)
			if err != nil || len(brief) != len(all) {
				t.Fatalf("%d on the list in brief, want %d: %v", len(brief), len(all), err)
			}
			for j := range brief {
				if brief[j].key != all[j].key || brief[j].version != all[j].version || brief[j].version == "" {
					t.Errorf("in brief %+v, whole %+v", brief[j], all[j])
				}
			}
		}
	})
}
