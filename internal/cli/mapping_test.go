package cli

import (
	"os"
	"path/filepath"
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
	// The secret is not in the schema, which may be printed.
	want := flags.NumField() - len([]string{"HashSecretFile"}) + len([]string{"Collection", "DefaultScopes"})
	if schema.NumField() != want {
		t.Errorf("the schema has %d fields, want %d", schema.NumField(), want)
	}
	for i := range schema.NumField() {
		name := schema.Type().Field(i).Name
		if name != "DefaultScopes" && schema.Field(i).String() != "value of "+name {
			t.Errorf("%s: got %q", name, schema.Field(i))
		}
	}
}

// writeSecret returns the path of a new file.
func writeSecret(t *testing.T, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // the umask does not apply
		t.Fatal(err)
	}
	return path
}
