package keystore

import (
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/testdata"
)

// testHash is the hash of the document that the tests begin with.
var testHash = apikey.HashOf("kt_a key of the tests")

// document is a valid document, with changes. A value of absent removes a
// field.
func document(t testing.TB, changes ...bson.E) bson.Raw {
	t.Helper()
	doc := bson.D{
		{Key: "_id", Value: "key-1"},
		{Key: "key_hash", Value: testHash.Hex()},
		{Key: "is_active", Value: true},
		{Key: "user_id", Value: "user-1"},
	}
	for _, change := range changes {
		doc = with(doc, change)
	}
	raw, err := bson.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

type absentType struct{}

var absent = absentType{}

func with(doc bson.D, change bson.E) bson.D {
	var changed bson.D
	for _, e := range doc {
		if e.Key != change.Key {
			changed = append(changed, e)
		}
	}
	if change.Value == absent {
		return changed
	}
	return append(changed, change)
}

// compareRecords compares prefixes by value.
var compareRecords = cmpopts.EquateComparable(netip.Prefix{})

func TestDecodeReadsEveryField(t *testing.T) {
	t.Parallel()
	id := bson.NewObjectID()
	uuid := bson.Binary{Subtype: bson.TypeBinaryUUID, Data: []byte("\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef")}
	expiry := time.Date(2027, 1, 2, 3, 4, 5, 6e6, time.UTC)
	got := DefaultSchema().Decode(document(t,
		bson.E{Key: "_id", Value: id},
		bson.E{Key: "user_id", Value: uuid},
		bson.E{Key: "org_id", Value: int32(-7)},
		bson.E{Key: "project_id", Value: int64(math.MaxInt64)},
		bson.E{Key: "name", Value: "Ünïcode name"},
		bson.E{Key: "scopes", Value: bson.A{"a:read", "*"}},
		bson.E{Key: "allowed_ips", Value: bson.A{"192.0.2.1", "10.1.2.3/8", "2001:db8::/32", "::ffff:192.0.2.7"}},
		bson.E{Key: "expires_at", Value: expiry},
		bson.E{Key: "metadata", Value: bson.D{{Key: "plan", Value: "pro"}, {Key: "n", Value: int64(3)}, {Key: "owner", Value: id}}},
	))
	want := Document{
		ID:      DefaultSchema().ID(rawValue(t, id)),
		Hash:    testHash,
		HasHash: true,
		Record: apikey.Record{
			KeyID:     id.Hex(),
			UserID:    "01234567-89ab-cdef-0123-456789abcdef",
			OrgID:     "-7",
			ProjectID: "9223372036854775807",
			Name:      "Ünïcode name",
			Scopes:    []string{"a:read", "*"},
			AllowedIPs: []netip.Prefix{
				netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("10.0.0.0/8"),
				netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("192.0.2.7/32"),
			},
			ExpiresAt: expiry,
			Metadata:  []byte(`{"plan":"pro","n":3,"owner":{"$oid":"` + id.Hex() + `"}}`),
			Active:    true,
		},
	}
	if diff := cmp.Diff(want, got, compareRecords); diff != "" {
		t.Error(diff)
	}
}

// TestDecodeByField gives each field each kind of value. No defect contains a
// value: every string in the table that could leak contains "leak".
func TestDecodeByField(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		field  string
		value  any
		defect string // empty: none
	}{
		{"_id", absent, "_id is missing"},
		{"_id", nil, "_id is null"},
		{"_id", 1.5, "_id is of type double"},
		{"_id", "", "_id cannot be read: the id is empty"},
		{"_id", "a\nleak", "_id cannot be read: the id has a control character"},
		{"_id", bson.D{{Key: "a", Value: "leak"}}, "_id is of type embedded document"},
		{"_id", int32(0), ""},

		{"key_hash", absent, "key_hash is missing"},
		{"key_hash", nil, "key_hash is not a SHA-256 hash"},
		{"key_hash", int32(5), "key_hash is not a SHA-256 hash"},
		{"key_hash", "leak", "key_hash is not a SHA-256 hash"},
		{"key_hash", strings.ToUpper(testHash.Hex()), "key_hash is not a SHA-256 hash"},
		{"key_hash", bson.A{testHash.Hex()}, "key_hash is not a SHA-256 hash"},
		{"key_hash", bson.Symbol(testHash.Hex()), "key_hash is not a SHA-256 hash"},

		{"is_active", absent, "is_active is missing"},
		{"is_active", nil, "is_active is null, a boolean is needed"},
		{"is_active", int32(1), "is_active is of type 32-bit integer, a boolean is needed"},
		{"is_active", "leak", "is_active is of type string, a boolean is needed"},
		{"is_active", false, ""},

		{"user_id", absent, "user_id is missing"},
		{"user_id", nil, "user_id is null"},
		{"user_id", "", "user_id cannot be read: the id is empty"},
		{"user_id", true, "user_id is of type boolean"},
		{"user_id", 7.0, "user_id is of type double"},
		{"user_id", "leak\xff", "user_id cannot be read"},
		{"user_id", "leak" + strings.Repeat("x", 300), "user_id cannot be read"},
		{"user_id", bson.Binary{Subtype: 3, Data: make([]byte, 16)}, "user_id is binary data other than a UUID"},
		{"user_id", bson.Binary{Subtype: 4, Data: make([]byte, 15)}, "user_id is binary data other than a UUID"},

		{"org_id", absent, ""},
		{"org_id", nil, ""},
		{"org_id", "", "org_id cannot be read: the id is empty"},
		{"org_id", bson.A{"leak"}, "org_id is of type array"},
		{"org_id", "le\x00ak", "org_id cannot be read"},
		{"project_id", absent, ""},
		{"project_id", nil, ""},
		{"project_id", "", "project_id cannot be read: the id is empty"},
		{"project_id", bson.D{{Key: "id", Value: "leak"}}, "project_id is of type embedded document"},
		{"project_id", "leak\x7f", "project_id cannot be read"},

		{"name", absent, ""},
		{"name", nil, ""},
		{"name", "", ""},
		{"name", int32(1), "name is of type 32-bit integer, a string is needed"},
		{"name", "leak\x1b[31m", "name cannot be read: the name has a control character"},

		{"scopes", absent, ""},
		{"scopes", nil, ""},
		{"scopes", bson.A{}, ""},
		{"scopes", "leak", "scopes is of type string, an array of strings is needed"},
		{"scopes", bson.D{{Key: "0", Value: "leak"}}, "scopes is of type embedded document"},
		{"scopes", bson.A{"ok", int32(1)}, "scopes element 1 is of type 32-bit integer"},
		{"scopes", bson.A{"ok", nil}, "scopes element 1 is null"},
		{"scopes", bson.A{"leak leak"}, "scopes element 0 cannot be read: a scope has no white space"},
		{"scopes", bson.A{""}, "scopes element 0 cannot be read"},

		{"allowed_ips", absent, ""},
		{"allowed_ips", nil, ""},
		{"allowed_ips", bson.A{}, ""},
		{"allowed_ips", "192.0.2.1", "allowed_ips is of type string, an array of strings is needed"},
		{"allowed_ips", bson.A{int32(1)}, "allowed_ips element 0 is of type 32-bit integer"},
		{"allowed_ips", bson.A{"192.0.2.1", "leak"}, "allowed_ips element 1 cannot be read"},
		{"allowed_ips", bson.A{"192.0.2.1/33"}, "allowed_ips element 0 cannot be read"},
		{"allowed_ips", bson.A{"fe80::1%leak"}, "allowed_ips element 0 cannot be read"},

		{"expires_at", absent, ""},
		{"expires_at", nil, ""},
		{"expires_at", "2027-01-01T00:00:00Z leak", "expires_at is of type string, a date is needed"},
		{"expires_at", int64(1), "expires_at is of type 64-bit integer, a date is needed"},
		{"expires_at", bson.Timestamp{T: 1}, "expires_at is of type timestamp, a date is needed"},

		{"metadata", absent, ""},
		{"metadata", nil, ""},
		{"metadata", bson.D{}, ""},
		{"metadata", "leak", "metadata is of type string, an embedded document is needed"},
		{"metadata", bson.A{"leak"}, "metadata is of type array, an embedded document is needed"},

		{"created_at", "leak", ""},
		{"last_used", bson.A{}, ""},
		{"usage_count", "leak", ""},
		{"key_prefix", int32(1), ""},
		{"something else", "leak", ""},
	} {
		got := DefaultSchema().Decode(document(t, bson.E{Key: test.field, Value: test.value}))
		if test.defect == "" && got.Record.Defect != "" || !strings.HasPrefix(got.Record.Defect, test.defect) {
			t.Errorf("%s = %v: got defect %q, want %q", test.field, test.value, got.Record.Defect, test.defect)
		}
		if strings.Contains(got.Record.Defect, "leak") || strings.Contains(got.Record.Defect, testHash.Hex()) {
			t.Errorf("%s = %v: the defect holds the value: %q", test.field, test.value, got.Record.Defect)
		}
		if got.Record.KeyID == "" {
			t.Errorf("%s = %v: no key id", test.field, test.value)
		}
		if test.defect != "" && apikey.Decide(&got.Record, &apikey.Request{}, time.Now()) != apikey.Disabled {
			t.Errorf("%s = %v is not DISABLED", test.field, test.value)
		}
	}
}

