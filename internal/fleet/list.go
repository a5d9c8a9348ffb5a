package fleet

import (
	"cmp"
	"context"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"

	"github.com/keytail/keytail/internal/clustertime"
)

// longestMaxStale is the most that an instance can be configured to: what one
// has that does not say so in a way that can be read.
const longestMaxStale = time.Hour

// heartbeat is one document of the list.
type heartbeat struct {
	Instance
	maxStale time.Duration
}

// decode never fails: whatever a document leaves open is taken for what makes a
// receipt later, not sooner. Only one without a time is no heartbeat.
func decode(raw bson.Raw) (heartbeat, bool) {
	at, ok := raw.Lookup("at").TimeOK()
	if !ok {
		return heartbeat{}, false
	}
	h := heartbeat{maxStale: longestMaxStale, Instance: Instance{LastSeen: at, Staleness: -1}}
	h.ID, _ = raw.Lookup("_id").StringValueOK()
	h.Version, _ = raw.Lookup("version").StringValueOK()
	if seconds, increment, ok := raw.Lookup("processed").TimestampOK(); ok {
		h.Revision = clustertime.New(seconds, increment)
	}
	if ms, ok := raw.Lookup("staleness_ms").AsInt64OK(); ok && ms >= 0 {
		h.Staleness = time.Duration(ms) * time.Millisecond
	}
	if ms, ok := raw.Lookup("max_stale_ms").AsInt64OK(); ok && ms > 0 && ms <= longestMaxStale.Milliseconds() {
		h.maxStale = time.Duration(ms) * time.Millisecond
	}
	return h, true
}

// alive reports whether an instance may still answer from memory when our own
// newest heartbeat was written at now. Both times are the server's.
func (h *heartbeat) alive(now time.Time) bool {
	return now.Sub(h.LastSeen) <= h.maxStale+Margin
}

// living are the instances that count, sorted by id; false when our own is not on
// the list, so that nobody can say what time it is.
func living(all []heartbeat, self string) ([]Instance, bool) {
	i := slices.IndexFunc(all, func(h heartbeat) bool { return h.ID == self })
	if i < 0 {
		return nil, false
	}
	var instances []Instance
	for _, h := range all {
		if h.alive(all[i].LastSeen) {
			instances = append(instances, h.Instance)
		}
	}
	slices.SortFunc(instances, func(a, b Instance) int { return cmp.Compare(a.ID, b.ID) })
	return instances, true
}

// list reads the heartbeats of one fleet.
type list struct {
	heartbeats *mongo.Collection
	namespace  string
}

// newList reads from the primary, whatever the client does otherwise.
func newList(heartbeats *mongo.Collection, namespace string) *list {
	return &list{
		heartbeats: heartbeats.Clone(options.Collection().
			SetReadConcern(readconcern.Majority()).
			SetReadPreference(readpref.Primary())),
		namespace: namespace,
	}
}

// read reads the list from a majority-committed snapshot that is not older than
// after. The driver sends afterClusterTime only in a causally consistent session
// that has been told of the time.
func (l *list) read(ctx context.Context, after clustertime.Time) ([]heartbeat, error) {
	session, err := l.heartbeats.Database().Client().StartSession(options.Session().SetCausalConsistency(true))
	if err != nil {
		return nil, err
	}
	defer session.EndSession(context.WithoutCancel(ctx))
	if after != 0 {
		t := bson.Timestamp{T: after.Seconds(), I: after.Increment()}
		if err := session.AdvanceOperationTime(&t); err != nil {
			return nil, err
		}
	}
	ctx = mongo.NewSessionContext(ctx, session)
	cursor, err := l.heartbeats.Find(ctx, bson.D{{Key: "ns", Value: l.namespace}})
	if err != nil {
		return nil, err
	}
	defer func() { _ = cursor.Close(context.WithoutCancel(ctx)) }()
	var all []heartbeat
	for cursor.Next(ctx) {
		if h, ok := decode(cursor.Current); ok {
			all = append(all, h)
		}
	}
	return all, cursor.Err()
}
