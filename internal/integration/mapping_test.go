package integration

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.uber.org/zap/zaptest"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/service"
)

// shape is a collection as a team may have it. The code that writes its values is
// independent of the code in keystore that reads them.
type shape struct {
	mapping keystore.Schema
	// scopes are the default scopes.
	scopes []string
	// id returns a value of the team's type of ids, and its text.
	id func(n byte) (any, string)
}

// shapes returns collections that have every form of every role at least once, and the
// optional roles once all present and once all absent. keystore tests all combinations
// without a server: TestEveryCombinationOfFormsIsRead.
func shapes() map[string]shape {
	camel := func(encoding keystore.HashEncoding, active string, form keystore.ActiveForm, scopes keystore.ScopesForm, expires keystore.ExpiresForm) keystore.Schema {
		return keystore.Schema{
			Hash: "keyHash", HashEncoding: encoding, Active: active, ActiveForm: form, UserID: "userId", OrgID: "orgId", ProjectID: "projectId",
			Name: "label", Scopes: "scope", ScopesForm: scopes, AllowedIPs: "ipAllowList", ExpiresAt: "expiresAt", ExpiresForm: expires,
			Metadata: "meta", LastUsed: "lastUsedAt", UsageCount: "hits",
		}
	}
	after := func(m keystore.Schema, prefix string) keystore.Schema {
		m.HashAfter = prefix
		return m
	}
	keyed := func(m keystore.Schema) keystore.Schema {
		m.HashAlgorithm = apikey.HMACSHA256
		return m
	}
	oneIgnorable := camel("base64url-raw", "disabled", "negated", "text", "date")
	oneIgnorable.UsageCount = ""
	bare := keystore.Schema{Hash: "digest", UserID: "owner", ActiveForm: "always"}
	return map[string]shape{
		"default":        {keystore.Schema{}, nil, stringID},
		"hex-upper":      {camel("hex-upper", "disabled", "negated", "text", "unix"), nil, objectID},
		"base64":         {keyed(camel("base64", "revokedAt", "no-date", "array", "unix-ms")), []string{"read"}, uuidID},
		"base64-raw":     {camel("base64-raw", "", "always", "text", "unix"), []string{"read"}, int32ID},
		"base64url":      {after(camel("base64url", "enabled", "boolean", "text", "unix-ms"), "kt_"), nil, int64ID},
		"base64url-raw":  {oneIgnorable, []string{"other"}, stringID},
		"binary":         {after(camel("binary", "revokedAt", "no-date", "array", "date"), "kt_"), nil, objectID},
		"nothing but it": {keyed(bare), []string{"read"}, uuidID},
	}
}

func stringID(n byte) (any, string) { return fmt.Sprint("id-", n), fmt.Sprint("id-", n) }
func int32ID(n byte) (any, string)  { return int32(n), fmt.Sprint(n) }
func int64ID(n byte) (any, string)  { return int64(n) << 40, fmt.Sprint(int64(n) << 40) }

func objectID(n byte) (any, string) {
	id := bson.ObjectID{11: n}
	return id, id.Hex()
}

func uuidID(n byte) (any, string) {
	return bson.Binary{Subtype: 4, Data: append(make([]byte, 15), n)}, fmt.Sprintf("00000000-0000-0000-0000-0000000000%02x", n)
}

// names returns the mapping with its defaults filled in.
func (s shape) names() keystore.Schema {
	if s.mapping.Hash == "" {
		return keystore.DefaultSchema()
	}
	return s.mapping
}

// schema returns the mapping of this collection, with the default scopes.
func (s shape) schema(collection string) keystore.Schema {
	schema := s.names()
	schema.Collection, schema.DefaultScopes = collection, s.scopes
	return schema
}

// secret returns the secret of the hashes, nil if they have none.
func (s shape) secret() []byte {
	if s.mapping.HashAlgorithm != apikey.HMACSHA256 {
		return nil
	}
	return []byte("the pepper of the team")
}

// configure sets the collection's mapping and its secret.
func (s shape) configure(c *service.Config, collection string) {
	c.Schema, c.HashSecret = s.schema(collection), s.secret()
}

