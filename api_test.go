package keytail

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/apitest"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/fleet"
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

// TestEveryFieldOfAConfigReachesTheCore: none is forgotten in the conversion.
func TestEveryFieldOfAConfigReachesTheCore(t *testing.T) {
	config := Config{
		Client: &mongo.Client{}, Database: "app", Collection: "keys", DefaultScopes: []string{"read"}, StreamScope: StreamCollection,
		StateDatabase: "state", EnsureSchema: true, MaxStale: 1, HeartbeatInterval: 2, InstanceName: "one", MaxReads: 3, CacheSizeMiB: 4,
		Preload: PreloadOn, AuditInterval: 5, ExpiryNotice: 6, KeyPrefix: "kt", RequireBinding: true, HashSecret: []byte("pepper"), Usage: UsageOff, UsageInterval: 7, ReadPreference: readpref.Nearest(), Registerer: prometheus.NewRegistry(), Version: "v1",
		TracerProvider: noop.NewTracerProvider(),
	}
	core := config.internal()
	if core.Schema.Collection != config.Collection || !slices.Equal(core.Schema.DefaultScopes, config.DefaultScopes) {
		t.Errorf("the schema has the collection %q and the default scopes %q", core.Schema.Collection, core.Schema.DefaultScopes)
	}
	given, got := reflect.ValueOf(config), reflect.ValueOf(core)
	for i := range got.NumField() {
		name := got.Type().Field(i).Name
		switch {
		case name == "Schema" || name == "Logger" || name == "Registerer": // New converts them
		case name == "RefreshQueue" || name == "OutdatedShare": // for tests and benchmarks
		case name == "HashSecret": // it is not shown
			if string(core.HashSecret) != string(config.HashSecret) || config.HashSecret == nil {
				t.Errorf("%s is %q in the core", name, core.HashSecret)
			}
		case given.FieldByName(name).IsZero():
			t.Errorf("this test does not set Config.%s", name)
		case fmt.Sprint(got.Field(i)) != fmt.Sprint(given.FieldByName(name)):
			t.Errorf("%s is %v in the core, want %v", name, got.Field(i), given.FieldByName(name))
		}
	}
}

// TestErrorsOfSync: each error of the fleet is one that callers know, and keeps its
// cause.
func TestErrorsOfSync(t *testing.T) {
	other := errors.New("other")
	for cause, want := range map[error]error{
		clustertime.ErrRevisionAhead: auth.ErrRevisionAhead, fleet.ErrUnavailable: auth.ErrUnavailable, fleet.ErrBusy: ErrTooManyWaits,
		context.Canceled: context.Canceled, other: other,
	} {
		if err := syncErr(fmt.Errorf("a test: %w", cause)); !errors.Is(err, want) || !errors.Is(err, cause) {
			t.Errorf("%v becomes %v, want %v", cause, err, want)
		}
	}
	if err := syncErr(nil); err != nil {
		t.Errorf("no error becomes %v", err)
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
