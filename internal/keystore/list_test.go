package keystore

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"

	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
)

// all reads a list to its end, in pages of this size.
func (d *writeRig) all(t *testing.T, q Query) []string {
	t.Helper()
	var ids []string
	for pages := 0; ; pages++ {
		page, err := d.List(testContext(t), q)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Keys) > q.Limit || pages > 100 {
			t.Fatalf("page %d has %d keys", pages, len(page.Keys))
		}
		for _, k := range page.Keys {
			ids = append(ids, k.Record.KeyID)
		}
		if q.After = page.Next; q.After == "" {
			return ids
		}
	}
}

// TestAListIsComplete for all types of creation times and ids, in pages of
// any size, and in the order of the server itself.
func TestAListIsComplete(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		d := newWriteRig(t, s)
		created := []any{
			absent, nil, made, made, made.Add(time.Millisecond), "2026", int32(7), 7.5, int64(math.MaxInt64), true,
			bson.D{{Key: "at", Value: made}},
			oid,
			bson.Timestamp{T: 1},
			bson.DateTime(-62135596800000), math.NaN(), // the year 1: secantusd supports none before it
		}
		ids := []any{"a", "b", int32(1), int64(1) << 40, oid, uuid, 1.5, true, made}
		n := 0
		for _, at := range created {
			for _, id := range ids[:2+n%len(ids)%3] {
				n++
				doc := bson.D{}
				_ = bson.Unmarshal(document(t, bson.E{Key: "created_at", Value: at}, bson.E{Key: "key_hash", Value: fmt.Sprint(n)}), &doc)
				doc = with(doc, bson.E{Key: "_id", Value: bson.D{{Key: "v", Value: id}, {Key: "n", Value: n}}})
				if n%2 == 0 {
					doc = with(doc, bson.E{Key: "_id", Value: fmt.Sprint(id, n)})
				}
				if _, err := d.keys.InsertOne(testContext(t), doc); err != nil {
					t.Fatal(err)
				}
			}
		}
		for i, id := range ids {
			if _, err := d.keys.InsertOne(testContext(t), document(t, bson.E{Key: "_id", Value: id}, bson.E{Key: "key_hash", Value: fmt.Sprint("id ", i)}, bson.E{Key: "created_at", Value: made})); err != nil {
				t.Fatal(err)
			}
			n++
		}
		for _, createdAt := range []string{"created_at", ""} {
			d.schema.CreatedAt = createdAt
			want := d.all(t, Query{Limit: 1000, IncludeInactive: true})
			if len(want) != n {
				t.Fatalf("%d of %d keys", len(want), n)
			}
			for _, limit := range []int{1, 2, 3, n - 1, n} {
				if got := d.all(t, Query{Limit: limit, IncludeInactive: true}); !slices.Equal(got, want) {
					t.Errorf("by %q in pages of %d:\n%q\nwant\n%q", createdAt, limit, got, want)
				}
			}
		}
	})
}

