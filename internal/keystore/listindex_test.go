package keystore

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/mongotest"
)

// TestTheIndexesForLists are recommended, created on request, and recognised.
func TestTheIndexesForLists(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		d := newWriteRig(t, s)
		wantSentence(t, d.CheckListIndexes(testContext(t)), ErrNoListIndex, "--ensure-schema",
			`createIndex({"created_at": -1, "_id": -1});`,
			`createIndex({"user_id": 1, "created_at": -1, "_id": -1}, {partialFilterExpression: {"user_id": {$exists: true}}})`,
			`{"org_id": 1, `, `{"project_id": 1, `)
		d.schema.ProjectID = ""
		for _, want := range []int{3, 0} {
			if n, err := d.CreateListIndexes(testContext(t)); err != nil || n != want {
				t.Errorf("created %d, want %d: %v", n, want, err)
			}
		}
		if err := d.CheckListIndexes(testContext(t)); err != nil {
			t.Error(err)
		}
		d.schema.ProjectID = "project_id"
		err := d.CheckListIndexes(testContext(t))
		wantSentence(t, err, ErrNoListIndex, `{"project_id": 1, `)
		if strings.Contains(err.Error(), "user_id") {
			t.Errorf("an index that exists is missing: %v", err)
		}
		d.schema.CreatedAt, d.schema.UserID, d.schema.OrgID, d.schema.ProjectID = "", "", "", ""
		if err := d.CheckListIndexes(testContext(t)); err != nil {
			t.Errorf("by _id alone: %v", err)
		}
	})
}

