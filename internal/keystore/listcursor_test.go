package keystore

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/mongotest"
)

func TestACursorBelongsToItsList(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		d := newWriteRig(t, s)
		for range 3 {
			d.insert(t, "u")
		}
		oldDigest := sha256.Sum256([]byte(`"" "" "" false 0 0`))
		page, err := d.List(testContext(t), Query{Limit: 1})
		if err != nil || page.Next == "" {
			t.Fatalf("%+v, %v", page, err)
		}
		cursor := func(at any) string {
			data, err := bson.Marshal(at)
			if err != nil {
				t.Fatal(err)
			}
			return base64.RawURLEncoding.EncodeToString(data)
		}
		// As keytail made it for this query before pages were ranges of an index.
		oldCursor := cursor(bson.D{{Key: "c", Value: made}, {Key: "i", Value: "a"}, {Key: "l", Value: oldDigest[:8]}})
		digest := d.schema.listDigest(Query{})
		for _, q := range []Query{
			{After: page.Next, UserID: "u"},
			{After: page.Next, IncludeInactive: true},
			{After: "x"},
			{After: page.Next[1:]},
			{After: page.Next + "A"},
			{After: page.Next[:len(page.Next)-4]},
			{After: cursor(bson.D{})},
			{After: cursor(bson.D{{Key: "c", Value: made}, {Key: "l", Value: digest}})},
			{After: cursor(bson.D{{Key: "i", Value: "a"}, {Key: "l", Value: digest}})},
			{After: cursor(bson.D{{Key: "c", Value: made}, {Key: "i", Value: bson.Regex{Pattern: "a"}}, {Key: "l", Value: digest}})},
			{After: cursor(bson.D{{Key: "c", Value: made}, {Key: "i", Value: "a"}})},
			{After: cursor(bson.D{{Key: "c", Value: bson.A{made}}, {Key: "i", Value: "a"}, {Key: "l", Value: digest}})},
			{After: cursor(bson.D{{Key: "c", Value: bson.Undefined{}}, {Key: "i", Value: "a"}, {Key: "l", Value: digest}})},
			{After: oldCursor},
		} {
			q.Limit = 1
			if _, err := d.List(testContext(t), q); !errors.Is(err, ErrCursor) || !strings.Contains(err.Error(), "start again without a cursor") {
				t.Errorf("%+v: %v", q, err)
			}
		}
		// A value in a cursor is a value and not an expression.
		for _, value := range []any{"$created_at", bson.D{{Key: "$ne", Value: 1}}, bson.D{{Key: "$where", Value: "1"}}} {
			q := Query{Limit: 5, After: cursor(bson.D{{Key: "c", Value: value}, {Key: "i", Value: "a"}, {Key: "l", Value: digest}})}
			if _, err := d.List(testContext(t), q); err != nil {
				t.Errorf("%v: %v", value, err)
			}
		}
	})
}

func FuzzCursor(f *testing.F) {
	f.Add("", "u", false)
	f.Add("JAAAAAljAAAAAAAAAAAAAmkAAgAAAGEABWwACAAAAAB4eHh4eHh4eAA", "", true)
	f.Fuzz(func(t *testing.T, cursor, user string, inactive bool) {
		at, err := DefaultSchema().parseCursor(Query{After: cursor, UserID: user, IncludeInactive: inactive})
		if err == nil && (at.ID.Validate() != nil || at.CreatedAt.Validate() != nil) {
			t.Errorf("%q is taken as %v", cursor, at)
		}
	})
}

// TestACursorIsOfTheSameSelection: a list goes on later, but not with other conditions.
func TestACursorIsOfTheSameSelection(t *testing.T) {
	t.Parallel()
	first := Query{UserID: "u", OrgID: "o", ProjectID: "p", UnusedFor: 1, ExpiresWithin: 2}
	s := DefaultSchema()
	digest := string(s.listDigest(first))
	later := first
	later.Now, later.Limit, later.After = made, 7, "x"
	if string(s.listDigest(later)) != digest {
		t.Error("a list cannot go on later")
	}
	for i, change := range []func(*Query){
		func(q *Query) { q.UserID = "v" },
		func(q *Query) { q.OrgID = "v" },
		func(q *Query) { q.ProjectID = "v" },
		func(q *Query) { q.OrgID, q.ProjectID = "p", "o" },
		func(q *Query) { q.UserID, q.OrgID = `u" "o`, "" },
		func(q *Query) { q.IncludeInactive = true },
		func(q *Query) { q.UnusedFor = 3 },
		func(q *Query) { q.ExpiresWithin = 3 },
	} {
		q := first
		if change(&q); string(s.listDigest(q)) == digest {
			t.Errorf("change %d has the same digest", i)
		}
	}
	s.CreatedAt = "made"
	if string(s.listDigest(first)) == digest {
		t.Error("a list goes on in another order")
	}
}

// TestAPageEndsBeforeAnArray, after whose position no list can continue: MongoDB sorts an
// array by one value and compares it by all. The list is complete, and other keys are on it once.
func TestAPageEndsBeforeAnArray(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		d := newWriteRig(t, s)
		at := func(v any) bson.E { return bson.E{Key: "created_at", Value: v} }
		d.store(t, "new", at(made.Add(3)))
		d.store(t, "array", at(bson.A{made.Add(-9), made.Add(2)}))
		d.store(t, "old", at(made.Add(-5)))
		d.store(t, "oldest", at(nil))
		d.store(t, "empty", at(bson.A{}))
		for _, limit := range []int{2, 3, 4, 5} {
			times := map[string]int{}
			for _, id := range d.all(t, Query{Limit: limit}) {
				times[id]++
			}
			if times["new"] != 1 || times["old"] != 1 || times["oldest"] != 1 || times["array"] == 0 || times["empty"] == 0 {
				t.Errorf("in pages of %d: %v", limit, times)
			}
		}
		first, err := d.List(testContext(t), Query{Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.List(testContext(t), Query{Limit: 1, After: first.Next})
		wantSentence(t, err, ErrCannotStore, "array", "created_at", "store a date")
	})
}

// TestACursorAfterSomeKeysOfAPage is that after the last of them at which a list can continue.
func TestACursorAfterSomeKeysOfAPage(t *testing.T) {
	t.Parallel()
	s := DefaultSchema()
	var keys []Details
	for id, at := range []any{made, nil, bson.A{made}} {
		keys = append(keys, s.Details(document(t, bson.E{Key: "_id", Value: id}, bson.E{Key: "created_at", Value: at})))
	}
	for n, want := range map[int]int64{1: 0, 2: 1, 3: 1} {
		var err error
		q := Query{UserID: "u"}
		if q.After, err = s.CursorAfter(keys[:n], q); err != nil {
			t.Fatal(err)
		}
		if at, err := s.parseCursor(q); err != nil || at.ID.AsInt64() != want {
			t.Errorf("after %d keys: %v, %v", n, at.ID, err)
		}
	}
	_, err := s.CursorAfter(keys[2:], Query{})
	wantSentence(t, err, ErrCannotStore, "the key 2", "array")
}
