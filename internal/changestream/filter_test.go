package changestream

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
)

// formerFilter is the filter before the present one. It passed the same events, but a
// server could not apply it to its oplog.
func formerFilter() bson.D {
	ours := bson.D{{Key: "$or", Value: bson.A{
		bson.D{{Key: "ns.coll", Value: schema.Collection}},
		bson.D{{Key: "ns.coll", Value: bson.D{{Key: "$exists", Value: false}}}},
		bson.D{{Key: "to.coll", Value: schema.Collection}},
	}}}
	return bson.D{{Key: "$or", Value: bson.A{
		bson.D{{Key: "$and", Value: bson.A{ours, onlyUpdatesOf(schema.DecodedFields())}}},
		bson.D{{Key: "ns.coll", Value: HeartbeatCollection}, {Key: "documentKey._id", Value: own}},
	}}}
}

func filterOf(p mongo.Pipeline) bson.D { return p[0][0].Value.(bson.D) }

// shape is one event of the exhaustive test.
type shape struct {
	kind, collection, to, key, update string
	event                             bson.Raw
}

func (s *shape) String() string {
	return fmt.Sprintf("%s of %s to %s by %s (%s)", s.kind, s.collection, s.to, s.key, s.update)
}

// known are the types in the "Change Events" part of MongoDB's manual, and one that
// no server has yet.
var known = []string{
	"insert", "update", "replace", "delete", "drop", "rename", "dropDatabase", "invalidate", "create", "createIndexes",
	"dropIndexes", "modify", "shardCollection", "refineCollectionShardKey", "reshardCollection", "reshapeDatabase",
}

const absent, other = "absent", "other"

// updates are the shapes of an update.
var updates = map[string]bson.E{
	"last_used":                 described(bson.D{{Key: "last_used", Value: 1}}, bson.A{}, nil),
	"nested":                    described(bson.D{{Key: "last_used.at", Value: 1}}, bson.A{"usage_count"}, bson.A{}),
	"revoked":                   described(bson.D{{Key: "is_active", Value: false}}, bson.A{}, bson.A{}),
	"both":                      described(bson.D{{Key: "last_used", Value: 1}, {Key: "is_active", Value: false}}, bson.A{}, nil),
	"nothing":                   described(bson.D{}, bson.A{}, nil),
	"removed":                   described(bson.D{}, bson.A{"expires_at"}, nil),
	"shortened":                 described(bson.D{{Key: "last_used", Value: 1}}, bson.A{}, bson.A{bson.D{{Key: "field", Value: "scopes"}, {Key: "newSize", Value: 1}}}),
	"of a heartbeat":            described(bson.D{{Key: "n", Value: int64(3)}}, bson.A{}, nil),
	"of no parts":               {Key: "updateDescription", Value: bson.D{}},
	"of one part only":          {Key: "updateDescription", Value: bson.D{{Key: "updatedFields", Value: bson.D{{Key: "last_used", Value: 1}}}}},
	"new field":                 described(bson.D{{Key: "plan", Value: "pro"}}, bson.A{}, nil),
	"new fields in every part":  described(bson.D{{Key: "plan.seats", Value: 1}}, bson.A{"notes"}, bson.A{bson.D{{Key: "field", Value: "tags"}, {Key: "newSize", Value: 1}}}),
	"new field and one removed": described(bson.D{{Key: "plan", Value: "pro"}}, bson.A{"is_active"}, nil),
	"part of the metadata":      described(bson.D{{Key: "metadata.team", Value: "a"}}, bson.A{}, nil),
	"removed from the metadata": described(bson.D{{Key: "plan", Value: "pro"}}, bson.A{"metadata.team"}, nil),
	"shortened in the metadata": described(bson.D{{Key: "plan", Value: "pro"}}, bson.A{}, bson.A{bson.D{{Key: "field", Value: "metadata.list"}, {Key: "newSize", Value: 1}}}),
	"an element":                described(bson.D{{Key: "scopes.0", Value: "a"}}, bson.A{}, nil),
	"decides nothing":           described(bson.D{{Key: "key_prefix", Value: "kt_"}, {Key: "created_at", Value: 1}}, bson.A{"rotated_from"}, nil),
	"names that only begin so":  described(bson.D{{Key: "is_active2", Value: 1}, {Key: "key_hash_old.scopes", Value: 1}}, bson.A{"user"}, nil),
	"nested names that decide":  described(bson.D{{Key: "plan.is_active", Value: 1}, {Key: ".scopes", Value: 1}}, bson.A{"old.user_id", "$scopes"}, nil),
	"an empty name":             described(bson.D{{Key: "", Value: 1}}, bson.A{}, nil),
	"a name with a dot":         described(bson.D{{Key: "is_active.x", Value: 1}}, bson.A{}, nil), // seems to be a part of is_active
	"the _id":                   described(bson.D{{Key: "_id.part", Value: 1}}, bson.A{}, nil),    // no server allows it
	"explained paths": {Key: "updateDescription", Value: bson.D{
		{Key: "updatedFields", Value: bson.D{{Key: "plan.1", Value: 1}}}, {Key: "disambiguatedPaths", Value: bson.D{{Key: "plan.1", Value: bson.A{"plan", "1"}}}},
	}},
	"a part that is not known": {Key: "updateDescription", Value: bson.D{
		{Key: "updatedFields", Value: bson.D{{Key: "plan", Value: 1}}}, {Key: "movedFields", Value: bson.A{"scopes"}},
	}},
}

