package keystore

import (
	"encoding/json"
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
)

// written is the content of the keys in these tests: a time in whole seconds,
// because one form has only those.
var (
	made = time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)
	ends = time.Date(2090, 1, 2, 3, 4, 5, 0, time.UTC)
)

func ptr[T any](v T) *T { return &v }

// idTexts are ids as each form writes them, and the BSON types of their values.
var idTexts = map[IDForm]struct {
	text string
	kind bson.Type
}{
	"":         {"user 1", bson.TypeString},
	IDString:   {oid.Hex(), bson.TypeString},
	IDObjectID: {oid.Hex(), bson.TypeObjectID},
	IDUUID:     {"01234567-89ab-cdef-0123-456789abcdef", bson.TypeBinary},
	IDInteger:  {"-42", bson.TypeInt64},
}

// full sets every field.
func full(id string) Fields {
	return Fields{
		UserID: &id, OrgID: &id, ProjectID: &id, Name: ptr("a key"),
		Scopes:     ptr([]string{"a", "b:*"}),
		AllowedIPs: ptr([]netip.Prefix{netip.MustParsePrefix("192.0.2.7/32"), netip.MustParsePrefix("2001:db8::/32")}),
		ExpiresAt:  &ends, Metadata: ptr(json.RawMessage(`{"plan":"pro","since":{"$date":"2026-01-02T03:04:05Z"},"n":[1,2.5,null]}`)),
	}
}

// fullRecord is how full is read.
func fullRecord(keyID, id string, active bool) apikey.Record {
	return apikey.Record{
		KeyID: keyID, UserID: id, OrgID: id, ProjectID: id, Name: "a key", Scopes: []string{"a", "b:*"},
		AllowedIPs: []netip.Prefix{netip.MustParsePrefix("192.0.2.7/32"), netip.MustParsePrefix("2001:db8::/32")},
		ExpiresAt:  ends, Metadata: json.RawMessage(`{"plan":"pro","since":{"$date":"2026-01-02T03:04:05Z"},"n":[1,2.5,null]}`), Active: active,
	}
}

// TestWhatIsWrittenIsRead in every combination of forms, with every form of
// ids.
func TestWhatIsWrittenIsRead(t *testing.T) {
	t.Parallel()
	for _, s := range combinations() {
		for form, id := range idTexts {
			s.UserIDForm, s.OrgIDForm, s.ProjectIDForm = form, form, form
			if err := s.Validate(); err != nil {
				t.Fatal(err)
			}
			d, err := s.Draft(NewKey{Hash: testHash, KeyPrefix: "kt_abc", CreatedAt: made, Fields: full(id.text)})
			if err != nil {
				t.Fatalf("%+v: %v", s, err)
			}
			got := s.Decode(d.Details.raw)
			want := Document{ID: got.ID, Hash: testHash, HasHash: true, Record: fullRecord(got.Record.KeyID, id.text, true)}
			if diff := cmp.Diff(want, got, compareRecords); diff != "" {
				t.Fatalf("%s, %s, %s, %s, ids %s: %s", s.HashEncoding, s.ActiveForm, s.ScopesForm, s.ExpiresForm, form, diff)
			}
			shown := s.Details(d.Details.raw)
			if shown.KeyPrefix != "kt_abc" || !shown.CreatedAt.Equal(made) || !shown.LastUsed.IsZero() || shown.UsageCount != -1 || shown.RotatedFrom != "" {
				t.Fatalf("shown %+v", shown)
			}
			for _, name := range []string{s.UserID, s.OrgID, s.ProjectID} {
				if kind := d.Details.raw.Lookup(name).Type; kind != id.kind {
					t.Errorf("ids %s: %s is of type %v", form, name, kind)
				}
			}
			changesAreRead(t, s, d.Details)
		}
	}
}

