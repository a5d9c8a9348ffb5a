package integration

import (
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/doctor"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/mongotest"
)

// TestAKeyIsFoundOnlyUnderItsPepper: in a collection of HMAC-SHA256 hashes, keytail with
// another secret finds none of the keys, keytail without the algorithm neither, and a
// document with a plain SHA-256 is none.
func TestAKeyIsFoundOnlyUnderItsPepper(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, server *mongotest.Server) {
		for _, encoding := range []keystore.HashEncoding{"hex", "base64"} {
			m := keystore.DefaultSchema()
			m.HashAlgorithm, m.HashEncoding = apikey.HMACSHA256, encoding
			s := shape{m, nil, stringID}
			right, keys := startShaped(t, server, s, 1)
			plain := key{id: "plain", text: "kt_a-key-with-a-plain-hash"}
			unkeyed := s
			unkeyed.mapping.HashAlgorithm = apikey.SHA256
			if _, err := right.keys.InsertOne(t.Context(), unkeyed.document(plain)); err != nil {
				t.Fatal(err)
			}
			right.waitForCode(keys[0], apikey.Valid, "read")
			for name, change := range map[string]func(*daemon.Config){
				"another pepper":   func(c *daemon.Config) { c.HashSecret = []byte("the pepper of another team") },
				"a newline more":   func(c *daemon.Config) { c.HashSecret = append(s.secret(), '\n') },
				"no pepper at all": func(c *daemon.Config) { c.Schema.HashAlgorithm, c.HashSecret = apikey.SHA256, nil },
			} {
				other := right.another(zaptest.NewLogger(t), func(c *daemon.Config) { s.configure(&c.Config, right.keys.Name()); change(c) })
				if v := other.validate(keys[0], "read"); v.Code != apikey.NotFound {
					t.Errorf("%s, %s: got %v", encoding, name, v.Code)
				}
				want := apikey.NotFound
				if name == "no pepper at all" {
					want = apikey.Valid
				}
				if v := other.validate(plain, "read"); v.Code != want {
					t.Errorf("%s, %s: a key with a plain hash: got %v, want %v", encoding, name, v.Code, want)
				}
			}
			if v := right.validate(plain, "read"); v.Code != apikey.NotFound {
				t.Errorf("%s: a key with a plain hash: got %v", encoding, v.Code)
			}
		}
	})
}

// another runs one more daemon on the same collection.
func (r *fixture) another(logger *zap.Logger, change ...func(*daemon.Config)) *fixture {
	r.t.Helper()
	other := &fixture{t: r.t, server: r.server, registry: prometheus.NewRegistry(), appName: r.appName, db: r.db, keys: r.keys}
	other.Daemon = other.run(other.registry, logger, change...)
	return other
}

// TestIDsOfSeveralKinds: users are strings, organisations ObjectIds, projects numbers, as
// in the collection that the issue describes.
func TestIDsOfSeveralKinds(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		m := keystore.DefaultSchema()
		m.OrgIDForm, m.ProjectIDForm = keystore.IDObjectID, keystore.IDInteger
		o := startAdmin(t, s, shape{m, nil, stringID})
		org := bson.ObjectID{11: 7}
		made := o.mustCall(http.StatusCreated, "POST", "/v1/keys", `{"user_id":"ann","org_id":"`+org.Hex()+`","project_id":"7"}`)
		o.mustHaveVerdict(made.str("key"), made, apikey.Valid, apikey.Request{OrgID: org.Hex(), ProjectID: "7"})
		var stored bson.M
		if err := o.keys.FindOne(t.Context(), bson.D{}).Decode(&stored); err != nil {
			t.Fatal(err)
		}
		if stored["user_id"] != "ann" || stored["org_id"] != org || stored["project_id"] != int64(7) {
			t.Errorf("stored %v", stored)
		}
		for body, detail := range map[string]string{
			`{"user_id":"ann","org_id":"acme"}`:     `org_id: the mapping says that ids in org_id are ObjectIds (--map-org-id-form objectid), so \"acme\" cannot be written there: send 24 lower-case hex digits`,
			`{"user_id":"ann","project_id":"acme"}`: `project_id: the mapping says that ids in project_id are integers (--map-project-id-form integer)`,
		} {
			got := o.mustCall(http.StatusUnprocessableEntity, "POST", "/v1/keys", body)
			if got.str("code") != "COLLECTION_CANNOT_HOLD" || !strings.Contains(got.text, detail) {
				t.Errorf("%s: %s", body, got.text)
			}
		}
	})
}

