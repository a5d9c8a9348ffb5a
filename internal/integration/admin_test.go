package integration

import (
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/keyadmin"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/mongotest"
)

// lifeShapes returns collections in which a key can be created, changed, rotated and
// revoked.
func lifeShapes() map[string]shape {
	different := shapes()["hex-upper"]
	different.mapping = keystore.Schema{
		Hash: "keyHash", HashAlgorithm: "hmac-sha256", HashEncoding: "base64", HashAfter: "sk_live_", Active: "disabled", ActiveForm: "negated", UserID: "owner", OrgID: "orgId", ProjectID: "projectId",
		Name: "label", Scopes: "scope", ScopesForm: "text", AllowedIPs: "ips", ExpiresAt: "expires", ExpiresForm: "unix",
		Metadata: "meta", KeyPrefix: "shown", CreatedAt: "created", LastUsed: "lastUsedAt", UsageCount: "hits", UserIDForm: "objectid", OrgIDForm: "objectid", ProjectIDForm: "objectid",
	}
	dates := different
	dates.mapping.HashEncoding, dates.mapping.ActiveForm, dates.mapping.Active = "binary", "no-date", "revokedAt"
	dates.mapping.ExpiresForm, dates.mapping.ScopesForm, dates.mapping.HashAfter = "unix-ms", "array", "kt_"
	return map[string]shape{"default": {keystore.Schema{}, nil, stringID}, "different": different, "dates": dates}
}

// TestLifeOfAKey creates, changes, rotates and revokes a key over HTTP, in collections of
// different shapes. The validator has the new state immediately after each write.
func TestLifeOfAKey(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		for name, shape := range lifeShapes() {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				testLifeOfAKey(t, startAdmin(t, s, shape), shape)
			})
		}
	})
}

