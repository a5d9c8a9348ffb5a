package api_test

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/openapitest"
)

// point returns a pointer to v.
func point[T any](v T) *T { return &v }

var (
	at       = time.Date(2026, 11, 23, 19, 59, 0, 5e6, time.UTC)
	instance = api.Instance{ID: "a/1", Version: "1.0", Revision: point("6923a1c000000003"), StalenessMS: point(int64(12)), LastSeen: api.Timestamp{Time: at}}
	key      = api.Key{
		ID: "k1", KeyPrefix: point("kt_Ab"), UserID: "u", OrgID: point("o"), ProjectID: point("p"), Name: "n", Scopes: []string{"read"},
		AllowedIPs: []string{"10.0.0.0/8"}, ExpiresAt: &api.Time{Time: at}, Metadata: json.RawMessage(`{"a":1}`), IsActive: true,
		CreatedAt: &api.Time{Time: at}, LastUsed: &api.Time{Time: at}, UsageCount: point(int64(3)), RotatedFrom: point("k0"), Defect: point("d"),
	}
	readiness = api.Readiness{
		State: "live", StalenessMS: point(int64(1)), LagMS: point(int64(2)), LastLoss: &api.Loss{At: api.Timestamp{Time: at}, Reason: "r"},
		Note: "n", IndexMissing: "i", Usage: &api.Usage{PendingKeys: 1, BatchSize: 2, FailingMS: point(int64(3))},
		Scan: &api.Scan{KeysRead: 1, KeysExpected: point(int64(2)), KeysPerSecond: 3, LeftMS: point(int64(4))},
	}
	details = api.StatusDetails{
		Since: &api.Timestamp{Time: at}, OutageSince: &api.Timestamp{Time: at}, LastOutage: &api.Outage{EndedAt: api.Timestamp{Time: at}, TookMS: 2, DownMS: 1}, Effect: "e", MaxStaleMS: 1,
		Cause:            &api.StateCause{What: "w", FailingSince: &api.Timestamp{Time: at}, Error: "e", ReadError: "r", Advice: "a", Next: "n"},
		Members:          []api.Member{{Address: "a:1", Role: "primary", LastSeen: &api.Timestamp{Time: at}, Error: "e", FailedAt: &api.Timestamp{Time: at}}},
		StalenessHistory: []api.StalenessPoint{{At: api.Timestamp{Time: at}, StalenessMS: point(int64(1))}},
		Hour: &api.LastHour{
			FirstMinute: api.Timestamp{Time: at}, Verdicts: []api.VerdictCount{{Code: "VALID", Total: 1, PerMinute: []uint64{1}}},
			Delays: []api.DelayBucket{{UpToSeconds: point(.1), Count: 1}},
		},
		Losses:   []api.LossCount{{Reason: "r", Total: 1}},
		Defects:  &api.Defects{At: api.Timestamp{Time: at}, Read: 1, Disabled: 1, WithoutHash: 1, Reasons: []api.DefectCount{{Defect: "d", Count: 1}}, KeyIDs: []string{"k1"}},
		Memory:   &api.Memory{HeapBytes: 1, TotalBytes: 1, LimitBytes: 1, CacheBytes: 1, Goroutines: 1},
		Settings: []api.Setting{{Name: "n", Value: "v", Given: true}},
	}
	explanation = api.Explanation{
		KeyID: "k1", Instance: "a/1", Code: "FORBIDDEN", Reason: "ip", Source: "cache", AsOf: &api.Timestamp{Time: at}, StalenessMS: point(int64(4)),
		Revision: "6923a1c000000003", Database: api.StoredVerdict{Code: "DISABLED", Reason: "inactive", AsOf: &api.Timestamp{Time: at}},
	}
	synced = api.SyncResult{Instances: []api.Instance{instance}, Missing: []string{"a/1"}}
	entry  = api.AuditEntry{
		ID: "e", At: api.Timestamp{Time: at}, Actor: "ops", Action: "rotate", Cause: point("leaked"), KeyID: "k0", NewKeyID: point("k1"), UserID: "u", RequestID: "r",
		Before: json.RawMessage(`{}`), After: json.RawMessage(`{"name":"n"}`),
	}
	written = api.WrittenKey{Key: key, PreviousExpiresAt: &api.Time{Time: at}, Revision: point("6923a1c000000003"), SyncResult: &synced}
	created = api.WrittenKey{Key: key, Secret: "kt_secret", PreviousExpiresAt: &api.Time{Time: at}, Revision: point("6923a1c000000003"), SyncResult: &synced}
)