// passingUpdates are those that pass the filter. The others do not.
var passingUpdates = []string{
	"revoked", "both", "nothing", "removed", "shortened", "of no parts", "new field and one removed",
	"part of the metadata", "removed from the metadata", "shortened in the metadata", "an element", "a name with a dot", "the _id",
	"a part that is not known",
}

// shapes are all events: types, collections, targets, documents and updates.
func shapes(t *testing.T) []*shape {
	var all []*shape
	for _, kind := range known {
		described := []string{absent}
		if kind == kindUpdate {
			described = nil
			for name := range updates {
				described = append(described, name)
			}
		}
		for _, collection := range []string{schema.Collection, HeartbeatCollection, other, absent, "no ns"} {
			for _, to := range []string{schema.Collection, other, absent} {
				for _, key := range []string{own, other, absent} {
					for _, update := range described {
						s := &shape{kind: kind, collection: collection, to: to, key: key, update: update}
						s.event = s.build(t)
						all = append(all, s)
					}
				}
			}
		}
	}
	return all
}

func (s *shape) build(t *testing.T) bson.Raw {
	namespace := func(name string) bson.D {
		d := bson.D{{Key: "db", Value: "db"}}
		if name != absent {
			d = append(d, bson.E{Key: "coll", Value: name})
		}
		return d
	}
	parts := []bson.E{
		{Key: "ns", Value: namespace(s.collection)},
		{Key: "documentKey", Value: bson.D{{Key: "_id", Value: s.key}}},
		{Key: "fullDocument", Value: bson.D{{Key: "_id", Value: s.key}, {Key: "n", Value: int64(3)}}},
	}
	if s.collection == "no ns" {
		parts[0].Value = nil
	}
	if s.key == absent {
		parts[1].Value = nil
	}
	if s.to != absent {
		parts = append(parts, bson.E{Key: "to", Value: namespace(s.to)})
	}
	if s.update != absent {
		parts = append(parts, updates[s.update])
	}
	return raw(t, s.kind, parts...)
}

// matters reports whether the event has an effect in the tail.
func (s *shape) matters(t *testing.T) bool {
	m, err := interpretRaw(t, s.event)
	return err != nil || m.change != nil || m.loss != nil || m.nonce != 0
}

// ofCollection: events of this type always name a collection.
func (s *shape) ofCollection() bool { return slices.Contains(collectionEventTypes, any(s.kind)) }

// possible reports whether a server could send it.
func (s *shape) possible() bool {
	named, renamed := s.collection != absent && s.collection != "no ns", s.to != absent
	return !s.ofCollection() || (named && (!renamed || s.kind == kindRename))
}

// passing runs the shapes through a filter at the server, and returns those that pass.
func passing(t *testing.T, collection *mongo.Collection, filter bson.D, all []*shape) map[*shape]bool {
	t.Helper()
	cursor, err := collection.Aggregate(t.Context(), mongo.Pipeline{{{Key: "$match", Value: filter}}, {{Key: "$project", Value: bson.D{{Key: "_id", Value: 1}}}}})
	if err != nil {
		t.Fatal(err)
	}
	passed := map[*shape]bool{}
	for cursor.Next(t.Context()) {
		passed[all[cursor.Current.Lookup("_id").AsInt64()]] = true
	}
	if err := cursor.Err(); err != nil {
		t.Fatal(err)
	}
	return passed
}

// stored has each shape as a document, whose _id is its number.
func stored(t *testing.T, all []*shape) *mongo.Collection {
	t.Helper()
	d := mongotest.StartDevmongo(t, devmongo.Config{})
	collection := d.Client(t).Database(d.Database(t)).Collection("events")
	documents := make([]any, len(all))
	for i, s := range all {
		var event bson.D
		if err := bson.Unmarshal(s.event, &event); err != nil {
			t.Fatal(err)
		}
		documents[i] = set(event, bson.E{Key: "_id", Value: i})
	}
	if _, err := collection.InsertMany(t.Context(), documents); err != nil {
		t.Fatal(err)
	}
	return collection
}

// The filter drops no event that has an effect, and passes what the former one did.
func TestTheFilterPassesWhatMatters(t *testing.T) {
	all := shapes(t)
	collection := stored(t, all)
	now := passing(t, collection, filterOf(pipeline(&schema, own)), all)
	before := passing(t, collection, formerFilter(), all)
	more := 0
	for _, s := range all {
		if s.matters(t) && s.possible() && !now[s] {
			t.Errorf("%s matters and is dropped", s)
		}
		switch {
		case now[s] == before[s] || !s.possible():
		case now[s] && !s.ofCollection():
			more++ // a type that need not belong to a collection, although this event names another one
		default:
			t.Errorf("%s: passes %v, the former filter %v", s, now[s], before[s])
		}
	}
	t.Logf("%d events, %d pass, %d passed the former filter, %d of other types that name another collection pass now", len(all), len(now), len(before), more)
}