func testLifeOfAKey(t *testing.T, o *adminFixture, s shape) {
	_, user := s.id(1)
	_, org := s.id(2)
	made := o.mustCall(http.StatusCreated, "POST", "/v1/keys", fmt.Sprintf(
		`{"user_id":%q,"org_id":%q,"name":"first","scopes":["read","write:*"],"expires_at":"2090-01-02T03:04:05Z","allowed_ips":["192.0.2.0/24"],"metadata":{"plan":"pro"}}`, user, org))
	id, text := made.str("id"), made.str("key")
	if made.header.Get("Location") != "/v1/keys/"+id || !strings.HasPrefix(text, s.mapping.HashAfter) || !strings.HasPrefix(text, made.str("key_prefix")) || made.str("key_prefix") == text {
		t.Fatalf("create: got %s, %v", made.text, made.header)
	}
	inside := apikey.Request{OrgID: org, Scopes: []string{"write:x"}, IP: addr("192.0.2.7")}
	record := o.mustHaveVerdict(text, made, apikey.Valid, inside)
	if record.UserID != user || record.Name != "first" || string(record.Metadata) != `{"plan":"pro"}` {
		t.Errorf("record of the validator: got %+v", record)
	}
	o.mustHaveVerdict(text, made, apikey.Valid, apikey.Request{IP: addr("192.0.2.7")})
	o.mustHaveVerdict(text, made, apikey.Forbidden, apikey.Request{RequireOrg: true, IP: addr("192.0.2.7")})

	path := "/v1/keys/" + id
	got := o.mustCall(http.StatusOK, "GET", path, "")
	for field, value := range got.body {
		if !reflect.DeepEqual(made.body[field], value) {
			t.Errorf("%s: got %v, want %v as created", field, value, made.body[field])
		}
	}
	if got.header.Get("ETag") != made.header.Get("ETag") || got.body["key"] != nil || got.body["defect"] != nil {
		t.Errorf("get: got %s, %v", got.text, got.header)
	}

	renamed := o.mustCall(http.StatusOK, "PATCH", path, `{"name":"second","allowed_ips":null}`, "If-Match", got.header.Get("ETag"))
	inside.IP = addr("")
	if record := o.mustHaveVerdict(text, renamed, apikey.Valid, inside); record.Name != "second" {
		t.Errorf("record of the validator: got %+v", record)
	}
	o.mustCall(http.StatusPreconditionFailed, "PATCH", path, `{"name":"third"}`, "If-Match", got.header.Get("ETag"))
	down := o.mustCall(http.StatusOK, "PATCH", path, `{"scopes":["read"]}`, "If-Match", renamed.header.Get("ETag"))
	o.mustHaveVerdict(text, down, apikey.InsufficientPermissions, inside)
	inside.Scopes = []string{"read"}
	o.mustHaveVerdict(text, down, apikey.Valid, inside)

	rotated := o.mustCall(http.StatusCreated, "POST", path+"/rotate", `{"overlap_seconds":2}`)
	next, nextText := "/v1/keys/"+rotated.str("id"), rotated.str("key")
	if rotated.str("rotated_from") != id || rotated.str("name") != "second" || nextText == text || rotated.header.Get("Location") != next {
		t.Errorf("rotate: got %s", rotated.text)
	}
	end, err := time.Parse(time.RFC3339, rotated.str("previous_expires_at"))
	if err != nil || time.Until(end) > 2*time.Second {
		t.Errorf("previous_expires_at: got %q", rotated.str("previous_expires_at"))
	}
	if time.Until(end) > 500*time.Millisecond { // otherwise the machine is too slow to see both states
		o.mustHaveVerdict(text, rotated, apikey.Valid, inside)
	}
	o.mustHaveVerdict(nextText, rotated, apikey.Valid, inside)
	mongotest.Eventually(t, testkit.WaitTimeout, func() bool { return time.Now().After(end) }, "the overlap did not end")
	o.mustHaveVerdict(text, rotated, apikey.Expired, inside)
	o.mustHaveVerdict(nextText, rotated, apikey.Valid, inside)
	o.mustCall(http.StatusConflict, "POST", path+"/rotate", `{"overlap_seconds":2}`)

	revoked := o.mustCall(http.StatusOK, "POST", next+"/revoke?wait=fleet&timeout=10s", "")
	if revoked.body["synced"] != true || revoked.body["is_active"] != false {
		t.Errorf("revoked: %s", revoked.text)
	}
	if v := o.Validate(t.Context(), nextText, &inside); v.Code != apikey.Disabled {
		t.Errorf("after the acknowledgement of the fleet: got %v", v.Code)
	}
	again := o.mustCall(http.StatusOK, "POST", next+"/revoke", "")
	if again.header.Get("ETag") != revoked.header.Get("ETag") {
		t.Errorf("revoked again: %s", again.text)
	}
	o.mustHaveVerdict(nextText, again, apikey.Disabled, inside)
	byText := o.mustCall(http.StatusOK, "POST", "/v1/keys/revoke-leaked", fmt.Sprintf(`{"key":%q}`, nextText))
	if byText.body["revoked"] != 0.0 || !strings.Contains(byText.text, `"id":"`+rotated.str("id")+`"`) {
		t.Errorf("revoked again, by its text: %s", byText.text)
	}
	o.mustList(user, []string{id}, "&org_id="+org)
	o.mustList(user, nil, "&org_id="+user)

	o.mustList(user, []string{id}, "")
	o.mustList(user, []string{rotated.str("id"), id}, "&include_inactive=true")
	_, stranger := s.id(9)
	o.mustList(stranger, nil, "&include_inactive=true")
	o.mustCall(http.StatusNotFound, "GET", path+"?user_id="+stranger, "")
	o.mustCall(http.StatusNotFound, "DELETE", path+"?user_id="+stranger, "")

	gone := o.mustCall(http.StatusOK, "DELETE", path+"?user_id="+user, "")
	o.mustHaveVerdict(text, gone, apikey.NotFound, inside)
	o.mustCall(http.StatusNotFound, "GET", path, "")
	o.mustCall(http.StatusNotFound, "POST", path+"/revoke", "")

	o.mustAudit("/v1/audit", "delete", "revoke", "rotate", "update", "update", "create")
	o.mustAudit("/v1/audit?key_id="+id, "delete", "rotate", "update", "update", "create")
	o.mustAudit("/v1/audit?key_id="+rotated.str("id"), "revoke", "rotate")
	o.mustAudit("/v1/audit?user_id=" + stranger)
	o.mustStoreNoSecret(text, nextText)
}

