package keystore

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/internal/mongotest"
)

// inOrder are values of all types in MongoDB's order. Those of a group are equal in it.
func inOrder() [][]any {
	decimal := func(s string) bson.Decimal128 {
		d, err := bson.ParseDecimal128(s)
		if err != nil {
			panic(err)
		}
		return d
	}
	return [][]any{
		{bson.MinKey{}},
		{nil, absent},
		{math.NaN(), decimal("NaN")},
		{math.Inf(-1)},
		{int32(-1), -1.0},
		{0.5, decimal("0.5")},
		{int64(math.MaxInt64)},
		{math.Inf(1)},
		{""},
		{"a", bson.Symbol("a")},
		{"b"},
		{bson.D{}},
		{bson.D{{Key: "$ne", Value: 1}}},
		{bson.D{{Key: "a", Value: 1}}, bson.D{{Key: "a", Value: 1.0}}},
		{bson.Binary{}},
		{bson.Binary{Data: []byte{7}}},
		{bson.ObjectID{}},
		{oid},
		{false},
		{true},
		{bson.DateTime(-62135596800000)}, // the year 1: secantusd supports none before it
		{bson.NewDateTimeFromTime(made)},
		{bson.Timestamp{T: 1}},
		{bson.Timestamp{T: 2}},
		{bson.Regex{Pattern: "a"}},
		{bson.Regex{Pattern: "b"}},
		{bson.JavaScript("a")},
		{bson.JavaScript("b")},
		{bson.MaxKey{}},
	}
}

func raw(t *testing.T, v any) bson.RawValue {
	t.Helper()
	if v == nil || v == absent {
		return bson.RawValue{Type: bson.TypeNull}
	}
	value, err := marshalled(v)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// TestRangesAreThoseOfTheOrder: for a value of each type, the filters find exactly what
// the server itself sorts before it, and beside it.
func TestRangesAreThoseOfTheOrder(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		keys := s.Client(t).Database(s.Database(t)).Collection("values")
		var n int32
		before := map[int]int32{} // how many values are before a group
		groups := inOrder()
		for i, group := range groups {
			before[i] = n
			for _, v := range group {
				doc := bson.D{{Key: "_id", Value: n}, {Key: "v", Value: v}}
				if v == absent {
					doc = doc[:1]
				}
				if _, err := keys.InsertOne(testContext(t), doc); err != nil {
					t.Fatal(err)
				}
				n++
			}
		}
		find := func(filter bson.D) (ids []int32) {
			t.Helper()
			cursor, err := keys.Find(testContext(t), filter, options.Find().SetSort(bson.D{{Key: "v", Value: 1}, {Key: "_id", Value: 1}}))
			if err != nil {
				t.Fatalf("%v: %v", filter, err)
			}
			var docs []struct {
				ID int32 `bson:"_id"`
			}
			if err := cursor.All(testContext(t), &docs); err != nil {
				t.Fatal(err)
			}
			for _, d := range docs {
				ids = append(ids, d.ID)
			}
			return ids
		}
		counted := func(from, to int32) (ids []int32) {
			for i := from; i < to; i++ {
				ids = append(ids, i)
			}
			return ids
		}
		if got := find(bson.D{}); !slices.Equal(got, counted(0, n)) {
			t.Fatalf("the server's order is %v", got)
		}
		for i, group := range groups {
			for _, v := range group {
				name := fmt.Sprintf("%T %v", v, v)
				var got []int32
				if ranges := rangesBefore("v", raw(t, v)); len(ranges) > 0 {
					got = find(anyOf(ranges))
				}
				if want := counted(0, before[i]); !slices.Equal(got, want) {
					t.Errorf("before %s: %v, want %v", name, got, want)
				}
				if got, want := find(sameAs("v", raw(t, v))), counted(before[i], before[i]+int32(len(group))); !slices.Equal(got, want) {
					t.Errorf("beside %s: %v, want %v", name, got, want)
				}
			}
		}
	})
}

// TestEachBranchIsARangeOfTheIndex: in the filter of a later page, every branch bounds each
// field of the index in whose order the list is by operators from which MongoDB makes exact
// bounds ("$type" is one of them, except of arrays), and no branch needs an expression.
func TestEachBranchIsARangeOfTheIndex(t *testing.T) {
	t.Parallel()
	schema := DefaultSchema()
	for _, q := range []Query{{}, {IncludeInactive: true}, {UserID: oid.Hex(), OrgID: "o"}, {ProjectID: "p"}, {ExpiresWithin: 1, Now: made}, {UnusedFor: 1, Now: made}} {
		for _, createdAt := range []string{"created_at", ""} {
			schema.CreatedAt = createdAt
			for _, group := range inOrder() {
				at := raw(t, group[0])
				class := classOf(at)
				if checkFilterValue(at) != nil || !class.isCompared() && class != classNull && class != classNaN {
					continue // nobody has a million of them
				}
				doc, err := bson.Marshal(bson.D{{Key: "_id", Value: at}, {Key: "created_at", Value: at}})
				if err != nil {
					t.Fatal(err)
				}
				q := q
				if _, q.After, err = schema.lastCursor([]bson.Raw{doc}, q); err != nil {
					t.Fatal(err)
				}
				filter, err := schema.pageFilter(q)
				if err != nil {
					t.Fatal(err)
				}
				branches := []bson.D{filter}
				if filter[0].Key == "$or" {
					branches = filter[0].Value.([]bson.D)
				}
				for _, branch := range branches {
					checkBranch(t, schema, q, branch)
				}
			}
		}
	}
}

func checkBranch(t *testing.T, s Schema, q Query, branch bson.D) {
	t.Helper()
	operators := map[string][]string{} // field to its operators
	for _, e := range flattened(branch) {
		switch value := e.Value.(type) {
		case bson.D:
			operators[e.Key] = append(operators[e.Key], value[0].Key)
			if types, ok := value[0].Value.(bson.A); ok && value[0].Key == "$type" && slices.Contains(types, any("array")) {
				t.Errorf("a type that reads the whole index: %v", branch)
			}
		default:
			operators[e.Key] = append(operators[e.Key], "$eq")
		}
	}
	bounds := func(field string, allowed ...string) bool {
		found := operators[field]
		return len(found) == 1 && slices.Contains(allowed, found[0])
	}
	order := s.newestFirst()
	last := order[0].Key
	if len(operators[idField]) > 0 && last != idField {
		if !bounds(last, "$eq") {
			t.Errorf("%q is no point: %v", last, branch)
		}
		last = idField
	}
	if !bounds(last, "$lt", "$in", "$type") {
		t.Errorf("%q has no bound: %v", last, branch)
	}
	if owners := s.owners(q); len(owners) > 0 && !bounds(owners[0].field, "$eq") {
		t.Errorf("%q is no point: %v", owners[0].field, branch)
	}
	if len(operators["$expr"]) > 0 || len(operators["$or"]) > 0 {
		t.Errorf("a branch that is no range: %v", branch)
	}
}

// flattened returns the conditions of nested $ands. Those of the filter of unused keys,
// which bound no field of the index, are left out.
func flattened(filter bson.D) bson.D {
	var all bson.D
	for _, e := range filter {
		switch parts := e.Value.(type) {
		case []bson.D:
			for _, p := range parts {
				all = append(all, flattened(p)...)
			}
		case bson.A:
			if e.Key != "$and" {
				all = append(all, e)
			}
		default:
			all = append(all, e)
		}
	}
	return all
}
