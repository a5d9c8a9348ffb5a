package fleet

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"

	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/guard"
)

// longestMaxStale is the largest max_stale that can be configured. It is
// assumed for an instance whose document has no readable max_stale.
const longestMaxStale = time.Hour

// The fields that identify a heartbeat.
const (
	fieldID    = "_id"
	fieldNonce = "n"
	fieldAt    = "at"
)

// heartbeat is one document of the list.
type heartbeat struct {
	Instance
	maxStale time.Duration
	// key is the _id, of any type. version is what each heartbeat of an
	// instance changes: two equal versions are the same heartbeat.
	key, version string
	// since is when the version was first seen, by this machine's clock (see
	// observations): it was committed before that.
	since time.Time
}

// decode never fails: for what a document leaves open, it assumes a value that
// makes a write acknowledgement later, not earlier. Only a document without a
// time is not a heartbeat.
func decode(raw bson.Raw) (heartbeat, bool) {
	at, ok := raw.Lookup(fieldAt).TimeOK()
	if !ok {
		return heartbeat{}, false
	}
	h := heartbeat{
		maxStale: longestMaxStale, Instance: Instance{LastSeen: shown(at), Staleness: -1},
		key: bytesOf(raw, fieldID), version: bytesOf(raw, fieldNonce) + bytesOf(raw, fieldAt),
	}
	h.ID, _ = raw.Lookup(fieldID).StringValueOK()
	h.Version, _ = raw.Lookup("version").StringValueOK()
	if seconds, increment, ok := raw.Lookup("processed").TimestampOK(); ok {
		h.Revision = clustertime.New(seconds, increment)
	}
	if ms, ok := raw.Lookup("staleness_ms").AsInt64OK(); ok && ms >= 0 && ms <= math.MaxInt64/int64(time.Millisecond) {
		h.Staleness = time.Duration(ms) * time.Millisecond
	}
	if ms, ok := raw.Lookup("max_stale_ms").AsInt64OK(); ok && ms > 0 && ms <= longestMaxStale.Milliseconds() {
		h.maxStale = time.Duration(ms) * time.Millisecond
	}
	return h, true
}

// shown bounds a time to the years that RFC 3339 can write, and clients can read.
func shown(at time.Time) time.Time {
	switch year := at.UTC().Year(); {
	case year < 1:
		return time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	case year > 9999:
		return time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	}
	return at
}

// bytesOf returns a field's type and value.
func bytesOf(raw bson.Raw, field string) string {
	v := raw.Lookup(field)
	return string(v.Type) + string(v.Value)
}

// live returns the instances that count, sorted by id. It returns false if this
// instance is not on the list, because then it cannot be the list that this
// instance writes to.
func (l *snapshot) live(self string) ([]Instance, bool) {
	own := slices.IndexFunc(l.all, func(h heartbeat) bool { return h.ID == self })
	if own < 0 {
		return nil, false
	}
	var instances []Instance
	for i := range l.all {
		h := &l.all[i]
		silent := l.until.Sub(h.since)
		if !guard.FleetOwnClock {
			silent = l.all[own].LastSeen.Sub(h.LastSeen)
		}
		if h.ID == self || silent <= h.maxStale+Margin {
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

// newList reads from the primary, regardless of the settings of the client.
func newList(heartbeats *mongo.Collection, namespace string) *list {
	return &list{
		heartbeats: heartbeats.Clone(options.Collection().
			SetReadConcern(readconcern.Majority()).
			SetReadPreference(readpref.Primary())),
		namespace: namespace,
	}
}

// identifyingFields are the fields that differ between two heartbeats.
var identifyingFields = bson.D{{Key: fieldNonce, Value: 1}, {Key: fieldAt, Value: 1}}

// read reads the list from a majority-committed snapshot that is not older than
// after (zero: any snapshot): whole documents, or with brief only the fields
// that observations needs. The driver sends afterClusterTime only in a causally
// consistent session that knows the time.
func (l *list) read(ctx context.Context, after clustertime.Time, brief bool) ([]heartbeat, error) {
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
	find := options.Find()
	if brief {
		find.SetProjection(identifyingFields)
	}
	cursor, err := l.heartbeats.Find(ctx, bson.D{{Key: "ns", Value: l.namespace}}, find)
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