// TestUnmappedFieldsCannotBeWritten: the error names the flag that maps the field.
func TestUnmappedFieldsCannotBeWritten(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		bare := shape{keystore.Schema{Hash: "digest", UserID: "owner", ActiveForm: "always", UserIDForm: "integer"}, []string{"read"}, int64ID}
		o := startAdmin(t, s, bare)
		made := o.mustCall(http.StatusCreated, "POST", "/v1/keys", `{"user_id":"42"}`)
		o.mustHaveVerdict(made.str("key"), made, apikey.Valid, apikey.Request{Scopes: []string{"read"}})
		path := "/v1/keys/" + made.str("id")
		for call, words := range map[[3]string]string{
			{"POST", "/v1/keys", `{"user_id":"ann"}`}:                      "--map-user-id-form integer",
			{"POST", "/v1/keys", `{"user_id":"42","name":"a"}`}:            "--map-name",
			{"PATCH", path, `{"scopes":[]}`}:                               "--map-scopes",
			{"PATCH", path, `{"expires_at":"2090-01-01T00:00:00Z"}`}:       "--map-expires-at",
			{"POST", path + "/revoke", ``}:                                 "--map-active-form always",
			{"POST", path + "/rotate", `{"overlap_seconds":1}`}:            "--map-expires-at",
			{"POST", "/v1/keys", `{"user_id":"42","metadata":{"$a":"b"}}`}: "may begin with $",
		} {
			got := o.mustCall(http.StatusUnprocessableEntity, call[0], call[1], call[2])
			if got.str("code") != "COLLECTION_CANNOT_HOLD" || !strings.Contains(got.str("detail"), words) {
				t.Errorf("%v: %s", call, got.text)
			}
		}
		o.mustAudit("/v1/audit", "create")
		o.mustCall(http.StatusOK, "DELETE", path, "")
	})
}

// TestIDsInAPath: an id in a path is used unchanged.
func TestIDsInAPath(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		o := startAdmin(t, s, shape{keystore.Schema{}, nil, stringID})
		for id, escaped := range map[any]string{
			"a+b": "a+b", "a b": "a%20b", "a/b": "a%2Fb", "ü": "%C3%BC", "%41": "%2541", "..": "%2E%2E", int64(7): "7", "x/revoke": "x%2Frevoke",
		} {
			k := key{text: fmt.Sprint("kt_text of ", id)}
			if _, err := o.keys.InsertOne(t.Context(), append(bson.D{{Key: "_id", Value: id}}, k.document()[1:]...)); err != nil {
				t.Fatal(err)
			}
			if got := o.mustCall(http.StatusOK, "GET", "/v1/keys/"+escaped, ""); got.str("id") != fmt.Sprint(id) {
				t.Errorf("%q: %s", escaped, got.text)
			}
		}
		other := bson.D{{Key: "_id", Value: "7"}, {Key: "key_hash", Value: apikey.HashOf("kt_other").Hex()}, {Key: "user_id", Value: "other"}, {Key: "is_active", Value: true}}
		if _, err := o.keys.InsertOne(t.Context(), other); err != nil {
			t.Fatal(err)
		}
		if got := o.mustCall(http.StatusBadRequest, "POST", "/v1/keys/7/revoke", ""); got.str("code") != "AMBIGUOUS_ID" {
			t.Errorf("got %s, want AMBIGUOUS_ID", got.text)
		}
		o.mustCall(http.StatusOK, "POST", "/v1/keys/7/revoke?user_id=user-1", "")
		made := o.mustCall(http.StatusNotFound, "GET", "/v1/keys/unknown", "")
		if made.str("code") != "NO_SUCH_KEY" {
			t.Errorf("got %s, want NO_SUCH_KEY", made.text)
		}
	})
}

