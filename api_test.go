package keytail

import (
	"reflect"
	"testing"

	"github.com/keytail/keytail/internal/apitest"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/preload"
	"github.com/keytail/keytail/internal/service"
)

func TestNoInternalTypeInThePublicAPI(t *testing.T) { apitest.NoInternalTypes(t, ".") }

// TestDefaultMappingIsThatOfTheCore, field by field, and the zero Mapping is the
// same.
func TestDefaultMappingIsThatOfTheCore(t *testing.T) {
	want := keystore.DefaultSchema()
	for name, mapping := range map[string]Mapping{"DefaultMapping": DefaultMapping(), "zero": {}} {
		if got := mapping.schema(want.Collection, nil); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}

// TestEveryFieldOfAMappingReachesTheCore: none is forgotten in the conversion.
func TestEveryFieldOfAMappingReachesTheCore(t *testing.T) {
	var mapping Mapping
	fields := reflect.ValueOf(&mapping).Elem()
	for i := range fields.NumField() {
		fields.Field(i).SetString("value of " + fields.Type().Field(i).Name)
	}
	schema := reflect.ValueOf(mapping.schema("keys", []string{"read"}))
	for i := range schema.NumField() {
		name := schema.Type().Field(i).Name
		switch field := fields.FieldByName(name); {
		case name == "Collection" || name == "DefaultScopes":
			if schema.Field(i).IsZero() {
				t.Errorf("%s is not set", name)
			}
		case !field.IsValid():
			t.Errorf("Mapping has no field %s", name)
		case schema.Field(i).String() != field.String():
			t.Errorf("%s is %q in the core, want %q", name, schema.Field(i), field)
		}
	}
}

// TestConstantsAreThoseOfTheCore: they are converted, not translated.
func TestConstantsAreThoseOfTheCore(t *testing.T) {
	for _, c := range []struct{ public, core string }{
		{string(StateConnecting), string(service.Connecting)},
		{string(StatePreloading), string(service.Preloading)},
		{string(StateLive), string(service.Live)},
		{string(StateStale), string(service.Stale)},
		{string(StateDown), string(service.Down)},
		{string(PreloadAuto), string(preload.Auto)},
		{string(PreloadOn), string(preload.On)},
		{string(PreloadOff), string(preload.Off)},
		{string(UsageWrite), string(service.UsageWrite)},
		{string(UsageOff), string(service.UsageOff)},
		{string(HashHex), string(keystore.HashHex)},
		{string(HashHexUpper), string(keystore.HashHexUpper)},
		{string(HashBase64), string(keystore.HashBase64)},
		{string(HashBase64Raw), string(keystore.HashBase64Raw)},
		{string(HashBase64URL), string(keystore.HashBase64URL)},
		{string(HashBase64URLRaw), string(keystore.HashBase64URLRaw)},
		{string(HashBinary), string(keystore.HashBinary)},
		{string(ActiveBoolean), string(keystore.ActiveBoolean)},
		{string(ActiveNegated), string(keystore.ActiveNegated)},
		{string(ActiveNoDate), string(keystore.ActiveNoDate)},
		{string(ActiveAlways), string(keystore.ActiveAlways)},
	} {
		if c.public != c.core {
			t.Errorf("the public constant is %q, that of the core %q", c.public, c.core)
		}
	}
}
