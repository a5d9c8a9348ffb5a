package keystore

import (
	"strconv"
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
	if diff := cmp.Diff([]string{"last_used", "usage_count"}, DefaultSchema().Ignorable()); diff != "" {
		t.Error(diff)
	}
}

func TestSchemaFieldsCoversEveryName(t *testing.T) {
	t.Parallel()
	s := Schema{
		"collection", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14",
	}
	got := make(map[string]int)
	for _, f := range s.fields() {
		got[f.name]++
	}
	for i := range 14 {
		if name := strconv.Itoa(i + 1); got[name] != 1 {
			t.Errorf("field %s of the struct is listed %d times", name, got[name])
		}
	}
}

func TestSchemaMistakesAreNamed(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*Schema)
		want   string
	}{
		"empty field":        {func(s *Schema) { s.Scopes = "" }, "the field for the scopes has no name"},
		"empty collection":   {func(s *Schema) { s.Collection = "" }, "the collection has no name"},
		"two roles":          {func(s *Schema) { s.Name = "user_id" }, `the user id and the name are both called "user_id"`},
		"nested hash":        {func(s *Schema) { s.Hash = "key.hash" }, "updates of a nested field do not name it"},
		"hash is _id":        {func(s *Schema) { s.Hash = "_id" }, "the field for the hash is _id"},
		"user is _id":        {func(s *Schema) { s.UserID = "_id" }, "the field for the user id is _id"},
		"nested":             {func(s *Schema) { s.OrgID = "org.id" }, `the field for the org id is "org.id", a nested path`},
		"operator":           {func(s *Schema) { s.Name = "$name" }, "is an operator"},
		"zero byte":          {func(s *Schema) { s.Name = "a\x00b" }, "cannot store"},
		"bad UTF-8":          {func(s *Schema) { s.Name = "\xff" }, "cannot store"},
		"collection dollar":  {func(s *Schema) { s.Collection = "a$b" }, "no such names"},
		"system collection":  {func(s *Schema) { s.Collection = "system.keys" }, "the server's own"},
		"own collection":     {func(s *Schema) { s.Collection = "keytail_heartbeats" }, "keytail's own"},
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
	for _, want := range []string{"nested", "active switch has no name", "both called", "no MongoDB client", "database has no name"} {
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
	if s.Schema() != DefaultSchema() {
		t.Errorf("got %+v", s.Schema())
	}
}