// changesAreRead removes every field that can be removed, and switches the key
// off.
func changesAreRead(t *testing.T, s Schema, was Details) {
	t.Helper()
	e, err := s.Edit(was, Fields{
		OrgID: ptr(""), ProjectID: ptr(""), Name: ptr(""), Scopes: ptr([]string{}), AllowedIPs: ptr([]netip.Prefix{}),
		ExpiresAt: &time.Time{}, Metadata: ptr(json.RawMessage(nil)),
	}, made)
	if err != nil {
		t.Fatal(err)
	}
	want := apikey.Record{KeyID: was.Record.KeyID, UserID: was.Record.UserID, Scopes: []string{}, Active: true}
	if diff := cmp.Diff(want, s.Decode(e.After.raw).Record, compareRecords); diff != "" {
		t.Fatalf("%+v: %s", s, diff)
	}
	e, err = s.Edit(e.After, Fields{ClearScopes: true}, made)
	if want.Scopes = nil; err != nil || !cmp.Equal(want, e.After.Record, compareRecords) {
		t.Fatalf("without scopes: %+v, %v", e.After.Record, err)
	}
	e, err = s.Edit(was, Fields{Active: ptr(false)}, made)
	if s.ActiveForm == ActiveAlways {
		if !errors.Is(err, ErrCannotStore) || !strings.Contains(err.Error(), "cannot be revoked") {
			t.Fatalf("a key without a switch: %v", err)
		}
		return
	}
	if err != nil || e.After.Record.Active || e.After.Record.Defect != "" || e.IsEmpty() {
		t.Fatalf("%s: %+v, %v", s.ActiveForm, e.After.Record, err)
	}
	off := e.After
	if e, err = s.Edit(off, Fields{Active: ptr(false)}, made.Add(time.Hour)); err != nil || !e.IsEmpty() {
		t.Fatalf("%s: a key that is off is written anew: %+v, %v", s.ActiveForm, e.edit, err)
	}
	if e, err = s.Edit(off, Fields{Active: ptr(true)}, made); err != nil || !e.After.Record.Active {
		t.Fatalf("%s: on again: %+v, %v", s.ActiveForm, e.After.Record, err)
	}
}

func TestAnEditWithoutAChangeIsEmpty(t *testing.T) {
	t.Parallel()
	for _, s := range combinations() {
		d, err := s.Draft(NewKey{Hash: testHash, CreatedAt: made, Fields: full("u")})
		if err != nil {
			t.Fatal(err)
		}
		e, err := s.Edit(d.Details, full("u"), made)
		if err != nil || !e.IsEmpty() || e.After.Digest != d.Details.Digest {
			t.Errorf("%+v: %+v, %v", s, e.edit, err)
		}
		e, err = s.Edit(d.Details, Fields{Name: ptr("another")}, made)
		if err != nil || e.IsEmpty() || len(e.edit.set) != 1 || len(e.edit.unset) != 0 || e.After.Digest == d.Details.Digest {
			t.Errorf("%+v: %+v, %v", s, e.edit, err)
		}
	}
	// A field that is absent is not removed.
	d, err := DefaultSchema().Draft(NewKey{Hash: testHash, Fields: Fields{UserID: ptr("u")}})
	if err != nil {
		t.Fatal(err)
	}
	e, err := DefaultSchema().Edit(d.Details, Fields{Name: ptr(""), ExpiresAt: &time.Time{}, ClearScopes: true}, made)
	if err != nil || !e.IsEmpty() {
		t.Errorf("%+v, %v", e.edit, err)
	}
}

// TestAnUnreadableSwitchIsWritten: the key counts as off, and a later repair of
// the field must not switch a revoked key on.
func TestAnUnreadableSwitchIsWritten(t *testing.T) {
	t.Parallel()
	s := DefaultSchema()
	was := s.Details(document(t, bson.E{Key: "is_active", Value: "yes"}))
	if was.Record.Active {
		t.Fatal("it reads as on")
	}
	e, err := s.Edit(was, Fields{Active: ptr(false)}, made)
	if err != nil || e.IsEmpty() || e.After.Record.Defect != "" {
		t.Errorf("%+v, %v", e, err)
	}
}