// hash returns the value of the hash field for a key.
func (s shape) hash(text string, encoding keystore.HashEncoding) any {
	algorithm := sha256.New()
	if s.mapping.HashAlgorithm == apikey.HMACSHA256 {
		algorithm = hmac.New(sha256.New, s.secret())
	}
	_, _ = algorithm.Write([]byte(strings.TrimPrefix(text, s.mapping.HashAfter)))
	sum := algorithm.Sum(nil)
	switch encoding {
	case "hex-upper":
		return strings.ToUpper(hex.EncodeToString(sum))
	case "base64":
		return base64.StdEncoding.EncodeToString(sum)
	case "base64-raw":
		return base64.RawStdEncoding.EncodeToString(sum)
	case "base64url":
		return base64.URLEncoding.EncodeToString(sum)
	case "base64url-raw":
		return base64.RawURLEncoding.EncodeToString(sum)
	case "binary":
		return bson.Binary{Data: sum}
	default:
		return hex.EncodeToString(sum)
	}
}

func (s shape) list(scopes ...string) any {
	if s.mapping.ScopesForm == "text" {
		return strings.Join(scopes, " ")
	}
	// An empty list, not nil
	return append([]string{}, scopes...)
}

func (s shape) time(at time.Time) any {
	switch s.mapping.ExpiresForm {
	case "unix":
		return at.Unix()
	case "unix-ms":
		return at.UnixMilli()
	default:
		return at
	}
}

func (s shape) off() any {
	switch s.mapping.ActiveForm {
	case "negated":
		return true
	case "no-date":
		return time.Now()
	default:
		return false
	}
}

// document returns the document of a key with the scope read and without an expiry.
func (s shape) document(k key) bson.D {
	m := s.names()
	user, _ := s.id(1)
	d := bson.D{{Key: "_id", Value: k.id}, {Key: m.Hash, Value: s.hash(k.text, m.HashEncoding)}, {Key: m.UserID, Value: user}}
	if m.ActiveForm == "boolean" || m.ActiveForm == "" {
		d = append(d, bson.E{Key: m.Active, Value: true})
	}
	if m.Scopes != "" {
		d = append(d, bson.E{Key: m.Scopes, Value: s.list("read", "write:*")})
	}
	return d
}

// change is another client's change of one field, and its required effect.
type change struct {
	field, name string
	// value may be absent: the change removes the field.
	value any
	want  apikey.Code
	// seen, if not nil, also checks the record.
	seen func(r *apikey.Record) bool
}

type absentType struct{}

// changes returns at least one change for each field that affects the verdict.
func (s shape) changes(k key) []change {
	m := s.names()
	id, text := s.id(2)
	byDefault := apikey.InsufficientPermissions
	if slices.Contains(s.scopes, "read") {
		byDefault = apikey.Valid
	}
	other := keystore.HashHex
	if m.HashEncoding == "hex" || m.HashEncoding == "" {
		other = keystore.HashBase64
	}
	all := []change{
		{m.Hash, "moved", s.hash(m.HashAfter+"another key", m.HashEncoding), apikey.NotFound, nil},
		{m.Hash, "in another encoding", s.hash(k.text, other), apikey.NotFound, nil},
		{m.Hash, "gone", absentType{}, apikey.NotFound, nil},
		{m.Active, "off", s.off(), apikey.Disabled, nil},
		{m.Active, "unreadable", "yes", apikey.Disabled, nil},
		{m.UserID, "another", id, apikey.Valid, func(r *apikey.Record) bool { return r.UserID == text }},
		{m.UserID, "gone", absentType{}, apikey.Disabled, nil},
		{m.OrgID, "bound", id, apikey.Valid, func(r *apikey.Record) bool { return r.OrgID == text }},
		{m.ProjectID, "bound", id, apikey.Valid, func(r *apikey.Record) bool { return r.ProjectID == text }},
		{m.Name, "renamed", "renamed", apikey.Valid, func(r *apikey.Record) bool { return r.Name == "renamed" }},
		{m.Scopes, "others", s.list("other"), apikey.InsufficientPermissions, nil},
		{m.Scopes, "none", s.list(), apikey.InsufficientPermissions, nil},
		{m.Scopes, "default", absentType{}, byDefault, func(r *apikey.Record) bool { return reflect.DeepEqual(r.Scopes, s.scopes) }},
		{m.Scopes, "null", nil, byDefault, func(r *apikey.Record) bool { return reflect.DeepEqual(r.Scopes, s.scopes) }},
		{m.AllowedIPs, "elsewhere", bson.A{"192.0.2.0/24"}, apikey.Forbidden, nil},
		{m.ExpiresAt, "ended", s.time(time.Now().Add(-time.Hour)), apikey.Expired, nil},
		{m.ExpiresAt, "unreadable", "tomorrow", apikey.Disabled, nil},
		{m.Metadata, "set", bson.D{{Key: "plan", Value: "pro"}}, apikey.Valid, func(r *apikey.Record) bool { return string(r.Metadata) == `{"plan":"pro"}` }},
	}
	return slices.DeleteFunc(all, func(c change) bool { return c.field == "" })
}