// TestAListOfLargeKeys is complete without an index, however much the server
// has to sort for it: more than 100 MB in memory are an error on MongoDB 4.4
// and 5.0.
func TestAListOfLargeKeys(t *testing.T) {
	t.Parallel()
	node := mongotest.StartDevmongo(t, devmongo.Config{SortMemory: 4 << 10})
	d := newWriteRig(t, &node.Server)
	for i := range 20 {
		at := bson.E{Key: "created_at", Value: made.Add(time.Duration(i) * time.Second)}
		name := bson.E{Key: "name", Value: strings.Repeat("x", 500)}
		if _, err := d.keys.InsertOne(testContext(t), document(t, bson.E{Key: "_id", Value: i}, bson.E{Key: "key_hash", Value: fmt.Sprint(i)}, at, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, createdAt := range []string{"created_at", ""} {
		d.schema.CreatedAt = createdAt
		if got := d.all(t, Query{Limit: 7, IncludeInactive: true}); len(got) != 20 {
			t.Errorf("by %q: %d of 20 keys", createdAt, len(got))
		}
	}
}

// TestPagesOfLargeDocumentsAreShorter, so that a list does not fill the memory.
func TestPagesOfLargeDocumentsAreShorter(t *testing.T) {
	t.Parallel()
	node := mongotest.StartDevmongo(t, devmongo.Config{})
	d := newWriteRig(t, &node.Server)
	for i, size := range []int{1, 1, maxPage + 1, maxPage / 2, 1} {
		large := bson.E{Key: "metadata", Value: bson.D{{Key: "text", Value: strings.Repeat("x", size)}}}
		at := bson.E{Key: "created_at", Value: made.Add(time.Duration(i) * time.Second)}
		if _, err := d.keys.InsertOne(testContext(t), document(t, bson.E{Key: "_id", Value: fmt.Sprint(i)}, bson.E{Key: "key_hash", Value: fmt.Sprint(i)}, at, large)); err != nil {
			t.Fatal(err)
		}
	}
	var pages []string
	for q := (Query{Limit: 10}); len(pages) < 10; {
		page, err := d.List(testContext(t), q)
		if err != nil {
			t.Fatal(err)
		}
		ids := ""
		for _, k := range page.Keys {
			ids += k.Record.KeyID
		}
		pages = append(pages, ids)
		if q.After = page.Next; q.After == "" {
			break
		}
	}
	if got := strings.Join(pages, " "); got != "43 2 10" {
		t.Errorf("the pages are %q, want \"43 2 10\"", got)
	}
}

func TestAListIsNewestFirst(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		d := newWriteRig(t, s)
		var want []string
		for i := range 5 {
			id := fmt.Sprint(5 - i)
			if _, err := d.keys.InsertOne(testContext(t), document(t, bson.E{Key: "_id", Value: id}, bson.E{Key: "key_hash", Value: id}, bson.E{Key: "created_at", Value: made.Add(time.Duration(i) * time.Second)})); err != nil {
				t.Fatal(err)
			}
			want = append(want, id)
		}
		slices.Reverse(want)
		if got := d.all(t, Query{Limit: 2, IncludeInactive: true}); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		// A key that is inserted between two pages shifts nothing.
		page, err := d.List(testContext(t), Query{Limit: 2})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.keys.InsertOne(testContext(t), document(t, bson.E{Key: "_id", Value: "6"}, bson.E{Key: "key_hash", Value: "6"}, bson.E{Key: "created_at", Value: made.Add(time.Hour)})); err != nil {
			t.Fatal(err)
		}
		if rest := d.all(t, Query{Limit: 2, After: page.Next}); !slices.Equal(rest, want[2:]) {
			t.Errorf("%q, want %q", rest, want[2:])
		}
	})
}

// TestAListContainsOneUserOrAll, with or without inactive keys, in every form.
func TestAListContainsOneUserOrAll(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		for _, form := range ActiveForms() {
			t.Run(string(form), func(t *testing.T) {
				d := newWriteRig(t, s)
				d.schema.ActiveForm = form
				if form == ActiveAlways {
					d.schema.Active = ""
				}
				insert := func(id string, user any, active bool) {
					t.Helper()
					doc := bson.D{{Key: "_id", Value: id}, {Key: "key_hash", Value: id}, {Key: "user_id", Value: user}}
					switch {
					case form == ActiveBoolean:
						doc = append(doc, bson.E{Key: "is_active", Value: active})
					case form == ActiveNegated && !active:
						doc = append(doc, bson.E{Key: "is_active", Value: true})
					case form == ActiveNoDate && !active:
						doc = append(doc, bson.E{Key: "is_active", Value: made})
					}
					if _, err := d.keys.InsertOne(testContext(t), doc); err != nil {
						t.Fatal(err)
					}
				}
				insert("a", "7", true)
				insert("b", int64(7), form == ActiveAlways)
				insert("c", int32(7), true)
				insert("d", bson.A{"7", "8"}, true) // belongs to no user
				insert("e", 7.0, true)              // belongs to no user
				insert("f", "8", true)
				insert("g", "8", form == ActiveAlways)
				for user, want := range map[string][2]string{"7": {"c b a", "c a"}, "8": {"g f", "f"}, "9": {"", ""}, "": {"g f e d c b a", "f e d c a"}} {
					if form == ActiveAlways {
						want[1] = want[0]
					}
					for i, inactive := range []bool{true, false} {
						for limit := 1; limit < 4; limit++ {
							if got := strings.Join(d.all(t, Query{UserID: user, IncludeInactive: inactive, Limit: limit}), " "); got != want[i] {
								t.Errorf("of %q, with inactive ones %v: %q, want %q", user, inactive, got, want[i])
							}
						}
					}
				}
			})
		}
	})
}