// TestUnmappedFieldsAreRefused: for each optional role, with an error that
// names the flag; and a role that is not set gives no error.
func TestUnmappedFieldsAreRefused(t *testing.T) {
	t.Parallel()
	user := ptr("u")
	for name, test := range map[string]struct {
		without func(*Schema)
		fields  Fields
		words   string
	}{
		"org":             {func(s *Schema) { s.OrgID = "" }, Fields{UserID: user, OrgID: user}, "--map-org-id"},
		"project":         {func(s *Schema) { s.ProjectID = "" }, Fields{UserID: user, ProjectID: user}, "--map-project-id"},
		"name":            {func(s *Schema) { s.Name = "" }, Fields{UserID: user, Name: user}, "--map-name"},
		"scopes":          {func(s *Schema) { s.Scopes = "" }, Fields{UserID: user, Scopes: ptr([]string{"a"})}, "--map-scopes"},
		"no scopes":       {func(s *Schema) { s.Scopes = "" }, Fields{UserID: user, Scopes: ptr([]string{})}, "--map-scopes"},
		"allow-list":      {func(s *Schema) { s.AllowedIPs = "" }, Fields{UserID: user, AllowedIPs: full("u").AllowedIPs}, "--map-allowed-ips"},
		"expiry":          {func(s *Schema) { s.ExpiresAt = "" }, Fields{UserID: user, ExpiresAt: &ends}, "--map-expires-at"},
		"metadata":        {func(s *Schema) { s.Metadata = "" }, Fields{UserID: user, Metadata: full("u").Metadata}, "--map-metadata"},
		"off":             {func(s *Schema) { s.Active, s.ActiveForm = "", ActiveAlways }, Fields{UserID: user, Active: ptr(false)}, "delete it"},
		"objectid":        {func(s *Schema) { s.UserIDForm = IDObjectID }, Fields{UserID: user}, "--map-user-id-form objectid"},
		"uuid":            {func(s *Schema) { s.UserIDForm = IDUUID }, Fields{UserID: ptr("0123456789abcdef0123456789abcdef")}, "--map-user-id-form uuid"},
		"integer":         {func(s *Schema) { s.UserIDForm = IDInteger }, Fields{UserID: ptr("007")}, "--map-user-id-form integer"},
		"no user":         {func(*Schema) {}, Fields{}, "user_id is missing"},
		"an empty user":   {func(*Schema) {}, Fields{UserID: ptr("")}, "needs a user id"},
		"two words":       {func(s *Schema) { s.ScopesForm = ScopesText }, Fields{UserID: user, Scopes: ptr([]string{"a\tb"})}, "could not be read as a key"},
		"a bad name":      {func(*Schema) {}, Fields{UserID: user, Name: ptr("\x00")}, "could not be read as a key"},
		"metadata, array": {func(*Schema) {}, Fields{UserID: user, Metadata: ptr(json.RawMessage(`[1]`))}, "metadata must be a JSON object"},
		"metadata, date":  {func(*Schema) {}, Fields{UserID: user, Metadata: ptr(json.RawMessage(`{"a":{"$date":"leak"}}`))}, "metadata must be a JSON object"},
		"metadata, type":  {func(*Schema) {}, Fields{UserID: user, Metadata: ptr(json.RawMessage(`{"$oid":"650102030405060708090a0b"}`))}, "no name in it may begin with $"},
		"metadata, deep":  {func(*Schema) {}, Fields{UserID: user, Metadata: ptr(json.RawMessage(`{"a":[{"$set":1}]}`))}, "no name in it may begin with $"},
		"metadata, nest":  {func(*Schema) {}, Fields{UserID: user, Metadata: ptr(json.RawMessage(`{"a":` + strings.Repeat("[", 32) + strings.Repeat("]", 32) + `}`))}, "nested 32 deep"},
	} {
		s := in(test.without)
		_, err := s.Draft(NewKey{Hash: testHash, CreatedAt: made, Fields: test.fields})
		if !errors.Is(err, ErrCannotStore) || !strings.Contains(err.Error(), test.words) || strings.Contains(err.Error(), "leak") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := s.Draft(NewKey{Hash: testHash, CreatedAt: made, Fields: Fields{UserID: ptr(idTexts[s.UserIDForm].text)}}); err != nil {
			t.Errorf("%s, although it is not set: %v", name, err)
		}
		nothing := Fields{OrgID: ptr(""), ProjectID: ptr(""), Name: ptr(""), ClearScopes: true, AllowedIPs: ptr([]netip.Prefix{}), ExpiresAt: &time.Time{}, Metadata: ptr(json.RawMessage(nil))}
		nothing.UserID = ptr(idTexts[s.UserIDForm].text)
		if _, err := s.Draft(NewKey{Hash: testHash, CreatedAt: made, Fields: nothing}); err != nil {
			t.Errorf("%s, removed: %v", name, err)
		}
	}
	was := DefaultSchema().Details(document(t))
	if _, err := DefaultSchema().Edit(was, Fields{UserID: ptr("")}, made); !errors.Is(err, ErrCannotStore) {
		t.Errorf("a removed user: %v", err)
	}
	if _, err := DefaultSchema().Edit(was, Fields{Name: ptr("\x00")}, made); !errors.Is(err, ErrCannotStore) {
		t.Errorf("a name that cannot be read: %v", err)
	}
	if _, err := DefaultSchema().Edit(DefaultSchema().Details(document(t, bson.E{Key: "name", Value: 1})), Fields{Active: ptr(false)}, made); err != nil {
		t.Errorf("a key that is none already is switched off: %v", err)
	}
}