func (c change) update() bson.D {
	if c.value == (absentType{}) {
		return bson.D{{Key: "$unset", Value: bson.D{{Key: c.field, Value: ""}}}}
	}
	return bson.D{{Key: "$set", Value: bson.D{{Key: c.field, Value: c.value}}}}
}

// startShaped runs a service on a collection of this shape, and makes n keys.
func startShaped(t *testing.T, server *mongotest.Server, s shape, n int) (*fixture, []key) {
	t.Helper()
	r := &fixture{t: t, server: server, registry: prometheus.NewRegistry()}
	database := server.Database(t)
	r.appName = "keytail-" + database
	r.db = server.Client(t, "other-client").Database(database)
	r.keys = r.db.Collection("customerKeys")
	m := s.names()
	if _, err := r.keys.Indexes().CreateOne(t.Context(), mongo.IndexModel{Keys: bson.D{{Key: m.Hash, Value: 1}}, Options: unique()}); err != nil {
		t.Fatal(err)
	}
	keys, documents := make([]key, n), make([]any, n)
	for i := range keys {
		text, err := apikey.Generate(apikey.DefaultPrefix, nil)
		if err != nil {
			t.Fatal(err)
		}
		keys[i] = key{id: fmt.Sprintf("key-%d", i), text: text}
		documents[i] = s.document(keys[i])
	}
	if _, err := r.keys.InsertMany(t.Context(), documents); err != nil {
		t.Fatal(err)
	}
	r.Daemon = r.run(r.registry, zaptest.NewLogger(t), func(c *daemon.Config) { s.configure(&c.Config, r.keys.Name()) })
	return r, keys
}

// TestEveryMappingIsReadAndFollowed: in a collection of each shape the service finds the
// keys, and a change of each mapped field by another client takes effect.
func TestEveryMappingIsReadAndFollowed(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, server *mongotest.Server) {
		for name, s := range shapes() {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				changes := s.changes(key{})
				r, keys := startShaped(t, server, s, len(changes)+2)
				_, user := s.id(1)
				for _, k := range keys {
					r.waitForCode(k, apikey.Valid, "read")
					r.waitUntilCached(k)
					if v := r.validate(k, "read"); v.Record.UserID != user {
						t.Errorf("%s: got user %q, want %q", k.id, v.Record.UserID, user)
					}
				}
				before := r.metric("keytail_stream_events_total", "update")
				for i := range changes {
					r.update(keys[i], s.changes(keys[i])[i].update())
				}
				for i, c := range changes {
					r.waitForEffect(keys[i], c)
				}
				if losses := r.metric("keytail_losses_total"); losses != 0 {
					t.Errorf("got %v losses, want 0", losses)
				}
				// A read may show a change before its event has been counted.
				mongotest.Eventually(t, testkit.WaitTimeout, func() bool {
					return r.metric("keytail_stream_events_total", "update") == before+float64(len(changes))
				}, "not every change has an event")
				r.mustIgnore(s, keys[len(changes)], keys[len(changes)+1])
			})
		}
	})
}

// waitForEffect validates until the change has its effect.
func (r *fixture) waitForEffect(k key, c change) {
	r.t.Helper()
	mongotest.Eventually(r.t, testkit.WaitTimeout, func() bool {
		v := r.validate(k, "read")
		return v.Code == c.want && (c.seen == nil || c.seen(v.Record))
	}, c.field, " ", c.name, ": ", k.id, " did not become ", c.want)
}

