package keystore

import (
	"encoding/hex"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
)

// in returns a schema with other forms than the default.
func in(change func(*Schema)) Schema {
	s := DefaultSchema()
	change(&s)
	return s
}

// oid and uuid are ids whose texts the tests know.
var (
	oid  = bson.ObjectID{0x65, 0x1, 0x2, 0x3, 0x4, 0x5, 0x6, 0x7, 0x8, 0x9, 0xa, 0xb}
	uuid = bson.Binary{Subtype: bson.TypeBinaryUUID, Data: []byte("\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef")}
)

// combinations are schemas with every combination of forms.
func combinations() []Schema {
	var all []Schema
	for _, encoding := range HashEncodings() {
		for _, active := range ActiveForms() {
			for _, scopes := range ScopesForms() {
				for _, expires := range ExpiresForms() {
					s := DefaultSchema()
					s.HashEncoding, s.ActiveForm, s.ScopesForm, s.ExpiresForm = encoding, active, scopes, expires
					if active == ActiveAlways {
						s.Active = ""
					}
					all = append(all, s)
				}
			}
		}
	}
	return all
}

// TestEveryCombinationOfFormsIsRead: for each, a key that is on and one that is
// off, with each type of id.
func TestEveryCombinationOfFormsIsRead(t *testing.T) {
	t.Parallel()
	all := combinations()
	if len(all) != 7*4*2*3 {
		t.Fatalf("there are %d combinations", len(all))
	}
	ends := time.Date(2090, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, s := range all {
		if err := s.Validate(); err != nil {
			t.Fatal(err)
		}
		for text, id := range map[string]any{
			"user-1": "user-1", oid.Hex(): oid, "7": int32(7), "1099511627776": int64(1) << 40, "01234567-89ab-cdef-0123-456789abcdef": uuid,
		} {
			for _, on := range []bool{true, s.ActiveForm == ActiveAlways} {
				got := s.Decode(shaped(t, s, on, ends, id))
				want := Document{ID: s.ID(rawValue(t, "key-1")), Hash: testHash, HasHash: true, Record: apikey.Record{
					KeyID: "key-1", UserID: text, OrgID: text, ProjectID: text, Scopes: []string{"a", "b:*"},
					ExpiresAt: ends, Active: on,
				}}
				if diff := cmp.Diff(want, got, compareRecords); diff != "" {
					t.Errorf("%s, %s, %s, %s, on %v, id %v: %s", s.HashEncoding, s.ActiveForm, s.ScopesForm, s.ExpiresForm, on, id, diff)
				}
			}
		}
	}
}

// shaped is the document of one key in a collection with this schema.
func shaped(t *testing.T, s Schema, on bool, ends time.Time, id any) bson.Raw {
	t.Helper()
	doc := bson.D{
		{Key: idField, Value: "key-1"},
		{Key: s.Hash, Value: s.HashStored(testHash)},
		{Key: s.UserID, Value: id},
		{Key: s.OrgID, Value: id},
		{Key: s.ProjectID, Value: id},
		{Key: s.Scopes, Value: map[ScopesForm]any{ScopesArray: bson.A{"a", "b:*"}, ScopesText: "a b:*"}[s.ScopesForm]},
		{Key: s.ExpiresAt, Value: map[ExpiresForm]any{ExpiresDate: ends, ExpiresUnix: ends.Unix(), ExpiresUnixMilli: ends.UnixMilli()}[s.ExpiresForm]},
	}
	switch {
	case s.ActiveForm == ActiveBoolean:
		doc = append(doc, bson.E{Key: s.Active, Value: on})
	case s.ActiveForm == ActiveNegated:
		doc = append(doc, bson.E{Key: s.Active, Value: !on})
	case s.ActiveForm == ActiveNoDate && !on:
		doc = append(doc, bson.E{Key: s.Active, Value: time.Now()})
	}
	raw, err := bson.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestFormsByValue gives each form each kind of value. No defect contains a
// value: each string that could leak contains "leak".
func TestFormsByValue(t *testing.T) {
	t.Parallel()
	active := func(f ActiveForm) func(*Schema) { return func(s *Schema) { s.ActiveForm = f } }
	text := func(s *Schema) { s.ScopesForm = ScopesText }
	expires := func(f ExpiresForm) func(*Schema) { return func(s *Schema) { s.ExpiresForm = f } }
	on := func(r *apikey.Record) any { return r.Active }
	scopes := func(r *apikey.Record) any { return r.Scopes }
	ends := func(r *apikey.Record) any {
		if r.ExpiresAt.IsZero() {
			return "never"
		}
		return r.ExpiresAt.UnixMilli()
	}
	for _, test := range []struct {
		form   func(*Schema)
		field  string
		value  any
		look   func(*apikey.Record) any
		want   any
		defect string // empty: none
	}{
		{active(ActiveNegated), "is_active", absent, on, true, ""},
		{active(ActiveNegated), "is_active", nil, on, true, ""},
		{active(ActiveNegated), "is_active", false, on, true, ""},
		{active(ActiveNegated), "is_active", true, on, false, ""},
		{active(ActiveNegated), "is_active", int32(0), on, false, "is_active is of type 32-bit integer, a boolean is needed"},
		{active(ActiveNegated), "is_active", "leak", on, false, "is_active is of type string, a boolean is needed"},
		{active(ActiveNoDate), "is_active", absent, on, true, ""},
		{active(ActiveNoDate), "is_active", nil, on, true, ""},
		{active(ActiveNoDate), "is_active", time.Now(), on, false, ""},
		{active(ActiveNoDate), "is_active", time.Now().Add(time.Hour), on, false, ""},
		{active(ActiveNoDate), "is_active", bson.DateTime(math.MinInt64), on, false, ""},
		{active(ActiveNoDate), "is_active", "2026-11-24 leak", on, false, "is_active is of type string, a date is needed"},
		{active(ActiveNoDate), "is_active", false, on, false, "is_active is of type boolean, a date is needed"},
		{active(ActiveNoDate), "is_active", bson.Timestamp{T: 1}, on, false, "is_active is of type timestamp, a date is needed"},
		{active(""), "is_active", absent, on, false, "is_active is missing"},
		{active(""), "is_active", true, on, true, ""},

		{text, "scopes", "a", scopes, []string{"a"}, ""},
		{text, "scopes", " a  b:* ", scopes, []string{"a", "b:*"}, ""},
		{text, "scopes", "", scopes, []string{}, ""},
		{text, "scopes", absent, scopes, []string(nil), ""},
		{text, "scopes", nil, scopes, []string(nil), ""},
		{text, "scopes", "a leak\tleak", scopes, []string(nil), "scopes word 1 cannot be read: the scope has a control character"},
		{text, "scopes", "leak\u2003leak", scopes, []string(nil), "scopes word 0 cannot be read: a scope has no white space"},
		{text, "scopes", "a,leak\n", scopes, []string(nil), "scopes word 0 cannot be read"},
		{text, "scopes", bson.A{"leak"}, scopes, []string(nil), "scopes is of type array, a string is needed"},

		{expires(ExpiresUnix), "expires_at", int32(2), ends, int64(2000), ""},
		{expires(ExpiresUnix), "expires_at", int64(2), ends, int64(2000), ""},
		{expires(ExpiresUnix), "expires_at", 2.0, ends, int64(2000), ""},
		{expires(ExpiresUnix), "expires_at", int32(0), ends, int64(0), ""},
		{expires(ExpiresUnix), "expires_at", int32(-2), ends, int64(-2000), ""},
		{expires(ExpiresUnix), "expires_at", absent, ends, "never", ""},
		{expires(ExpiresUnix), "expires_at", nil, ends, "never", ""},
		{expires(ExpiresUnix), "expires_at", int64(253402300799), ends, int64(253402300799000), ""},
		{expires(ExpiresUnix), "expires_at", int64(253402300800), ends, "never", "expires_at is past the year 9999, read as seconds"},
		{expires(ExpiresUnix), "expires_at", int64(1796000000000), ends, "never", "expires_at is past the year 9999, read as seconds"},
		{expires(ExpiresUnix), "expires_at", int64(math.MaxInt64), ends, "never", "expires_at is past the year 9999"},
		{expires(ExpiresUnix), "expires_at", int64(math.MinInt64), ends, "never", "expires_at is before the year 1"},
		{expires(ExpiresUnix), "expires_at", time.Time{}.Unix(), ends, "never", "expires_at is before the year 1"},
		{expires(ExpiresUnix), "expires_at", time.Time{}.Unix() + 1, ends, (time.Time{}.Unix() + 1) * 1000, ""},
		{expires(ExpiresUnix), "expires_at", 2.5, ends, "never", "expires_at is a double that is not a whole number"},
		{expires(ExpiresUnix), "expires_at", math.NaN(), ends, "never", "expires_at is a double that is not a whole number"},
		{expires(ExpiresUnix), "expires_at", math.Inf(1), ends, "never", "expires_at is a double that is not a whole number"},
		{expires(ExpiresUnix), "expires_at", 1e300, ends, "never", "expires_at is a double that is not a whole number"},
		{expires(ExpiresUnix), "expires_at", decimal(t, "2"), ends, "never", "expires_at is of type 128-bit decimal, a whole number is needed"},
		{expires(ExpiresUnix), "expires_at", "2 leak", ends, "never", "expires_at is of type string, a whole number is needed"},
		{expires(ExpiresUnix), "expires_at", bson.DateTime(2000), ends, "never", "expires_at is of type UTC datetime, a whole number is needed"},
		{expires(ExpiresUnixMilli), "expires_at", int64(2345), ends, int64(2345), ""},
		{expires(ExpiresUnixMilli), "expires_at", 2345.0, ends, int64(2345), ""},
		{expires(ExpiresUnixMilli), "expires_at", int64(253402300799999), ends, int64(253402300799999), ""},
		{expires(ExpiresUnixMilli), "expires_at", int64(253402300800000), ends, "never", "expires_at is past the year 9999, read as milliseconds"},
		{expires(ExpiresUnixMilli), "expires_at", time.Time{}.UnixMilli(), ends, "never", "expires_at is before the year 1"},
		{expires(ExpiresUnixMilli), "expires_at", bson.DateTime(2000), ends, "never", "expires_at is of type UTC datetime, a whole number is needed"},
		{expires(""), "expires_at", bson.DateTime(2000), ends, int64(2000), ""},
	} {
		got := in(test.form).Decode(document(t, bson.E{Key: test.field, Value: test.value}))
		s := in(test.form)
		name := fmt.Sprintf("%s in %s, %s, %s", test.field, s.ActiveForm, s.ScopesForm, s.ExpiresForm)
		if (test.defect == "") != (got.Record.Defect == "") || !strings.HasPrefix(got.Record.Defect, test.defect) {
			t.Errorf("%s = %v: defect %q, want %q", name, test.value, got.Record.Defect, test.defect)
		}
		if have := test.look(&got.Record); !reflect.DeepEqual(have, test.want) {
			t.Errorf("%s = %v: read as %v, want %v", name, test.value, have, test.want)
		}
		if strings.Contains(got.Record.Defect, "leak") {
			t.Errorf("%s = %v: the defect holds the value: %q", name, test.value, got.Record.Defect)
		}
	}
}

func TestDefaultScopesAreForDocumentsWithoutScopes(t *testing.T) {
	t.Parallel()
	defaults := []string{"read", "b:*"}
	for _, form := range ScopesForms() {
		s := in(func(s *Schema) { s.ScopesForm, s.DefaultScopes = form, defaults })
		empty := map[ScopesForm]any{ScopesArray: bson.A{}, ScopesText: ""}[form]
		for _, test := range []struct {
			value any
			want  []string
		}{{absent, defaults}, {nil, defaults}, {empty, []string{}}, {int32(1), nil}} {
			got := s.Decode(document(t, bson.E{Key: "scopes", Value: test.value})).Record.Scopes
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("%s, scopes = %v: %#v, want %#v", form, test.value, got, test.want)
			}
		}
	}
	none := in(func(s *Schema) { s.Scopes, s.DefaultScopes = "", defaults })
	if got := none.Decode(document(t, bson.E{Key: "scopes", Value: bson.A{"*"}})).Record.Scopes; !reflect.DeepEqual(got, defaults) {
		t.Errorf("without a field for them: %v", got)
	}
}

func TestRolesWithoutANameMatchNoField(t *testing.T) {
	t.Parallel()
	s := in(func(s *Schema) {
		*s = Schema{Collection: s.Collection, Hash: s.Hash, UserID: s.UserID, ActiveForm: ActiveAlways}
	})
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	got := s.Decode(document(t,
		// A field with an empty name is legal, and belongs to no role
		bson.E{Key: "", Value: "org-1"}, bson.E{Key: "org_id", Value: "org-1"}, bson.E{Key: "is_active", Value: false},
		bson.E{Key: "scopes", Value: bson.A{"a"}}, bson.E{Key: "allowed_ips", Value: "?"}, bson.E{Key: "expires_at", Value: bson.DateTime(0)},
		bson.E{Key: "metadata", Value: 1}, bson.E{Key: "name", Value: 1}))
	if diff := cmp.Diff(apikey.Record{KeyID: "key-1", UserID: "user-1", Active: true}, got.Record, compareRecords); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"_id", s.Hash, s.UserID}, s.DecodedFields()); diff != "" {
		t.Error(diff)
	}
}

func TestTheHashIsReadOnlyInItsEncoding(t *testing.T) {
	t.Parallel()
	for _, encoding := range HashEncodings() {
		s := in(func(s *Schema) { s.HashEncoding = encoding })
		for _, other := range HashEncodings() {
			got := s.Decode(document(t, bson.E{Key: "key_hash", Value: other.stored(testHash)}))
			if (encoding == other) != got.HasHash || (encoding == other) != (got.Record.Defect == "") {
				t.Errorf("%s in a collection of %s: has a hash %v, defect %q", other, encoding, got.HasHash, got.Record.Defect)
			}
			if strings.Contains(strings.ToLower(got.Record.Defect), hex.EncodeToString(testHash[:4])) {
				t.Errorf("the defect holds the hash: %q", got.Record.Defect)
			}
			if encoding != other && !strings.HasPrefix(got.Record.Defect, "key_hash is not a SHA-256 hash ") {
				t.Errorf("defect %q", got.Record.Defect)
			}
		}
	}
}
