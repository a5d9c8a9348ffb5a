package keystore

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/mongotest"
)

// store inserts a key with this id; the fields replace or add to its fields.
func (d *writeRig) store(t *testing.T, id string, fields ...bson.E) {
	t.Helper()
	own := []bson.E{{Key: "_id", Value: id}, {Key: "key_hash", Value: id}}
	if _, err := d.keys.InsertOne(testContext(t), document(t, append(own, fields...)...)); err != nil {
		t.Fatal(err)
	}
}

// mustFind checks a list, sorted by id, in pages of every size.
func (d *writeRig) mustFind(t *testing.T, q Query, want string) {
	t.Helper()
	for _, q.Limit = range []int{1, 2, 100} {
		got := d.all(t, q)
		slices.Sort(got)
		if strings.Join(got, " ") != want {
			t.Errorf("%+v: got %q, want %q", q, got, want)
		}
	}
}

func TestAListByOwners(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		d := newWriteRig(t, s)
		org := func(v any) bson.E { return bson.E{Key: "org_id", Value: v} }
		project := func(v any) bson.E { return bson.E{Key: "project_id", Value: v} }
		d.store(t, "a", org("7"), project("p"))
		d.store(t, "b", org(int64(7)))
		d.store(t, "c", org(bson.A{"7"}), project("p")) // belongs to no organisation
		d.store(t, "d", org(7.0))                       // belongs to no organisation
		d.store(t, "e", org(oid), project(uuid))
		d.store(t, "f", project("p"), bson.E{Key: "user_id", Value: "other"})
		d.store(t, "g", org(nil))
		for _, c := range []struct {
			q    Query
			want string
		}{
			{Query{OrgID: "7"}, "a b"},
			{Query{OrgID: "7", ProjectID: "p"}, "a"},
			{Query{OrgID: "8"}, ""},
			{Query{OrgID: oid.Hex()}, "e"},
			{Query{ProjectID: "p"}, "a c f"}, // the organisation of c is a defect, its project is not
			{Query{ProjectID: uuidText(uuid.Data)}, "e"},
			{Query{UserID: "other", ProjectID: "p"}, "f"},
			{Query{UserID: "other", OrgID: "7"}, ""},
		} {
			d.mustFind(t, c.q, c.want)
		}
	})
}

// TestAListOfUnusedKeys: a key that was created in the time is not unused, and a value
// that is not a date says nothing.
func TestAListOfUnusedKeys(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		d := newWriteRig(t, s)
		day := 24 * time.Hour
		now := made.Add(1000 * day)
		ago := func(name string, days int) bson.E {
			return bson.E{Key: name, Value: now.Add(-time.Duration(days) * day)}
		}
		d.store(t, "never", ago("created_at", 91))
		d.store(t, "never-null", ago("created_at", 91), bson.E{Key: "last_used", Value: nil})
		d.store(t, "long-ago", ago("created_at", 200), ago("last_used", 90))
		d.store(t, "undated", ago("last_used", 100))
		d.store(t, "new", ago("created_at", 89))
		d.store(t, "used", ago("created_at", 200), ago("last_used", 89))
		d.store(t, "text", ago("created_at", 200), bson.E{Key: "last_used", Value: "2020-01-01"})
		d.store(t, "off", ago("created_at", 91), bson.E{Key: "is_active", Value: false})
		q := Query{UnusedFor: 90 * day, Now: now}
		d.mustFind(t, q, "long-ago never never-null undated")
		q.IncludeInactive = true
		d.mustFind(t, q, "long-ago never never-null off undated")
		d.schema.CreatedAt = ""
		d.mustFind(t, q, "long-ago never never-null new off undated")
		d.schema.LastUsed = ""
		_, err := d.List(testContext(t), Query{UnusedFor: day, Now: now, Limit: 1})
		wantSentence(t, err, ErrCannotStore, "the last use", "--map-last-used")
	})
}

// TestAListOfKeysThatExpire in every form of the expiry.
func TestAListOfKeysThatExpire(t *testing.T) {
	now := time.Date(2026, 11, 24, 10, 0, 0, 500e6, time.UTC)
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		for _, form := range ExpiresForms() {
			t.Run(string(form), func(t *testing.T) {
				d := newWriteRig(t, s)
				d.schema.ExpiresForm = form
				in := func(id string, left time.Duration, convert ...func(any) any) {
					value := form.stored(now.Truncate(time.Second).Add(left))
					for _, f := range convert {
						value = f(value)
					}
					d.store(t, id, bson.E{Key: "expires_at", Value: value})
				}
				in("expired", -time.Hour)
				in("this-second", 0)
				in("soon", time.Second)
				in("last", 14*24*time.Hour)
				in("later", 14*24*time.Hour+time.Second)
				if form != ExpiresDate {
					in("soon-double", time.Second, func(v any) any { return float64(v.(int64)) })
				}
				d.store(t, "never")
				d.store(t, "null", bson.E{Key: "expires_at", Value: nil})
				d.store(t, "text", bson.E{Key: "expires_at", Value: "2026-11-25"})
				want := "last soon"
				if form != ExpiresDate {
					want = "last soon soon-double"
				}
				d.mustFind(t, Query{ExpiresWithin: 14 * 24 * time.Hour, Now: now}, want)
			})
		}
		d := newWriteRig(t, s)
		d.schema.ExpiresAt = ""
		_, err := d.List(testContext(t), Query{ExpiresWithin: time.Hour, Now: now, Limit: 1})
		wantSentence(t, err, ErrCannotStore, "an expiry", "--map-expires-at")
	})
}

// TestAListWithoutTheFieldIsRefused: it would contain the keys of everyone.
func TestAListWithoutTheFieldIsRefused(t *testing.T) {
	t.Parallel()
	s := DefaultSchema()
	s.OrgID, s.ProjectID = "", ""
	for flag, q := range map[string]Query{"--map-org-id": {UserID: "u", OrgID: "o"}, "--map-project-id": {ProjectID: "p"}} {
		filter, err := s.pageFilter(q)
		if !errors.Is(err, ErrCannotStore) || !strings.Contains(err.Error(), flag) || filter != nil {
			t.Errorf("%+v: got %v, %v", q, filter, err)
		}
	}
}

// TestReadsOfSeveralKeysHaveADeadline, which the server gets, too.
func TestReadsOfSeveralKeysHaveADeadline(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		d := newWriteRig(t, s)
		was := d.insert(t, "u")
		for name, read := range map[string]func(context.Context) error{
			"list":    func(ctx context.Context) error { _, err := d.List(ctx, Query{Limit: 1}); return err },
			"by hash": func(ctx context.Context) error { _, err := d.FindAllByHash(ctx, testHash); return err },
			"by ids":  func(ctx context.Context) error { _, err := d.FindDetails(ctx, ids(was)); return err },
		} {
			if err := read(context.Background()); !errors.Is(err, ErrNoDeadline) {
				t.Errorf("%s: got %v", name, err)
			}
			if err := read(testContext(t)); err != nil {
				t.Errorf("%s: got %v", name, err)
			}
		}
	})
}