// TestAllUnmappedFieldsAreReportedTogether.
func TestAllUnmappedFieldsAreReportedTogether(t *testing.T) {
	t.Parallel()
	s := in(func(s *Schema) { s.OrgID, s.Name, s.UserIDForm = "", "", IDInteger })
	_, err := s.Draft(NewKey{Hash: testHash, Fields: Fields{UserID: ptr("u"), OrgID: ptr("7"), Name: ptr("n")}})
	for _, words := range []string{"--map-user-id-form", "--map-org-id", "--map-name"} {
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("nothing of %s in: %v", words, err)
		}
	}
}

func TestPartsOfASecondAreCutOff(t *testing.T) {
	t.Parallel()
	at := time.Date(1969, 12, 31, 23, 59, 58, 999_999_999, time.UTC)
	for form, want := range map[ExpiresForm]time.Time{
		ExpiresUnix: at.Truncate(time.Second), ExpiresUnixMilli: at.Truncate(time.Millisecond), ExpiresDate: at.Truncate(time.Millisecond),
	} {
		s := in(func(s *Schema) { s.ExpiresForm = form })
		d, err := s.Draft(NewKey{Hash: testHash, Fields: Fields{UserID: ptr("u"), ExpiresAt: &at}})
		if err != nil || !d.Details.Record.ExpiresAt.Equal(want) {
			t.Errorf("%s: %v, %v", form, d.Details.Record.ExpiresAt, err)
		}
	}
}