// mustIgnore checks that updates that change only the usage, mapped or not, and other fields that
// are not mapped do not arrive at the service. The marker's change comes after them in the stream.
func (r *fixture) mustIgnore(s shape, k, marker key) {
	r.t.Helper()
	m := s.names()
	mark := func(user byte) {
		before := r.metric("keytail_stream_events_total", "update")
		id, text := s.id(user)
		r.set(marker, m.UserID, id)
		mongotest.Eventually(r.t, testkit.WaitTimeout, func() bool {
			return r.validate(marker).Record.UserID == text && r.metric("keytail_stream_events_total", "update") > before
		}, "the change of the marker had no effect")
	}
	mark(3)
	events, changes := r.metric("keytail_stream_events_total", "update"), r.metric("keytail_changes_total")
	for _, field := range []string{"lastUsedAt", "hits", "last_used", "usage_count", "plan"} {
		r.set(k, field, 1)
	}
	if m.LastUsed != "" && m.UsageCount != "" {
		r.update(k, bson.D{{Key: "$inc", Value: bson.D{{Key: m.LastUsed, Value: 1}, {Key: m.UsageCount, Value: 1}}}})
	}
	mark(4)
	if got := r.metric("keytail_stream_events_total", "update") - events; got != 1 {
		r.t.Errorf("got %v updates over the wire, want the marker's", got)
	}
	if got := r.metric("keytail_changes_total") - changes; got != 1 {
		r.t.Errorf("got %v applied changes, want the marker's", got)
	}
}

// TestAKeyWithoutItsPrefixIsMalformed if the hash is of the text after the prefix.
func TestAKeyWithoutItsPrefixIsMalformed(t *testing.T) {
	server := mongotest.StartDevmongo(t, devmongo.Config{})
	m := keystore.DefaultSchema()
	m.HashAfter = "kt_"
	s := shape{m, nil, stringID}
	r, keys := startShaped(t, &server.Server, s, 1)
	r.waitForCode(keys[0], apikey.Valid, "read")
	// The hashed text, without the prefix
	for _, text := range []string{keys[0].text[3:], "sk_" + keys[0].text[3:], "kt_"} {
		if got := r.validate(key{text: text}).Code; got != apikey.Malformed {
			t.Errorf("got %v", got)
		}
	}
}

// TestStartReportsEveryMistakeOfAMapping in one error.
func TestStartReportsEveryMistakeOfAMapping(t *testing.T) {
	server := mongotest.StartDevmongo(t, devmongo.Config{})
	r := &fixture{t: t, server: &server.Server, appName: "other-client"}
	r.db = server.Client(t).Database(server.Database(t))
	r.keys = mongotest.CreateAPIKeys(t, r.db)
	start := func(m keystore.Schema, scopes ...string) error {
		m.DefaultScopes = scopes
		_, err := daemon.New(t.Context(), daemon.Config{Config: service.Config{
			Client: server.Client(t), Database: r.db.Name(), CacheSizeMiB: 8, Schema: m,
		}})
		return err
	}
	m := keystore.DefaultSchema()
	m.HashEncoding, m.Active, m.ActiveForm, m.Name, m.OrgID = "md5", "is_active", "always", "user_id", "org.id"
	err := start(m, "two words")
	for _, want := range []string{"--map-hash-encoding must be one of hex,", "(--map-active)", "(--map-user-id, --map-name)", "(--map-org-id)", "--default-scopes"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is missing in: %v", want, err)
		}
	}
	k := r.newKey(bson.E{Key: "expires_at", Value: time.Now().Add(time.Hour)})
	// Not the same hash in base64
	r.set(k, "key_hash", shape{}.hash("keytail", "base64url"))
	if err := start(keystore.DefaultSchema()); !isA(err, keystore.ErrNoKeys, "set --map-hash-encoding=base64url") {
		t.Errorf("got %v", err)
	}
	m = keystore.DefaultSchema()
	m.HashEncoding = "base64url"
	if err := start(m); err != nil {
		t.Errorf("got %v", err)
	}
}
