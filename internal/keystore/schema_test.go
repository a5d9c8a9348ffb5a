package keystore

import (
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

func TestDefaultSchemaIsValid(t *testing.T) {
	t.Parallel()
	if err := DefaultSchema().Validate(); err != nil {
		t.Fatal(err)
	}
	want := []string{"_id", "key_hash", "is_active", "user_id", "org_id", "project_id", "name", "scopes", "allowed_ips", "expires_at", "metadata"}
	if diff := cmp.Diff(want, DefaultSchema().DecodedFields()); diff != "" {
		t.Error(diff)
	}
}

// TestSchemaFieldsCoversEveryName: each plain string of a Schema is the name of
// a field, with two exceptions.
func TestSchemaFieldsCoversEveryName(t *testing.T) {
	t.Parallel()
	var s Schema
	value := reflect.ValueOf(&s).Elem()
	want := map[string]int{}
	for i := range value.NumField() {
		name := value.Type().Field(i).Name
		if value.Field(i).Type() == reflect.TypeFor[string]() && name != "Collection" && name != "HashAfter" {
			value.Field(i).SetString(name)
			want[name] = 1
		}
	}
	got := map[string]int{}
	for _, f := range s.fields() {
		got[f.name]++
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSchemaMistakesAreNamed(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*Schema)
		want   string
	}{
		"empty field":        {func(s *Schema) { s.UserID = "" }, "the field for the user id has no name (--map-user-id)"},
		"empty hash":         {func(s *Schema) { s.Hash = "" }, "the field for the hash has no name (--map-hash)"},
		"empty switch":       {func(s *Schema) { s.Active, s.ActiveForm = "", ActiveNegated }, "the field for the active switch has no name (--map-active)"},
		"switch and always":  {func(s *Schema) { s.ActiveForm = ActiveAlways }, `the field for the active switch is "is_active", but --map-active-form always says`},
		"encoding":           {func(s *Schema) { s.HashEncoding = "HEX" }, `--map-hash-encoding must be one of hex, hex-upper, base64, base64-raw, base64url, base64url-raw, binary, not "HEX"`},
		"active form":        {func(s *Schema) { s.ActiveForm = "yes" }, `--map-active-form must be one of boolean, negated, no-date, always, not "yes"`},
		"scopes form":        {func(s *Schema) { s.ScopesForm = "csv" }, `--map-scopes-form must be one of array, text, not "csv"`},
		"expires form":       {func(s *Schema) { s.ExpiresForm = "unix-us" }, `--map-expires-form must be one of date, unix, unix-ms, not "unix-us"`},
		"hash algorithm":     {func(s *Schema) { s.HashAlgorithm = "md5" }, `--map-hash-algorithm must be one of sha256, hmac-sha256, not "md5"`},
		"user id form":       {func(s *Schema) { s.UserIDForm = "hex" }, `--map-user-id-form must be one of string, objectid, uuid, integer, not "hex"`},
		"org id form":        {func(s *Schema) { s.OrgIDForm = "hex" }, "--map-org-id-form must be one of"},
		"project id form":    {func(s *Schema) { s.ProjectIDForm = "hex" }, "--map-project-id-form must be one of"},
		"hash after":         {func(s *Schema) { s.HashAfter = "a b" }, "--map-hash-after: "},
		"hash after, long":   {func(s *Schema) { s.HashAfter = strings.Repeat("a", 505) }, "--map-hash-after: "},
		"default scopes":     {func(s *Schema) { s.DefaultScopes = []string{"ok", "a b"} }, "--default-scopes, scope 2: a scope has no white space"},
		"empty collection":   {func(s *Schema) { s.Collection = "" }, "the collection has no name"},
		"two roles":          {func(s *Schema) { s.Name = "user_id" }, `the user id and the name are both called "user_id"`},
		"nested hash":        {func(s *Schema) { s.Hash = "key.hash" }, "updates of a nested field do not name it"},
		"hash is _id":        {func(s *Schema) { s.Hash = "_id" }, "the field for the hash is _id"},
		"user is _id":        {func(s *Schema) { s.UserID = "_id" }, "the field for the user id is _id"},
		"nested":             {func(s *Schema) { s.OrgID = "org.id" }, `the field for the org id is "org.id", a nested path`},
		"operator":           {func(s *Schema) { s.Name = "$name" }, "is an operator"},
		"zero byte":          {func(s *Schema) { s.Name = "a\x00b" }, "cannot store"},
		"bad UTF-8":          {func(s *Schema) { s.Name = "\xff" }, "cannot store"},
		"collection dollar":  {func(s *Schema) { s.Collection = "a$b" }, "does not allow this name"},
		"system collection":  {func(s *Schema) { s.Collection = "system.keys" }, "reserved for the server"},
		"own collection":     {func(s *Schema) { s.Collection = "keytail_heartbeats" }, "reserved for keytail"},
		"collection end dot": {func(s *Schema) { s.Collection = "keys." }, "dot"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := DefaultSchema()
			test.change(&s)
			if err := s.Validate(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want words like %q", err, test.want)
			}
		})
	}
}

func TestConfigReportsAllMistakes(t *testing.T) {
	t.Parallel()
	schema := DefaultSchema()
	schema.Hash, schema.Active, schema.Name = "a.b", "", "user_id"
	_, err := New(Config{Schema: schema})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"nested", "active switch has no name", "both called", "MongoDB client is required", "database has no name"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("nothing about %q in: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), `both called ""`) {
		t.Errorf("names that are not there count as equal: %v", err)
	}
}

func TestZeroSchemaIsTheDefault(t *testing.T) {
	t.Parallel()
	s, err := New(Config{Client: &mongo.Client{}, Database: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(DefaultSchema(), s.Schema()); diff != "" {
		t.Error(diff)
	}
}