func TestWhichIndexesServeLists(t *testing.T) {
	t.Parallel()
	key := func(pairs ...any) bson.Raw {
		d := bson.D{}
		for i := 0; i < len(pairs); i += 2 {
			d = append(d, bson.E{Key: pairs[i].(string), Value: pairs[i+1]})
		}
		data, err := bson.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	exists := func(field string) bson.Raw { return key(field, bson.D{{Key: "$exists", Value: true}}) }
	s := Schema{CreatedAt: "a"}
	whole, ofOwner := s.listIndexes()[0], s.ownerIndex("o")
	for name, c := range map[string]struct {
		list  listIndex
		index index
		fits  bool
	}{
		"down":                   {whole, index{Key: key("a", -1, "_id", -1)}, true},
		"up":                     {whole, index{Key: key("a", 1.0, "_id", int64(1))}, true},
		"longer":                 {whole, index{Key: key("a", -1, "_id", -1, "b", 1)}, true},
		"mixed":                  {whole, index{Key: key("a", -1, "_id", 1)}, false},
		"short":                  {whole, index{Key: key("a", -1)}, false},
		"other order":            {whole, index{Key: key("_id", -1, "a", -1)}, false},
		"hashed":                 {whole, index{Key: key("a", "hashed", "_id", -1)}, false},
		"hidden":                 {whole, index{Key: key("a", -1, "_id", -1), Hidden: true}, false},
		"sparse":                 {whole, index{Key: key("a", -1, "_id", -1), Sparse: raw(t, true)}, false},
		"partial":                {whole, index{Key: key("a", -1, "_id", -1), Partial: exists("a")}, false},
		"owner":                  {ofOwner, index{Key: key("o", 1, "a", -1, "_id", -1)}, true},
		"owner, partial":         {ofOwner, index{Key: key("o", 1, "a", -1, "_id", -1), Partial: exists("o")}, true},
		"owner, other direction": {ofOwner, index{Key: key("o", -1, "a", 1, "_id", 1)}, true},
		"owner, other filter":    {ofOwner, index{Key: key("o", 1, "a", -1, "_id", -1), Partial: exists("a")}, false},
		"owner alone":            {ofOwner, index{Key: key("o", 1)}, false},
		"another owner":          {ofOwner, index{Key: key("u", 1, "a", -1, "_id", -1)}, false},
	} {
		if got := c.list.servedBy(c.index); got != c.fits {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestAPageReadsItsPartOfTheIndex on a real server, wherever in the list it is, and
// whatever many keys have in common: as many keys and documents as the page has, and a few for
// the ends of its ranges. So a whole list is linear.
func TestAPageReadsItsPartOfTheIndex(t *testing.T) {
	s := mongotest.External(t)
	if s.Kind != mongotest.KindMongoDB {
		t.Skipf("%s does not explain queries, or does not read an index from a position on", s.Kind)
	}
	d := newWriteRig(t, s)
	const many, limit = 2000, 50
	if _, err := d.CreateListIndexes(testContext(t)); err != nil {
		t.Fatal(err)
	}
	same := []any{made, nil, absent} // a third each; and of the rest, each its own
	docs := make([]any, many)
	for i := range docs {
		at := any(made.Add(time.Duration(i) * time.Second))
		if i%2 == 0 {
			at = same[i/2%len(same)]
		}
		doc := bson.D{
			{Key: "_id", Value: fmt.Sprintf("%05d", i)},
			{Key: "key_hash", Value: fmt.Sprint(i)},
			{Key: "is_active", Value: true},
			{Key: "user_id", Value: []any{oid, "u"}[i%3%2]},
			{Key: "org_id", Value: "o"},
			{Key: "created_at", Value: at},
		}
		if at == absent {
			doc = doc[:5]
		}
		docs[i] = doc
	}
	if _, err := d.keys.InsertMany(testContext(t), docs); err != nil {
		t.Fatal(err)
	}
	for _, q := range []Query{{}, {IncludeInactive: true}, {UserID: "u"}, {UserID: oid.Hex()}, {OrgID: "o", IncludeInactive: true}, {OrgID: "o", UserID: "u"}} {
		q.Limit = limit
		for {
			found := d.explained(t, q)
			// Each of at most 2 x 6 ranges reads a key beyond its end for each of its intervals, of
			// which there is one for each type.
			if most := int64(limit + 1 + 12*int(typeClasses)); found.keys > most || found.docs > limit+1+12 || slices.Contains(found.stages, "SORT") || slices.Contains(found.stages, "COLLSCAN") {
				t.Fatalf("%+v: %+v", q, found)
			}
			page, err := d.List(testContext(t), q)
			if err != nil {
				t.Fatal(err)
			}
			if q.After = page.Next; q.After == "" {
				break
			}
		}
	}
}

// explanation is what a server did for a find.
type explanation struct {
	keys, docs int64
	stages     []string
}

func (d *writeRig) explained(t *testing.T, q Query) explanation {
	t.Helper()
	filter, err := d.schema.pageFilter(q)
	if err != nil {
		t.Fatal(err)
	}
	find := bson.D{{Key: "find", Value: d.schema.Collection}, {Key: "filter", Value: filter}, {Key: "sort", Value: d.schema.newestFirst()}, {Key: "limit", Value: q.Limit + 1}}
	answer, err := d.database.RunCommand(testContext(t), bson.D{{Key: "explain", Value: find}, {Key: "verbosity", Value: "executionStats"}}).Raw()
	if err != nil {
		t.Fatal(err)
	}
	stats := answer.Lookup("executionStats").Document()
	return explanation{stats.Lookup("totalKeysExamined").AsInt64(), stats.Lookup("totalDocsExamined").AsInt64(), stages(answer.Lookup("queryPlanner", "winningPlan"))}
}

// stages are the names of all stages of a plan.
func stages(v bson.RawValue) (all []string) {
	switch v.Type {
	case bson.TypeEmbeddedDocument:
		elements, _ := v.Document().Elements()
		for _, e := range elements {
			if name, ok := e.Value().StringValueOK(); ok && e.Key() == "stage" {
				all = append(all, name)
			}
			all = append(all, stages(e.Value())...)
		}
	case bson.TypeArray:
		values, _ := v.Array().Values()
		for _, inner := range values {
			all = append(all, stages(inner)...)
		}
	}
	return all
}
