package cli

import (
	"reflect"
	"testing"

	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/keytail/keytail/internal/config"
	"github.com/keytail/keytail/internal/mongoclient"
	"github.com/keytail/keytail/internal/service"
)

// TestEverySettingReachesTheDaemon: none is forgotten in the conversion.
func TestEverySettingReachesTheDaemon(t *testing.T) {
	cfg := config.Config{
		Database: "app", Collection: "keys", EnsureSchema: true, StreamScope: "collection", StateDatabase: "state", MaxStale: 1,
		HeartbeatInterval: 2, ReadPreference: "nearest", UsageInterval: 7, CacheSize: 3, Preload: "on", AuditInterval: 4, ExpiryNotice: 6, KeyPrefix: "kt", RequireBinding: true, TrackUsage: true,
		KeySources: []string{"bearer"}, TrustedProxies: []string{"10.0.0.1"}, AuthHeaders: []string{"X-Auth-User-Id"}, Policies: map[string]config.Policy{"one": {OrgID: "acme"}},
		Map:            config.Mapping{HashSecretFile: writeSecret(t, "pepper\n", 0o600)},
		GRPCReflection: true, AuthCallerNetworks: []string{"10.0.0.2"}, TraceCallerNetworks: []string{"10.0.0.3"}, // and no ForwardAuth
		HideCredentials: true, CallerTokenFile: "callers", AdminTokenFile: "admins", AdminAuditReads: true,
		AdminTLS:    config.TLSFiles{ClientCAFile: "ca"},
		DecisionLog: "file", DecisionLogAccepts: 0.5, DecisionLogMask: []string{"user_id"},
	}
	got, err := daemonConfig(&cfg, database{&mongoclient.Settings{MaxReads: 5}, &mongo.Client{}}, "v1")
	if err != nil || string(got.HashSecret) != "pepper" {
		t.Fatalf("secret %q, %v", got.HashSecret, err)
	}
	// These have no flag, or newService sets them.
	elsewhere := map[string]bool{"RefreshQueue": true, "OutdatedShare": true, "InstanceName": true, "Logger": true, "LogLevel": true, "Registerer": true, "Registry": true, "TracerProvider": true, "Settings": true, "OpenPerToken": true, "AdminOpenPerToken": true, "Playground": true}
	for _, part := range []reflect.Value{reflect.ValueOf(got), reflect.ValueOf(got.Config)} {
		for i := range part.NumField() {
			if name := part.Type().Field(i).Name; part.Field(i).IsZero() != elsewhere[name] {
				t.Errorf("%s is %v", name, part.Field(i))
			}
		}
	}
	if got.Policies["one"].OrgID != "acme" {
		t.Errorf("the policies are %v", got.Policies)
	}
	if got.DecisionLog.Path != "file" || got.DecisionLog.AcceptRatio != 0.5 || len(got.DecisionLog.Mask) != 1 {
		t.Errorf("the decision log is %+v", got.DecisionLog)
	}
	cfg.TrackUsage = false
	if got, err = daemonConfig(&cfg, database{&mongoclient.Settings{}, nil}, "v1"); err != nil || got.Usage != service.UsageOff {
		t.Errorf("usage is %q although it is switched off: %v", got.Usage, err)
	}
}