// examples have a value in every field, by the name of the schema. sparse have
// no more than the schema requires.
var (
	examples = map[string]any{
		"VerifyRequest": api.VerifyRequest{Key: "kt_x", Scopes: []string{"read"}, OrgID: "o", ProjectID: "p", IP: "192.0.2.1", MinRevision: "6923a1c000000003"},
		"Verdict": api.Verdict{
			Valid: true, Code: "VALID", Reason: "ip", KeyID: "k1", Source: "cache", AsOf: &api.Timestamp{Time: at}, StalenessMS: point(int64(4)), Revision: "6923a1c000000003",
			Identity: &api.Identity{UserID: "u", OrgID: point("o"), ProjectID: point("p"), Name: "n", Scopes: []string{"read"}, ExpiresAt: &api.Time{Time: at}, Metadata: json.RawMessage(`{}`)},
		},
		"Problem":        api.Problem{Type: "about:blank", Title: "t", Status: 503, Detail: "d", Code: string(api.CodeOutcomeUnknown), KeyID: "k1"},
		"Readiness":      readiness,
		"Loss":           *readiness.LastLoss,
		"Scan":           *readiness.Scan,
		"Usage":          *readiness.Usage,
		"Status":         api.Status{Instance: "a/1", Version: "1.0", Readiness: readiness, StatusDetails: details},
		"StatusDetails":  details,
		"Outage":         *details.LastOutage,
		"StateCause":     *details.Cause,
		"Member":         details.Members[0],
		"StalenessPoint": details.StalenessHistory[0],
		"LastHour":       *details.Hour,
		"VerdictCount":   details.Hour.Verdicts[0],
		"DelayBucket":    details.Hour.Delays[0],
		"LossCount":      details.Losses[0],
		"Defects":        *details.Defects,
		"DefectCount":    details.Defects.Reasons[0],
		"Memory":         *details.Memory,
		"Setting":        details.Settings[0],
		"LogLevel":       api.LogLevel{Level: "debug"},
		"Instance":       instance,
		"InstanceList":   api.InstanceList{Instances: []api.Instance{instance}},
		"SyncResult":     synced,
		"Key":            key,
		"Explanation":    explanation,
		"StoredVerdict":  explanation.Database,
		"KeyList":        api.KeyList{Keys: []api.Key{key}, NextCursor: point("c")},
		"RotateRequest":  api.RotateRequest{OverlapSeconds: 90},
		"WrittenKey":     written,
		"NewKey":         created,
		"AuditEntry":     entry,
		"FailedKey":      api.FailedKey{KeyID: "k1", Detail: "d"},
		"RevokedKeys": api.RevokedKeys{
			KeyIDs: []string{"k1"}, Failed: []api.FailedKey{{KeyID: "k1", Detail: "d"}}, DryRun: true, NextCursor: point("c"), Revision: point("6923a1c000000003"), SyncResult: &synced,
		},
		"RevokeKeysRequest":      api.RevokeKeysRequest{UserID: "u", OrgID: "o", ProjectID: "p", DryRun: true, Limit: 7, Cursor: "c"},
		"RevokeLeakedKeyRequest": api.RevokeLeakedKeyRequest{Key: "kt_leaked"},
		"RevokedLeakedKey":       api.RevokedLeakedKey{Keys: []api.Key{key}, Revoked: 1, Revision: point("6923a1c000000003"), SyncResult: &synced},
		"AuditList":              api.AuditList{Entries: []api.AuditEntry{entry}, NextCursor: point("c")},
		"Invalidation":           api.Invalidation{KeyID: "k1", Revision: "6923a1c000000003"},
		"ExpiryNotice":           api.ExpiryNotice{KeyID: "k1", ExpiresAt: api.Time{Time: at}},
		"LossEvent":              api.LossEvent{Reason: "drop"},
		"StateChange":            api.StateChange{From: "live", To: "stale"},
		"Resync":                 api.Resync{Reason: "start", State: "live"},
	}
	sparse = map[string]any{
		"VerifyRequest": api.VerifyRequest{Key: "kt_x"},
		"Verdict":       api.Verdict{Code: "NOT_FOUND"},
		"Problem":       api.NewProblem(404, string(api.CodeNoSuchKey), "d"),
		"Readiness":     api.Readiness{State: "connecting"},
		"Scan":          api.Scan{},
		"Usage":         api.Usage{},
		"Status":        api.Status{Readiness: api.Readiness{State: "down"}},
		"StateCause":    api.StateCause{What: "w"},
		"Member":        api.Member{Address: "a:1", Role: "unknown"},
		"LastHour":      api.LastHour{Verdicts: []api.VerdictCount{}, Delays: []api.DelayBucket{}},
		"Memory":        api.Memory{},
		"Instance":      api.Instance{ID: "a/1", LastSeen: api.Timestamp{Time: at}},
		"SyncResult":    api.SyncResult{Instances: []api.Instance{}, Missing: []string{}},
		"Key":           api.Key{Scopes: []string{}, AllowedIPs: []string{}, Metadata: json.RawMessage(`{}`)},
		"Explanation":   api.Explanation{Code: "UNAVAILABLE", Database: api.StoredVerdict{Code: "NOT_FOUND"}},
		"StoredVerdict": api.StoredVerdict{Code: "NOT_FOUND"},
		"KeyList":       api.KeyList{Keys: []api.Key{}},
		"WrittenKey":    api.WrittenKey{Key: api.Key{Scopes: []string{}, AllowedIPs: []string{}, Metadata: json.RawMessage(`{}`)}},
		"AuditEntry":    api.AuditEntry{Action: "create", At: api.Timestamp{Time: at}},
		"Resync":        api.Resync{Reason: "start"},

		"RevokedKeys":       api.RevokedKeys{KeyIDs: []string{}, Failed: []api.FailedKey{}},
		"RevokeKeysRequest": api.RevokeKeysRequest{UserID: "u"},
		"RevokedLeakedKey":  api.RevokedLeakedKey{Keys: []api.Key{}},
	}
)