// TestASuccessorCopiesItsPredecessor, including fields that no mapping knows.
func TestASuccessorCopiesItsPredecessor(t *testing.T) {
	t.Parallel()
	hash := apikey.HashOf("kt_another key")
	for _, s := range combinations() {
		d, err := s.Draft(NewKey{Hash: testHash, KeyPrefix: "kt_old", CreatedAt: made, Fields: full("u")})
		if err != nil {
			t.Fatal(err)
		}
		var document bson.D
		if err := bson.Unmarshal(d.Details.raw, &document); err != nil {
			t.Fatal(err)
		}
		raw, err := bson.Marshal(append(document, bson.D{
			{Key: "last_used", Value: made},
			{Key: "usage_count", Value: 9},
			{Key: "team", Value: bson.A{"x"}},
			{Key: "", Value: "nameless"},
			{Key: "rotated_from", Value: 1},
		}...))
		if err != nil {
			t.Fatal(err)
		}
		old := s.Details(raw)
		if old.UsageCount != 9 || !old.LastUsed.Equal(made) || old.RotatedFrom != "1" {
			t.Errorf("shown: %+v", old)
		}
		next, err := s.DraftSuccessor(old, hash, "kt_new", made.Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		got := next.Details
		want := fullRecord(got.Record.KeyID, "u", true)
		if diff := cmp.Diff(want, got.Record, compareRecords); diff != "" {
			t.Errorf("%+v: %s", s, diff)
		}
		if got.ID == old.ID || got.RotatedFrom != old.Record.KeyID || got.KeyPrefix != "kt_new" || !got.CreatedAt.Equal(made.Add(time.Hour)) || got.UsageCount != -1 || !got.LastUsed.IsZero() {
			t.Errorf("%+v", got)
		}
		if h, ok := s.HashValue(got.raw.Lookup(s.Hash)); !ok || h != hash {
			t.Errorf("the hash is %v", got.raw.Lookup(s.Hash))
		}
		if got.raw.Lookup("team", "0").StringValue() != "x" || got.raw.Lookup("").StringValue() != "nameless" || !got.raw.Lookup("rotated_from").Equal(old.raw.Lookup("_id")) {
			t.Errorf("%v", got.raw)
		}
	}
}

// TestTheDigestIdentifiesTheContent and does not depend on how often a key was
// used.
func TestTheDigestIdentifiesTheContent(t *testing.T) {
	t.Parallel()
	s := DefaultSchema()
	was := s.Details(document(t)).Digest
	for _, field := range []string{"name", "unmapped", "created_at", "is_active", "key_hash", "rotated_from", ""} {
		if s.Details(document(t, bson.E{Key: field, Value: "x"})).Digest == was {
			t.Errorf("a change of %q does not show", field)
		}
	}
	for _, field := range []string{"last_used", "usage_count"} {
		if s.Details(document(t, bson.E{Key: field, Value: 7})).Digest != was {
			t.Errorf("a change of %s shows", field)
		}
		s := in(func(s *Schema) { s.LastUsed, s.UsageCount = "", "" })
		if s.Details(document(t, bson.E{Key: field, Value: 7})).Digest == was {
			t.Errorf("a change of %s, which is none of ours, does not show", field)
		}
	}
	broken := bson.Raw("no BSON")
	if a, b := s.Details(broken), s.Details(bson.Raw("another")); a.Digest == b.Digest || a.Record.Defect == "" {
		t.Errorf("%+v, %+v", a, b)
	}
}

func TestDetailsKeepsNothingOfTheDocument(t *testing.T) {
	t.Parallel()
	raw := document(t, bson.E{Key: "key_prefix", Value: "kt_abc"}, bson.E{Key: "rotated_from", Value: "older"})
	shown := DefaultSchema().Details(raw)
	want := DefaultSchema().Details(slices.Clone(raw))
	for i := range raw {
		raw[i] = 0xff
	}
	if !reflect.DeepEqual(shown, want) {
		t.Errorf("got %+v, want %+v", shown, want)
	}
}

func TestTheMappingLeavesKeytailsOwnFieldAlone(t *testing.T) {
	t.Parallel()
	s := in(func(s *Schema) { s.Name, s.OrgIDForm = "rotated_from", "hex" })
	err := s.Validate()
	for _, words := range []string{"is rotated_from, which keytail writes itself", "(--map-name)", "--map-org-id-form must be one of string, objectid, uuid, integer"} {
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("nothing of %s in: %v", words, err)
		}
	}
}

// FuzzMetadata: accepted metadata is read back as JSON with the same meaning,
// and writing that again changes nothing.
func FuzzMetadata(f *testing.F) {
	for _, text := range []string{`{}`, `{"a":{"$date":"2026-01-02T03:04:05Z"}}`, `{"a":[1,1e400,-0,12345678901234567890]}`, `{"a":{"$binary":"x"}}`, `{"$numberLong":"1"}`, `{"a":{"$ref":"b","$id":1}}`} {
		f.Add(text)
	}
	s := DefaultSchema()
	f.Fuzz(func(t *testing.T, text string) {
		// Invalid UTF-8, and half of a surrogate pair, are rejected earlier.
		if !json.Valid([]byte(text)) || !strings.HasPrefix(text, "{") || strings.ContainsRune(text, utf8.RuneError) || strings.Contains(strings.ToLower(text), `\ud`) || strings.Contains(strings.ToLower(text), `\ufffd`) {
			t.Skip()
		}
		d, err := s.Draft(NewKey{Hash: testHash, Fields: Fields{UserID: ptr("u"), Metadata: ptr(json.RawMessage(text))}})
		if err != nil {
			if !errors.Is(err, ErrCannotStore) {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		read := d.Details.Record.Metadata
		again, err := s.Edit(d.Details, Fields{Metadata: &read}, made)
		if err != nil || string(again.After.Record.Metadata) != string(read) {
			t.Errorf("%q is read as %q, and that as %q: %v", text, read, again.After.Record.Metadata, err)
		}
	})
}
