package keystore

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
)

// updatedFields are the fields that an update event shows.
func updatedFields(t *testing.T, fields bson.D) bson.Raw {
	t.Helper()
	raw, err := bson.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestRefusalIn(t *testing.T) {
	t.Parallel()
	ended := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	off := apikey.Refusal{Off: true}
	expires := apikey.Refusal{Expires: true, ExpiresAt: ended}
	negated := in(func(s *Schema) { s.Active, s.ActiveForm = "disabled", ActiveNegated })
	dated := in(func(s *Schema) { s.Active, s.ActiveForm = "revoked_at", ActiveNoDate })
	always := in(func(s *Schema) { s.Active, s.ActiveForm, s.ExpiresForm = "", ActiveAlways, ExpiresUnix })
	for _, c := range []struct {
		name   string
		schema Schema
		fields bson.D
		want   apikey.Refusal
	}{
		{"off", DefaultSchema(), bson.D{{Key: "is_active", Value: false}}, off},
		{"off, with fields that are not read", DefaultSchema(), bson.D{{Key: "updated_at", Value: ended}, {Key: "is_active", Value: false}, {Key: "audit.by", Value: "x"}, {Key: "last_used", Value: 1}}, off},
		{"expired", DefaultSchema(), bson.D{{Key: "expires_at", Value: ended}}, expires},
		{"off and expired", DefaultSchema(), bson.D{{Key: "expires_at", Value: ended}, {Key: "is_active", Value: false}}, apikey.Refusal{Off: true, Expires: true, ExpiresAt: ended}},
		{"off and without expiry", DefaultSchema(), bson.D{{Key: "expires_at", Value: nil}, {Key: "is_active", Value: false}}, apikey.Refusal{Off: true, Expires: true}},
		{"negated", negated, bson.D{{Key: "disabled", Value: true}}, off},
		{"a date", dated, bson.D{{Key: "revoked_at", Value: ended}}, off},
		{"no switch, expired", always, bson.D{{Key: "expires_at", Value: ended.Unix()}}, expires},

		{"on", DefaultSchema(), bson.D{{Key: "is_active", Value: true}}, apikey.Refusal{}},
		{"on and expired", DefaultSchema(), bson.D{{Key: "is_active", Value: true}, {Key: "expires_at", Value: ended}}, apikey.Refusal{}},
		{"negated, on", negated, bson.D{{Key: "disabled", Value: false}}, apikey.Refusal{}},
		{"negated, null", negated, bson.D{{Key: "disabled", Value: nil}}, apikey.Refusal{}},
		{"a date, null", dated, bson.D{{Key: "revoked_at", Value: nil}}, apikey.Refusal{}},
		{"a switch that cannot be read", DefaultSchema(), bson.D{{Key: "is_active", Value: "no"}}, apikey.Refusal{}},
		{"a switch that is null", DefaultSchema(), bson.D{{Key: "is_active", Value: nil}}, apikey.Refusal{}},
		{"an expiry that cannot be read", DefaultSchema(), bson.D{{Key: "is_active", Value: false}, {Key: "expires_at", Value: "today"}}, apikey.Refusal{}},
		{"a part of the switch", DefaultSchema(), bson.D{{Key: "is_active", Value: false}, {Key: "is_active.x", Value: 1}}, apikey.Refusal{}},
		{"twice", DefaultSchema(), bson.D{{Key: "is_active", Value: false}, {Key: "is_active", Value: false}}, apikey.Refusal{}},
		{"with the hash", DefaultSchema(), bson.D{{Key: "is_active", Value: false}, {Key: "key_hash", Value: testHash.Hex()}}, apikey.Refusal{}},
		{"with a part of the hash", DefaultSchema(), bson.D{{Key: "is_active", Value: false}, {Key: "key_hash.0", Value: "x"}}, apikey.Refusal{}},
		{"with the user", DefaultSchema(), bson.D{{Key: "user_id", Value: "u2"}, {Key: "is_active", Value: false}}, apikey.Refusal{}},
		{"with a part of the metadata", DefaultSchema(), bson.D{{Key: "is_active", Value: false}, {Key: "metadata.why", Value: "leaked"}}, apikey.Refusal{}},
		{"with a scope", DefaultSchema(), bson.D{{Key: "scopes.1", Value: "a"}, {Key: "is_active", Value: false}}, apikey.Refusal{}},
		{"nothing that is read", DefaultSchema(), bson.D{{Key: "plan", Value: "pro"}}, apikey.Refusal{}},
		{"a field without a name, no switch", always, bson.D{{Key: "", Value: true}}, apikey.Refusal{}},
	} {
		if got := c.schema.RefusalIn(updatedFields(t, c.fields)); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
	if got := DefaultSchema().RefusalIn(bson.Raw{1, 2, 3}); got != (apikey.Refusal{}) {
		t.Errorf("not BSON: got %+v", got)
	}
}

// TestARefusalIsTheDocumentAfterIt: the record before an update, with what the update says applied to
// it, is the record of the whole document after the update. In every combination of forms.
func TestARefusalIsTheDocumentAfterIt(t *testing.T) {
	t.Parallel()
	past := time.Date(2001, 2, 3, 4, 5, 6, 789_000_000, time.UTC)
	values := []any{true, false, nil, past, past.Unix(), past.UnixMilli(), float64(past.Unix()), "2001-02-03", int32(7)}
	refusals := 0
	for _, s := range combinations() {
		before := with(bson.D{{Key: "_id", Value: "key-1"}, {Key: "user_id", Value: "user-1"}, {Key: "org_id", Value: "org-1"}}, bson.E{Key: s.Hash, Value: s.HashStored(testHash)})
		if s.ActiveForm.required() {
			before = with(before, bson.E{Key: s.Active, Value: true})
		}
		for _, active := range values {
			for _, expiry := range values {
				update := bson.D{}
				if s.Active != "" && active != "2001-02-03" {
					update = append(update, bson.E{Key: s.Active, Value: active})
				}
				if expiry != int32(7) {
					update = append(update, bson.E{Key: s.ExpiresAt, Value: expiry})
				}
				says := s.RefusalIn(updatedFields(t, update))
				if says == (apikey.Refusal{}) {
					continue
				}
				refusals++
				after := before
				for _, e := range update {
					after = with(after, e)
				}
				got, want := s.Decode(updatedFields(t, before)).Record, s.Decode(updatedFields(t, after)).Record
				says.ApplyTo(&got)
				if diff := cmp.Diff(want, got, compareRecords); diff != "" {
					t.Fatalf("%+v, update %v: the record differs from that of the document after it (-document +refusal):\n%s", s, update, diff)
				}
			}
		}
	}
	if refusals < 1000 {
		t.Errorf("only %d updates refused a key: the test shows little", refusals)
	}
}
