package keyadmin

import (
	"context"
	"errors"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/managedkey"
	"github.com/keytail/keytail/internal/mongotest"
)

// fakeValidator keeps the hashes that it is asked for.
type fakeValidator struct{ hashes []apikey.Hash }

func (v *fakeValidator) Explain(_ context.Context, hash apikey.Hash, _ *apikey.Request) (instance, database apikey.Verdict) {
	v.hashes = append(v.hashes, hash)
	return apikey.Verdict{Code: apikey.Valid}, apikey.Verdict{Code: apikey.Disabled}
}

// TestExplainFindsTheHashByTheID: a request with the key's text would look up the same
// hash.
func TestExplainFindsTheHashByTheID(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		v := &fakeValidator{}
		o := newFixture(t, s, func(c *Config) { c.Validator = v })
		made := o.createKey("u1")
		id := made.Key.Record.KeyID
		e, err := o.Explain(o.ctx(), ann, id, &apikey.Request{})
		if err != nil || e.KeyID != id || e.Instance.Code != apikey.Valid || e.Database.Code != apikey.Disabled {
			t.Errorf("%+v, %v", e, err)
		}
		if len(v.hashes) != 1 || v.hashes[0] != apikey.HashOf(made.Secret) {
			t.Error("the validator got another hash than that of the key")
		}
		if _, err := o.Explain(o.ctx(), managedkey.Caller{Owner: "u2"}, id, &apikey.Request{}); !errors.Is(err, managedkey.ErrNoSuchKey) {
			t.Errorf("another user's key: %v", err)
		}
		defer o.fail("alwaysOn", commands("find"), code(11601))()
		if _, err := o.Explain(o.ctx(), ann, id, &apikey.Request{}); !errors.Is(err, managedkey.ErrUnavailable) {
			t.Errorf("without the database: %v", err)
		}
	})
}

// TestExplainSaysThatNoRequestFindsADocument, because of its hash, whatever else is
// wrong with it. A list of hashes is one that MongoDB finds.
func TestExplainSaysThatNoRequestFindsADocument(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		v := &fakeValidator{}
		o := newFixture(t, s, func(c *Config) { c.Validator = v })
		listed := apikey.HashOf("kt_in a list")
		for id, hash := range map[string]any{"none": nil, "plain": "kt_the key itself", "list": bson.A{"else", listed.Hex()}} {
			doc := bson.D{{Key: "_id", Value: id}, {Key: "scopes", Value: 7}, {Key: "user_id", Value: "u1"}, {Key: "is_active", Value: true}}
			if hash != nil {
				doc = append(doc, bson.E{Key: "key_hash", Value: hash})
			}
			if _, err := o.keys.InsertOne(o.ctx(), doc); err != nil {
				t.Fatal(err)
			}
		}
		for id, want := range map[string]string{"none": "missing:key_hash", "plain": "type:key_hash"} {
			e, err := o.Explain(o.ctx(), ann, id, &apikey.Request{})
			if err != nil || e.Instance.Code != apikey.NotFound || e.Instance.Reason.String() != want || e.Database.Code != apikey.NotFound {
				t.Errorf("%s: %+v, %v", id, e, err)
			}
		}
		if len(v.hashes) != 0 {
			t.Errorf("asked for %d hashes", len(v.hashes))
		}
		if _, err := o.Explain(o.ctx(), ann, "list", &apikey.Request{}); err != nil || len(v.hashes) != 1 || v.hashes[0] != listed {
			t.Errorf("a list: %v, asked for %d hashes", err, len(v.hashes))
		}
	})
}

func TestExplainNeedsAValidator(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		o := newFixture(t, s)
		if _, err := o.Explain(o.ctx(), ann, "id", &apikey.Request{}); !errors.Is(err, errNoValidator) {
			t.Errorf("got %v", err)
		}
	})
}