// untyped are schemas without a type: the fields of these bodies may be absent, null
// or set, so the server reads them one by one and adminclient sends a map. Forms are not
// JSON, and only browsers send them.
var untyped = []string{
	"CreateKeyRequest", "UpdateKeyRequest",
	"SignInForm", "FindKeyForm", "NewKeyForm", "RotateKeyForm", "RevokeKeyForm", "PlaygroundForm",
}

// TestTypesAreTheSchemas compares the fields of each type with the properties of
// its schema, in both directions, and validates examples.
func TestTypesAreTheSchemas(t *testing.T) {
	d := openapitest.Load(t)
	for name, example := range examples {
		schema := d.Schema(t, name)
		properties := openapitest.Properties(schema)
		fields := jsonFields(reflect.TypeOf(example))
		if name == "WrittenKey" {
			delete(fields, "key") // NewKey has it: the same type
		}
		if got, want := slices.Sorted(maps.Keys(fields)), slices.Sorted(maps.Keys(properties)); !slices.Equal(got, want) {
			t.Errorf("%s: the type has %v, the schema has %v", name, got, want)
		}
		for field, required := range properties {
			if name != "NewKey" && fields[field] != required {
				t.Errorf("%s.%s: always written is %v in the type, required is %v in the schema", name, field, fields[field], required)
			}
		}
		for _, value := range []any{example, sparse[name]} {
			if value == nil {
				continue
			}
			text, err := json.Marshal(value)
			if err != nil {
				t.Fatal(err)
			}
			for _, problem := range d.Body(schema, text) {
				t.Errorf("%s: %s\n%s", name, problem, text)
			}
		}
	}
	for _, name := range d.Schemas(t) {
		if examples[name] == nil && !slices.Contains(untyped, name) {
			t.Errorf("package api has no type for the schema %s", name)
		}
	}
}

// jsonFields maps the JSON fields of a struct to whether they are always
// written. Those of an embedded pointer are not.
func jsonFields(t reflect.Type) map[string]bool {
	fields := map[string]bool{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, option, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.Anonymous {
			fields[name] = option == ""
			continue
		}
		embedded, always := f.Type, true
		if embedded.Kind() == reflect.Pointer {
			embedded, always = embedded.Elem(), false
		}
		for name, written := range jsonFields(embedded) {
			fields[name] = written && always
		}
	}
	return fields
}

// TestBodiesAreReadAsWritten: a client decodes what the server encodes.
func TestBodiesAreReadAsWritten(t *testing.T) {
	for name, example := range examples {
		text, err := json.Marshal(example)
		if err != nil {
			t.Fatal(err)
		}
		into := reflect.New(reflect.TypeOf(example))
		if err := json.Unmarshal(text, into.Interface()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if again, _ := json.Marshal(into.Interface()); string(again) != string(text) {
			t.Errorf("%s: read as\n%s, written as\n%s", name, again, text)
		}
	}
}
