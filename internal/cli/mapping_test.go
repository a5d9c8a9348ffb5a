package cli

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keytail/keytail/internal/config"
	"github.com/keytail/keytail/internal/keystore"
)

// TestDefaultsOfMappingFlags: the flags' defaults are the default schema. An empty form
// means its first value.
func TestDefaultsOfMappingFlags(t *testing.T) {
	cfg := config.Config{Collection: "api_keys"}
	flags := reflect.ValueOf(&cfg.Map).Elem()
	for i := range flags.NumField() {
		flags.Field(i).SetString(flags.Type().Field(i).Tag.Get("default"))
	}
	cfg.Complete(config.Given{})
	if diff := cmp.Diff(keystore.DefaultSchema(), schemaOf(&cfg)); diff != "" {
		t.Error(diff)
	}
}

// TestEveryMappingFlagReachesTheSchema: the conversion forgets none.
func TestEveryMappingFlagReachesTheSchema(t *testing.T) {
	cfg := config.Config{Collection: "value of Collection", DefaultScopes: []string{"read"}}
	flags := reflect.ValueOf(&cfg.Map).Elem()
	for i := range flags.NumField() {
		flags.Field(i).SetString("value of " + flags.Type().Field(i).Name)
	}
	schema := reflect.ValueOf(schemaOf(&cfg))
	for i := range schema.NumField() {
		name := schema.Type().Field(i).Name
		if name != "DefaultScopes" && schema.Field(i).String() != "value of "+name {
			t.Errorf("%s: got %q", name, schema.Field(i))
		}
	}
}