// TestOperatorsInAListAreText: an id that looks like an operator of MongoDB or a pattern
// selects nothing but a key that has it.
func TestOperatorsInAListAreText(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		d := newWriteRig(t, s)
		owners := []string{"ann", `{"$ne":""}`, "$where", ".*"}
		for _, owner := range owners {
			doc := bson.D{{Key: "_id", Value: owner}, {Key: "key_hash", Value: owner}, {Key: "user_id", Value: owner}, {Key: "org_id", Value: owner}, {Key: "is_active", Value: true}}
			if _, err := d.keys.InsertOne(testContext(t), doc); err != nil {
				t.Fatal(err)
			}
		}
		for _, owner := range owners {
			for field, q := range map[string]Query{"user_id": {UserID: owner, Limit: 10}, "org_id": {OrgID: owner, Limit: 10}} {
				if got := d.all(t, q); len(got) != 1 || got[0] != owner {
					t.Errorf("%s %q selects %q", field, owner, got)
				}
			}
		}
	})
}

// TestASlowListNamesTheIndex that would serve it. The server has less time than the
// caller, so that it is the server that says it.
func TestASlowListNamesTheIndex(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		d := newWriteRig(t, s)
		d.fail(t, "alwaysOn", commands("find"), bson.E{Key: "errorCode", Value: codeMaxTimeMSExpired})
		for keys, q := range map[string]Query{
			`{"user_id": 1, "created_at": -1, "_id": -1}, {partialFilterExpression: {"user_id": {$exists: true}}}`:       {UserID: "u", OrgID: "o"},
			`{"org_id": 1, "created_at": -1, "_id": -1}, {partialFilterExpression: {"org_id": {$exists: true}}}`:         {OrgID: "o", UnusedFor: time.Hour},
			`{"project_id": 1, "created_at": -1, "_id": -1}, {partialFilterExpression: {"project_id": {$exists: true}}}`: {ProjectID: "p"},
			`{"expires_at": 1}`:             {ExpiresWithin: time.Hour},
			`{"last_used": 1}`:              {UnusedFor: time.Hour},
			`{"created_at": -1, "_id": -1}`: {},
		} {
			q.Limit, q.Now = 5, made
			_, err := d.List(testContext(t), q)
			wantSentence(t, err, ErrSlowList, "did not finish", `db.getCollection("api_keys").createIndex(`+keys+")")
		}
	})
}

func TestTheServerHasLessTimeForAListThanTheCaller(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		d := newWriteRig(t, s)
		var given []int64
		client := s.Connect(t, s.Options("").SetMonitor(&event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
			if e.CommandName == "find" {
				given = append(given, e.Command.Lookup("maxTimeMS").AsInt64())
			}
		}}))
		store, err := New(Config{Client: client, Database: d.database.Name()})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
		defer cancel()
		if _, err := store.List(ctx, Query{Limit: 1}); err != nil {
			t.Fatal(err)
		}
		if len(given) != 1 || given[0] < 50_000 || given[0] > 90_000 {
			t.Errorf("maxTimeMS of 100 s: %v", given)
		}
	})
}