// TestAWaitThatTimesOutIsASuccess, so that a caller does not rotate twice.
func TestAWaitThatTimesOutIsASuccess(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		o := startAdmin(t, s, shape{keystore.Schema{}, nil, stringID})
		made := o.mustCall(http.StatusCreated, "POST", "/v1/keys?wait=instance&timeout=10s", `{"user_id":"u"}`)
		if made.body["synced"] != true || len(made.body["missing"].([]any)) != 0 { //nolint:forcetypeassert // a panic fails the test, too
			t.Errorf("got %s, want synced", made.text)
		}
		// The fleet waits for an instance without new heartbeats until it removes it.
		_, err := o.db.Collection("keytail_heartbeats").InsertOne(t.Context(), bson.D{
			{Key: "_id", Value: "silent/1"},
			{Key: "ns", Value: o.db.Name() + "." + o.keys.Name()},
			{Key: "at", Value: time.Now()},
			{Key: "max_stale_ms", Value: time.Hour.Milliseconds()},
		})
		if err != nil {
			t.Fatal(err)
		}
		late := o.mustCall(http.StatusCreated, "POST", "/v1/keys/"+made.str("id")+"/rotate?wait=fleet&timeout=200ms", `{"overlap_seconds":60}`)
		if late.body["synced"] != false || late.str("key") == "" || !strings.Contains(late.text, `"silent/1"`) {
			t.Errorf("got %s, want a key that is not synced", late.text)
		}
	})
}

// TestARotationDoesNotExtendTheExpiry: a rotation gives no key a longer life.
func TestARotationDoesNotExtendTheExpiry(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		o := startAdmin(t, s, shape{keystore.Schema{}, nil, stringID})
		soon := time.Now().Add(time.Minute).UTC().Truncate(time.Millisecond)
		made := o.mustCall(http.StatusCreated, "POST", "/v1/keys", fmt.Sprintf(`{"user_id":"u","expires_at":%q}`, soon.Format(time.RFC3339Nano)))
		for _, overlap := range []int{3600, 30} {
			want := soon
			if overlap == 30 {
				want = soon.Add(-30 * time.Second)
			}
			rotated := o.mustCall(http.StatusCreated, "POST", "/v1/keys/"+made.str("id")+"/rotate", fmt.Sprintf(`{"overlap_seconds":%d}`, overlap))
			end, err := time.Parse(time.RFC3339, rotated.str("previous_expires_at"))
			if err != nil || end.Before(want.Add(-time.Second)) || end.After(soon) || overlap == 3600 && end.After(want) {
				t.Errorf("overlap of %d s: got %s, want %v", overlap, rotated.text, want)
			}
			if got, err := time.Parse(time.RFC3339, rotated.str("expires_at")); err != nil || got.After(soon) {
				t.Errorf("expires_at of the new key: got %v, %v", got, err)
			}
		}
	})
}

// TestARevocationReachesTheFleet of three: once the API reports "revoked on 3 of 3
// instances", each of them rejects the key.
func TestARevocationReachesTheFleet(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		r := startFleet(t, s, withShortMaxStale, withAdmin(t))
		o := &adminFixture{r.fixture, r.db.Collection(keyadmin.CollectionName)}
		made := o.mustCall(http.StatusCreated, "POST", "/v1/keys", `{"user_id":"u","scopes":["read"]}`)
		everywhere := func(after reply, want apikey.Code, request apikey.Request) {
			t.Helper()
			for i, service := range r.all {
				if v := service.Validate(t.Context(), made.str("key"), &request); v.Code != want || v.Revision < after.revision(t) {
					t.Errorf("instance %d: got %v at revision %x, want %v", i, v.Code, v.Revision, want)
				}
			}
		}
		everywhere(made, apikey.Valid, apikey.Request{MinRevision: made.revision(t)})
		began := time.Now()
		revoked := o.mustCall(http.StatusOK, "POST", "/v1/keys/"+made.str("id")+"/revoke?wait=fleet&timeout=20s", "")
		instances, _ := revoked.body["instances"].([]any)
		if revoked.body["synced"] != true || len(instances) != 3 {
			t.Fatalf("got %s, want synced on 3 instances", revoked.text)
		}
		t.Logf("revoked on %d of %d instances in %v", len(instances), len(r.all), time.Since(began).Round(time.Millisecond))
		everywhere(revoked, apikey.Disabled, apikey.Request{})
	})
}