func TestAbsentAndNullMeanUnboundAndNever(t *testing.T) {
	t.Parallel()
	bare := DefaultSchema().Decode(document(t))
	var nulls []bson.E
	for _, name := range []string{"org_id", "project_id", "name", "scopes", "allowed_ips", "expires_at", "metadata"} {
		nulls = append(nulls, bson.E{Key: name, Value: nil})
	}
	want := apikey.Record{KeyID: "key-1", UserID: "user-1", Active: true}
	for name, got := range map[string]Document{"absent": bare, "null": DefaultSchema().Decode(document(t, nulls...))} {
		if diff := cmp.Diff(want, got.Record, compareRecords); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestEmptyArrayOfScopesIsNotAbsent(t *testing.T) {
	t.Parallel()
	got := DefaultSchema().Decode(document(t, bson.E{Key: "scopes", Value: bson.A{}}))
	if got.Record.Scopes == nil || len(got.Record.Scopes) != 0 {
		t.Errorf("got %#v, want an empty list that is not nil", got.Record.Scopes)
	}
}

func TestAllDefectsAreReportedAndTheRestIsRead(t *testing.T) {
	t.Parallel()
	got := DefaultSchema().Decode(document(t,
		bson.E{Key: "user_id", Value: absent},
		bson.E{Key: "name", Value: "still here"},
		bson.E{Key: "expires_at", Value: "soon"}))
	if want := "expires_at is of type string, a date is needed; user_id is missing"; got.Record.Defect != want {
		t.Errorf("got %q, want %q", got.Record.Defect, want)
	}
	if !got.HasHash || got.Hash != testHash || got.Record.Name != "still here" || !got.Record.Active {
		t.Errorf("the readable part is lost: %+v", got)
	}
}

func TestFieldThatOccursTwiceIsADefect(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"_id", "key_hash", "is_active", "user_id", "org_id", "project_id",
		"name", "scopes", "allowed_ips", "expires_at", "metadata",
	} {
		var doc bson.D
		if err := bson.Unmarshal(document(t), &doc); err != nil {
			t.Fatal(err)
		}
		raw, err := bson.Marshal(append(doc, bson.E{Key: name, Value: nil}, bson.E{Key: name, Value: nil}))
		if err != nil {
			t.Fatal(err)
		}
		got := DefaultSchema().Decode(raw)
		if !strings.Contains(got.Record.Defect, name+" occurs twice") {
			t.Errorf("%s: got %q", name, got.Record.Defect)
		}
		if got.Record.KeyID != "key-1" || got.Hash != testHash {
			t.Errorf("%s: the first of two values is not the one that MongoDB finds: %+v", name, got)
		}
	}
}

func TestExtremeExpiriesStayOrderedAndWritable(t *testing.T) {
	t.Parallel()
	zero := time.Time{}.UnixMilli()
	for _, test := range []struct {
		milliseconds int64
		expired      bool
	}{
		{math.MinInt64, true},
		{zero - 1, true},
		{zero, true},
		{zero + 1, true},
		{0, true},
		{8.64e15, false},
		{math.MaxInt64, false},
	} {
		got := DefaultSchema().Decode(document(t, bson.E{Key: "expires_at", Value: bson.DateTime(test.milliseconds)}))
		at := got.Record.ExpiresAt
		if got.Record.Defect != "" || at.IsZero() || at.Before(time.Now()) != test.expired {
			t.Errorf("%d: got %v, defect %q", test.milliseconds, at, got.Record.Defect)
		}
		if _, err := at.MarshalJSON(); err != nil {
			t.Errorf("%d: %v", test.milliseconds, err)
		}
	}
}

func TestDecodeKeepsNothingOfTheDocument(t *testing.T) {
	t.Parallel()
	for _, id := range []any{"key-1", bson.D{{Key: "a", Value: "b"}}, bson.NewObjectID()} {
		doc := document(t,
			bson.E{Key: "_id", Value: id}, bson.E{Key: "org_id", Value: "org"}, bson.E{Key: "name", Value: "n"},
			bson.E{Key: "scopes", Value: bson.A{"a", "b"}}, bson.E{Key: "metadata", Value: bson.D{{Key: "k", Value: "v"}}})
		got, want := DefaultSchema().Decode(doc), DefaultSchema().Decode(append(bson.Raw(nil), doc...))
		for i := range doc {
			doc[i] = 0xAA
		}
		if diff := cmp.Diff(want, got, compareRecords); diff != "" {
			t.Errorf("_id %v: %s", id, diff)
		}
	}
}

func TestOtherNamesAreReadByTheirSchema(t *testing.T) {
	t.Parallel()
	s := DefaultSchema()
	s.Hash, s.Active, s.UserID, s.LastUsed = "digest", "enabled", "owner", "seen"
	doc, err := bson.Marshal(bson.D{
		{Key: "_id", Value: int32(1)},
		{Key: "digest", Value: testHash.Hex()},
		{Key: "enabled", Value: true},
		{Key: "owner", Value: "o"},
		{Key: "user_id", Value: nil},
		{Key: "is_active", Value: "x"},
		{Key: "key_hash", Value: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := s.Decode(doc)
	want := apikey.Record{KeyID: "1", UserID: "o", Active: true}
	if diff := cmp.Diff(want, got.Record, compareRecords); diff != "" || got.Hash != testHash {
		t.Errorf("%s, hash %v", diff, got.Hash)
	}
}

func TestInvalidBSONIsADefect(t *testing.T) {
	t.Parallel()
	good := document(t)
	for name, doc := range map[string]bson.Raw{
		"nil": nil, "short": {1, 2}, "cut": good[:len(good)-3], "empty": {5, 0, 0, 0, 0},
	} {
		got := DefaultSchema().Decode(doc)
		if got.Record.Defect == "" || got.Record.KeyID != unknownID || got.HasHash {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

func TestSampleDocumentsHaveNoDefect(t *testing.T) {
	t.Parallel()
	var samples []bson.Raw
	if err := bson.UnmarshalExtJSON([]byte(`{"all":`+testdata.APIKeys()+`}`), false, &struct{ All *[]bson.Raw }{&samples}); err != nil {
		t.Fatal(err)
	}
	if len(samples) < 200 {
		t.Fatalf("there are %d samples", len(samples))
	}
	for _, doc := range samples {
		if got := DefaultSchema().Decode(doc); got.Record.Defect != "" {
			t.Errorf("%s: %s", got.Record.KeyID, got.Record.Defect)
		}
	}
}

// TestListsOfARecordHaveNoSpareCapacity: the record of a read is shared by all requests that have waited
// for it. If two of them append to its list, each must get a copy of its own.
func TestListsOfARecordHaveNoSpareCapacity(t *testing.T) {
	t.Parallel()
	shared := append(make([]string, 0, 8), "a")
	defaults := in(func(s *Schema) { s.DefaultScopes = shared })
	text := in(func(s *Schema) { s.ScopesForm = ScopesText })
	for name, r := range map[string]apikey.Record{
		"default scopes": defaults.Decode(document(t)).Record,
		"array": DefaultSchema().Decode(document(t, bson.E{Key: "scopes", Value: bson.A{"a", "b", "c"}},
			bson.E{Key: "allowed_ips", Value: bson.A{"::1", "10.0.0.0/8", "192.0.2.1"}}, bson.E{Key: "metadata", Value: bson.D{{Key: "a", Value: "12"}}})).Record,
		"text":       text.Decode(document(t, bson.E{Key: "scopes", Value: "a b c"})).Record,
		"the driver": DefaultSchema().Decode(document(t, bson.E{Key: "metadata", Value: bson.D{{Key: "a", Value: bson.Symbol("s")}}})).Record,
	} {
		if r.Defect != "" || cap(r.Scopes) != len(r.Scopes) || cap(r.AllowedIPs) != len(r.AllowedIPs) || cap(r.Metadata) != len(r.Metadata) {
			t.Errorf("%s: %d of %d scopes, %d of %d networks, %d of %d bytes of metadata (%s)", name, len(r.Scopes), cap(r.Scopes),
				len(r.AllowedIPs), cap(r.AllowedIPs), len(r.Metadata), cap(r.Metadata), r.Defect)
		}
	}
}