// TestAnotherTypeThanTheCollectionsIsNotWritten by the admin API, in a collection whose
// organisations are ObjectIds, although nothing says so, and whose expiries are mixed.
func TestAnotherTypeThanTheCollectionsIsNotWritten(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		sh := shape{keystore.DefaultSchema(), nil, stringID}
		empty := startAdmin(t, s, sh)
		fits := append(sh.document(key{id: "fits", text: "kt_a-key-that-fits"}), bson.E{Key: "expires_at", Value: bson.DateTime(4e12)})
		theirs := append(sh.document(key{id: "theirs", text: "kt_a-key-of-theirs"}), bson.E{Key: "org_id", Value: bson.ObjectID{1}}, bson.E{Key: "expires_at", Value: 3.8e9})
		if _, err := empty.keys.InsertMany(t.Context(), []any{fits, theirs}); err != nil {
			t.Fatal(err)
		}
		core, lines := observer.New(zap.WarnLevel)
		o := &adminFixture{empty.another(zap.New(core), withAdmin(t), func(c *daemon.Config) { sh.configure(&c.Config, empty.keys.Name()) }), empty.audit}
		warned := lines.FilterMessageSnippet("the admin API does not write")
		if warned.Len() != 1 || warned.FilterMessageSnippet("write org_id: org_id in the documents of ").Len() != 1 {
			t.Errorf("the log warns %v", warned.All())
		}
		for call, words := range map[[3]string]string{
			{"POST", "/v1/keys", `{"user_id":"u","org_id":"acme"}`}:                          "is of type ObjectId, and keytail would write the type string: declare the form of org_id (--map-org-id-form)",
			{"PATCH", "/v1/keys/theirs", `{"name":"n","expires_at":"2090-01-01T00:00:00Z"}`}: "expires_at: expires_at in this document is of type double, and keytail would write the type date",
		} {
			got := o.mustCall(http.StatusUnprocessableEntity, call[0], call[1], call[2])
			if got.str("code") != "COLLECTION_CANNOT_HOLD" || !strings.Contains(got.str("detail"), words) {
				t.Errorf("%v: %s", call, got.text)
			}
		}
		o.mustCall(http.StatusOK, "PATCH", "/v1/keys/theirs", `{"name":"n"}`)
		o.mustCall(http.StatusOK, "PATCH", "/v1/keys/fits", `{"expires_at":"2090-01-01T00:00:00Z"}`)
		o.mustCall(http.StatusOK, "POST", "/v1/keys/theirs/revoke", "")
		o.mustCall(http.StatusCreated, "POST", "/v1/keys", `{"user_id":"u","expires_at":"2090-01-01T00:00:00Z"}`)
		o.mustAudit("/v1/audit", "create", "revoke", "update", "update")
	})
}

// TestDoctorNamesWhatIsNotWritten, as a warning if the admin API is enabled.
func TestDoctorNamesWhatIsNotWritten(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		sh := shape{keystore.DefaultSchema(), nil, stringID}
		p := newCandidate(t, s, sh.schema("api_keys"))
		p.insert(t, append(sh.document(key{id: "theirs", text: "kt_a-key-of-theirs"}), bson.E{Key: "org_id", Value: bson.ObjectID{1}},
			bson.E{Key: "expires_at", Value: bson.DateTime(4e12)}, bson.E{Key: "allowed_ips", Value: bson.A{}}, bson.E{Key: "project_id", Value: "p"}))
		p.index(t, "key_hash", unique())
		line := "the admin API does not write org_id: org_id in the documents of " + p.config.Database + ".api_keys is of type ObjectId"
		checks, _ := p.examined(t)
		mustBe(t, checks["documents"], doctor.OK, line)
		withAdmin(t)(&p.config)
		checks, _ = p.examined(t)
		mustBe(t, checks["documents"], doctor.Warning, line)
	})
}

// TestDoctorWarnsOfAShortPepper, and says otherwise that it cannot be checked.
func TestDoctorWarnsOfAShortPepper(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		m := keystore.DefaultSchema()
		m.HashAlgorithm = apikey.HMACSHA256
		p := newCandidate(t, s, m)
		p.index(t, "key_hash", unique())
		for secret, want := range map[string]doctor.Status{strings.Repeat("p", 15): doctor.Warning, strings.Repeat("p", 16): doctor.OK} {
			p.config.HashSecret = []byte(secret)
			checks, _ := p.examined(t)
			mustBe(t, checks["hash"], want, map[doctor.Status]string{doctor.OK: "verify a key that you know", doctor.Warning: "fewer than 16 bytes"}[want])
			if strings.Contains(checks["hash"].Detail, secret) {
				t.Errorf("the check shows the secret: %s", checks["hash"].Detail)
			}
		}
	})
}