// A stream of the collection has only its events.
func TestTheCollectionsFilterPassesWhatMatters(t *testing.T) {
	all := slices.DeleteFunc(shapes(t), func(s *shape) bool { return s.collection == other || s.collection == HeartbeatCollection })
	passed := passing(t, stored(t, all), filterOf(collectionPipeline(&schema)), all)
	for _, s := range all {
		if matters := s.matters(t); s.possible() && matters != passed[s] {
			t.Errorf("%s: matters %v, passes %v", s, matters, passed[s])
		}
	}
}

// Each update that may touch a field that decides passes, at the server and here, and no other.
func TestOnlyUpdatesOfFieldsThatDecidePass(t *testing.T) {
	var all []*shape
	for name := range updates {
		s := &shape{kind: kindUpdate, collection: schema.Collection, to: absent, key: "d1", update: name}
		s.event = s.build(t)
		all = append(all, s)
	}
	collection := stored(t, all)
	database, one := passing(t, collection, filterOf(pipeline(&schema, own)), all), passing(t, collection, filterOf(collectionPipeline(&schema)), all)
	for _, s := range all {
		want := slices.Contains(passingUpdates, s.update)
		if database[s] != want || one[s] != want || s.matters(t) != want {
			t.Errorf("%s: passes the filter of the database %v, of the collection %v, the client's %v; want %v", s.update, database[s], one[s], s.matters(t), want)
		}
	}
}

// The part that a server applies to its oplog drops other collections.
func TestTheFilterIsAppliedToTheOplog(t *testing.T) {
	all := shapes(t)
	collection := stored(t, all)
	for name, filter := range map[string]bson.D{"former": formerFilter(), "present": filterOf(pipeline(&schema, own))} {
		pushed, ok := pushable(filter)
		if !ok {
			pushed = bson.D{}
		}
		passed := passing(t, collection, pushed, all)
		turned := 0
		for _, s := range all {
			if !passed[s] && s.matters(t) && s.possible() {
				t.Errorf("%s: %s matters and is dropped at the oplog", name, s)
			}
			foreign := s.collection == other || s.collection == HeartbeatCollection && s.key != own
			if passed[s] && foreign && s.to != schema.Collection && s.ofCollection() {
				turned++
			}
		}
		if want := name == "former"; want != (turned > 0) {
			t.Errorf("%s: %d entries of other collections are turned into events", name, turned)
		}
	}
}

// pushable is the part of a filter that MongoDB from 6.0 on applies to the oplog, by
// the rules of rewriteMatchExpressionTree and the functions of its registry
// (DESIGN.md, "The filter and the oplog"). False: nothing of it can be applied.
func pushable(filter bson.D) (bson.D, bool) {
	if len(filter) != 1 {
		var each bson.A
		for _, e := range filter {
			each = append(each, bson.D{e})
		}
		return pushableAnd(each), true
	}
	e := filter[0]
	switch e.Key {
	case "$and":
		return pushableAnd(e.Value.(bson.A)), true
	case "$or":
		branches := bson.A{}
		for _, branch := range e.Value.(bson.A) {
			part, ok := pushable(branch.(bson.D))
			if !ok {
				return nil, false // one branch prevents the whole $or
			}
			branches = append(branches, part)
		}
		return bson.D{{Key: "$or", Value: branches}}, true
	case "$expr":
		return nil, false // over updateDescription: it is not in exprRewriteRegistry
	}
	return filter, pushablePath(e.Key, e.Value)
}

// pushableAnd leaves out what cannot be applied: the server applies the whole filter
// again to what passes. An empty $and is true.
func pushableAnd(list bson.A) bson.D {
	var kept bson.A
	for _, d := range list {
		if part, ok := pushable(d.(bson.D)); ok {
			kept = append(kept, part)
		}
	}
	if kept == nil {
		return bson.D{}
	}
	return bson.D{{Key: "$and", Value: kept}}
}

// pushablePath is for a predicate on a path. $ne and $nin are a $not of what they
// negate, which must be exact; equality with a string and $in of strings are exact.
func pushablePath(path string, value any) bool {
	root, _, _ := strings.Cut(path, ".")
	if !slices.Contains([]string{"operationType", "ns", "to", "documentKey"}, root) {
		return false
	}
	operators, ok := value.(bson.D)
	if !ok {
		_, isString := value.(string)
		return isString
	}
	for _, o := range operators {
		list, _ := o.Value.(bson.A)
		texts := list != nil && !slices.ContainsFunc(list, func(v any) bool { _, ok := v.(string); return !ok })
		_, one := o.Value.(string)
		if !(slices.Contains([]string{"$in", "$nin"}, o.Key) && texts) && !(slices.Contains([]string{"$eq", "$ne"}, o.Key) && one) {
			return false
		}
	}
	return true
}
