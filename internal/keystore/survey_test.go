package keystore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/mongotest"
)

// keyOf is a valid document with this _id, with changes.
func keyOf(t testing.TB, id any, changes ...bson.E) bson.Raw {
	t.Helper()
	hash := apikey.HashOf(fmt.Sprint("the key of ", id))
	return document(t, append([]bson.E{{Key: "_id", Value: id}, {Key: "key_hash", Value: hash.Hex()}}, changes...)...)
}

func surveyed(t *testing.T, s Schema, docs ...bson.Raw) *Survey {
	t.Helper()
	l := newSurveyor("shop.api_keys", s, time.Now(), func(Document) {})
	for _, doc := range docs {
		l.see(doc)
	}
	return l.survey()
}

func TestSurveyCountsAndNames(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		f := newFixture(t, s)
		docs := []any{
			keyOf(t, "good"),
			keyOf(t, "off", bson.E{Key: "is_active", Value: false}),
			keyOf(t, "ended", bson.E{Key: "expires_at", Value: bson.DateTime(0)}),
			keyOf(t, int32(7), bson.E{Key: "user_id", Value: nil}),
			keyOf(t, "upper", bson.E{Key: "key_hash", Value: HashHexUpper.stored(apikey.HashOf("leak 1"))}),
			keyOf(t, "crypt", bson.E{Key: "key_hash", Value: "$2b$10$leak"}),
		}
		for i := range 12 {
			docs = append(docs, keyOf(t, fmt.Sprintf("x%02d", i), bson.E{Key: "scopes", Value: "leak"}))
		}
		if _, err := f.keys.InsertMany(testContext(t), docs); err != nil {
			t.Fatal(err)
		}
		got, err := f.Survey(testContext(t), 0)
		if err != nil {
			t.Fatal(err)
		}
		ten := []string{"x00", "x01", "x02", "x03", "x04", "x05", "x06", "x07", "x08", "x09"}
		want := &Survey{
			Namespace: f.Namespace(), Documents: 18, Total: 18, Keys: 3, Inactive: 1, Expired: 1, Unbound: 3,
			Defects: []SurveyGroup{
				{What: "scopes is of type string, an array of strings is needed", Count: 12, IDs: ten},
				{What: "key_hash is not a SHA-256 hash of 64 lower-case hex digits", Count: 2, Unfindable: 2, IDs: []string{"crypt", "upper"}},
				{What: "user_id is null, a string, ObjectId, UUID or integer is needed", Count: 1, IDs: []string{"7"}},
			},
			Hashes: []SurveyGroup{
				{What: "hex", Count: 16},
				{What: "bcrypt", Count: 1, IDs: []string{"crypt"}},
				{What: "hex-upper", Count: 1, IDs: []string{"upper"}},
			},
			Readable: map[HashEncoding]int{HashHex: 16, HashHexUpper: 1},
		}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Survey{}), cmpopts.IgnoreFields(Survey{}, "Fields", "Dates")); diff != "" {
			t.Error(diff)
		}
		present := map[string]int{}
		for _, field := range got.Fields {
			present[field.Field] = field.Present
		}
		if present["key_hash"] != 18 || present["user_id"] != 17 || present["scopes"] != 12 || present["expires_at"] != 1 || present["org_id"] != 0 || len(present) != 14 {
			t.Errorf("fields: %v", present)
		}
		if got.Broken() != 15 {
			t.Errorf("%d are broken", got.Broken())
		}
	})
}

func TestSurveyLooksAtBothEnds(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		f := newFixture(t, s)
		var docs []any
		for i := range 20 {
			docs = append(docs, keyOf(t, fmt.Sprintf("k%02d", i), bson.E{Key: "user_id", Value: absent}))
		}
		if _, err := f.keys.InsertMany(testContext(t), docs); err != nil {
			t.Fatal(err)
		}
		for limit, want := range map[int][]string{
			1: {"k00"}, 2: {"k00", "k19"}, 5: {"k00", "k01", "k02", "k19", "k18"},
			// More than half, and all: the two ends meet
			20: nil, 21: nil, 30: nil, 100: nil,
		} {
			got, err := f.Survey(testContext(t), limit)
			if err != nil {
				t.Fatal(err)
			}
			if got.Documents != min(limit, 20) || got.Total != 20 {
				t.Errorf("limit %d: %d of %d documents", limit, got.Documents, got.Total)
			}
			if diff := cmp.Diff(want, got.Defects[0].IDs); want != nil && diff != "" {
				t.Errorf("limit %d: %s", limit, diff)
			}
		}
		find := f.wire.lastFind(t)
		if level := find.Lookup("readConcern", "level").StringValue(); level != "majority" {
			t.Errorf("read concern %q", level)
		}
	})
}

// TestShapes: what a hash field may contain instead of a hash.
func TestShapes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		value any
		want  Shape
	}{
		{absent, ShapeMissing},
		{nil, ShapeMissing},
		{"$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy", ShapeBcrypt},
		{"$2b$12$x", ShapeBcrypt},
		{"$2y$12$x", ShapeBcrypt},
		{"$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA", ShapeArgon2},
		{"$argon2i$v=19", ShapeArgon2},
		{"$6$salt$hash", ShapeSalted},
		{"$scrypt$ln=16,r=8,p=1$a$b", ShapeSalted},
		{"sk_live_4eC39HqLyjWDarjtT1zdp7dc", ShapePlain},
		{"5d41402abc4b2a76b9719d911017c592", ShapePlain},
		{"$money-key", ShapePlain},
		{"short", ShapeOther},
		{"two words of text", ShapeOther},
		{"", ShapeOther},
		{strings.ToUpper(testHash.Hex()[:32]) + testHash.Hex()[32:], ShapeOther},
		{bson.A{testHash.Hex()}, ShapeOther},
		{int64(5), ShapeOther},
		{bson.Binary{Subtype: 4, Data: make([]byte, 16)}, ShapeOther},
	} {
		got := surveyed(t, DefaultSchema(), keyOf(t, 1, bson.E{Key: "key_hash", Value: test.value}))
		if len(got.Hashes) != 1 || got.Hashes[0].What != string(test.want) || len(got.Readable) != 0 {
			t.Errorf("%v: %v, want %s", test.value, got.Hashes, test.want)
		}
	}
}

// TestBase64IsCountedInTheLikelierEncoding: a quarter of all hashes have the
// same text in base64 and base64url.
func TestBase64IsCountedInTheLikelierEncoding(t *testing.T) {
	t.Parallel()
	for _, encoding := range []HashEncoding{HashBase64, HashBase64Raw, HashBase64URL, HashBase64URLRaw} {
		var docs []bson.Raw
		for i := range 60 {
			docs = append(docs, keyOf(t, i, bson.E{Key: "key_hash", Value: encoding.stored(apikey.HashOf(fmt.Sprint(i)))}))
		}
		for _, declared := range []HashEncoding{HashHex, encoding} {
			got := surveyed(t, in(func(s *Schema) { s.HashEncoding = declared }), docs...)
			if len(got.Hashes) != 1 || got.Hashes[0].What != string(encoding) || got.Hashes[0].Count != 60 {
				t.Errorf("%s in a collection of %s: %v", encoding, declared, got.Hashes)
			}
		}
	}
}

// TestTheDeclaredEncodingComesFirst: a hash that it can read is not counted in
// another encoding.
func TestTheDeclaredEncodingComesFirst(t *testing.T) {
	t.Parallel()
	// Neither a plus nor a slash in base64
	same := keyOf(t, 1, bson.E{Key: "key_hash", Value: HashBase64.stored(apikey.Hash{})})
	for _, declared := range []HashEncoding{HashBase64, HashBase64URL} {
		got := surveyed(t, in(func(s *Schema) { s.HashEncoding = declared }), same)
		want := []SurveyGroup{{What: string(declared), Count: 1}}
		if diff := cmp.Diff(want, got.Hashes); diff != "" || got.StartError() != nil {
			t.Errorf("%s: %s, %v", declared, diff, got.StartError())
		}
	}
}

// TestAnEncodingThatReadsOnlySomeHashesIsRefused if another one reads all: with
// base64url for base64 three of four keys would never be found.
func TestAnEncodingThatReadsOnlySomeHashesIsRefused(t *testing.T) {
	t.Parallel()
	var docs []bson.Raw
	for i := range 60 {
		docs = append(docs, keyOf(t, i, bson.E{Key: "key_hash", Value: HashBase64.stored(apikey.HashOf(fmt.Sprint(i)))}))
	}
	url := in(func(s *Schema) { s.HashEncoding = HashBase64URL })
	wantSentence(t, surveyed(t, url, docs...).StartError(), ErrUnusable,
		"of the 60 hashes in key_hash in the 60 documents read from shop.api_keys can be read as base64url, and all as base64: set --map-hash-encoding=base64")
	wantSentence(t, surveyed(t, url, append(docs, keyOf(t, "broken", bson.E{Key: "key_hash", Value: "leak"}))...).StartError(), ErrUnusable,
		"of the 60 hashes in key_hash in the 61 documents")
	// Two generations: no encoding reads all
	for i := range 20 {
		docs = append(docs, keyOf(t, fmt.Sprint("new ", i), bson.E{Key: "key_hash", Value: HashBase64URL.stored(apikey.HashOf(fmt.Sprint("new ", i)))}))
	}
	if err := surveyed(t, url, docs...).StartError(); err != nil {
		t.Errorf("two generations: %v", err)
	}
}

func TestStartErrorForACollectionWithoutKeys(t *testing.T) {
	t.Parallel()
	hash := func(value any) []bson.Raw {
		return []bson.Raw{keyOf(t, "a", bson.E{Key: "key_hash", Value: value}), keyOf(t, "b", bson.E{Key: "key_hash", Value: value})}
	}
	// Neither a plus nor a slash in base64
	sameInBoth := apikey.Hash{}
	upper := HashHexUpper.stored(testHash)
	for name, test := range map[string]struct {
		docs []bson.Raw
		want string // empty: fine
	}{
		"nothing": {nil, ""},
		"keys":    {[]bson.Raw{keyOf(t, 1)}, ""},
		"one key": {append(hash("$2b$10$leak"), keyOf(t, 1)), ""},
		"bcrypt": {hash("$2b$10$leak"), "none of the 2 documents read from shop.api_keys has a SHA-256 hash of 64 lower-case hex digits in key_hash: " +
			`2 hold bcrypt hashes, which are salted on purpose, so no key can be found by its hash: store the SHA-256 of each key in a separate field when the key is next used, or issue new keys (docs/adopt-your-collection.md)`},
		"argon2":  {hash("$argon2id$leak"), "2 hold argon2 hashes, which are salted on purpose"},
		"salted":  {hash("$6$leak$leak"), "2 hold salted hashes"},
		"plain":   {hash("sk_live_leak"), "2 hold what looks like the keys themselves, or like another kind of hash: replace each key by its SHA-256"},
		"upper":   {hash(upper), "2 hold a hash in another encoding: set --map-hash-encoding=hex-upper"},
		"binary":  {hash(HashBinary.stored(testHash)), "set --map-hash-encoding=binary"},
		"base64":  {hash(HashBase64URLRaw.stored(testHash)), "set --map-hash-encoding=base64url-raw"},
		"unclear": {hash(HashBase64.stored(sameInBoth)), "set --map-hash-encoding=base64 or base64url"},
		"mixture": {append(hash("$2b$10$leak"), keyOf(t, 1, bson.E{Key: "key_hash", Value: upper})), "2 hold bcrypt"},
		"gaps":    {append(hash(nil), keyOf(t, 1, bson.E{Key: "key_hash", Value: upper})), "1 holds a hash in another encoding"},
		"one":     {hash("$2b$10$leak")[:1], "the only document read from shop.api_keys does not have a SHA-256 hash of 64 lower-case hex digits in key_hash: it holds bcrypt hashes"},
		"number":  {hash(int32(1)), "name the field of the hash with --map-hash, or store a SHA-256 hash there"},
		"no hash": {hash(absent), "none of the 2 documents read from shop.api_keys has a field key_hash (the hash, --map-hash): name the field that they have"},
		"nulls":   {hash(nil), "has a field key_hash (the hash, --map-hash)"},
		"no user, no switch": {
			[]bson.Raw{keyOf(t, 1, bson.E{Key: "user_id", Value: absent}, bson.E{Key: "is_active", Value: absent})},
			"the only document read from shop.api_keys has no field is_active (the active switch, --map-active) or user_id (the user id, --map-user-id): name the field that it has",
		},
		"some user": {[]bson.Raw{keyOf(t, 1, bson.E{Key: "user_id", Value: absent}), keyOf(t, 2)}, ""},
	} {
		got := surveyed(t, DefaultSchema(), test.docs...)
		err := got.StartError()
		if test.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		wantSentence(t, err, ErrNoKeys, test.want)
		wantNoLeak(t, got, err.Error())
	}
}

// TestKeysThatAreIDsAreNotShown: neither where the hash is missing, nor where the
// mapping is right; keytail does not start, because it would log and answer them.
func TestKeysThatAreIDsAreNotShown(t *testing.T) {
	t.Parallel()
	for name, changes := range map[string][]bson.E{
		"no hash":          {{Key: "key_hash", Value: absent}},
		"another encoding": {{Key: "key_hash", Value: HashBase64.stored(testHash)}},
		"a hash":           {{Key: "key_hash", Value: HashHex.stored(apikey.HashOf("sk_live_leak"))}},
		"a broken key": {
			{Key: "key_hash", Value: HashHex.stored(apikey.HashOf("sk_live_leak"))},
			{Key: "scopes", Value: 1},
			{Key: "expires_at", Value: bson.DateTime(0)},
		},
	} {
		got := surveyed(t, DefaultSchema(), keyOf(t, "sk_live_leak", changes...), keyOf(t, "good"))
		if name == "no hash" || name == "another encoding" {
			got = surveyed(t, DefaultSchema(), keyOf(t, "sk_live_leak", changes...))
		}
		err := got.StartError()
		if err == nil {
			t.Errorf("%s: it starts", name)
			continue
		}
		wantNoLeak(t, got, append(got.Warnings(), err.Error())...)
	}
	good := keyOf(t, "good")
	key := keyOf(t, "sk_live_leak", bson.E{Key: "key_hash", Value: HashHex.stored(apikey.HashOf("sk_live_leak"))})
	wantSentence(t, surveyed(t, DefaultSchema(), key, good).StartError(), ErrUnusable,
		"the _id is the key itself in 1 of the 2 documents read from shop.api_keys", "give each document another _id")
}

// wantNoLeak: the values in these tests contain "leak", or are the hash.
func wantNoLeak(t *testing.T, s *Survey, texts ...string) {
	t.Helper()
	all, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range append(texts, string(all)) {
		lower := strings.ToLower(text)
		if strings.Contains(lower, "leak") || strings.Contains(lower, testHash.Hex()) {
			t.Errorf("a value is in %s", text)
		}
	}
}

func TestSurveyWarnsOfBrokenDocuments(t *testing.T) {
	t.Parallel()
	docs := []bson.Raw{}
	for i := range 95 {
		docs = append(docs, keyOf(t, i, bson.E{Key: "org_id", Value: "o"}, bson.E{Key: "project_id", Value: "p"},
			bson.E{Key: "allowed_ips", Value: bson.A{}}, bson.E{Key: "expires_at", Value: bson.DateTime(4e12)}))
	}
	if got := surveyed(t, DefaultSchema(), docs...).Warnings(); got != nil {
		t.Errorf("a good collection: %q", got)
	}
	docs = append(docs,
		keyOf(t, "a", bson.E{Key: "user_id", Value: absent}), keyOf(t, "b", bson.E{Key: "user_id", Value: absent}),
		keyOf(t, "c", bson.E{Key: "user_id", Value: absent}), keyOf(t, "d", bson.E{Key: "user_id", Value: absent}),
		keyOf(t, "e", bson.E{Key: "key_hash", Value: HashBase64.stored(testHash)}))
	got := surveyed(t, DefaultSchema(), docs...)
	want := []string{"5 of the 100 documents read from shop.api_keys cannot be read as keys, so they are DISABLED, or never found if the hash is the reason: " +
		"user_id is missing (4: a, b, c, …), key_hash is not a SHA-256 hash of 64 lower-case hex digits (1: e); key_hash holds hex in 99, base64 in 1"}
	if diff := cmp.Diff(want, got.Warnings()); diff != "" {
		t.Error(diff)
	}
	wantNoLeak(t, got, got.Warnings()...)
	for i := range 4 {
		docs = append(docs, keyOf(t, fmt.Sprint("z", i), bson.E{Key: "scopes", Value: bson.A{"a", "b", "c", "d", 1}[4-i:]}))
	}
	if got := surveyed(t, DefaultSchema(), docs...).Warnings(); !strings.Contains(got[0], "more reasons") {
		t.Errorf("reasons without end: %q", got)
	}
}

// TestSurveyWarnsOfFieldsThatNoDocumentHas: with a wrong name for the expiry no
// key would ever expire.
func TestSurveyWarnsOfFieldsThatNoDocumentHas(t *testing.T) {
	t.Parallel()
	full := keyOf(t, 1, bson.E{Key: "org_id", Value: "o"}, bson.E{Key: "project_id", Value: "p"},
		bson.E{Key: "allowed_ips", Value: bson.A{}}, bson.E{Key: "expires_at", Value: bson.DateTime(4e12)})
	for name, test := range map[string]struct {
		change func(*Schema)
		want   string // empty: none
	}{
		"all there":         {func(*Schema) {}, ""},
		"expiry":            {func(s *Schema) { s.ExpiresAt = "expiresAt" }, "the only document read from shop.api_keys has no field expiresAt: if your field has another name, keytail ignores it until you set the name (--map-expires-at); an empty name means that there is no such field"},
		"no expiry":         {func(s *Schema) { s.ExpiresAt = "" }, ""},
		"two":               {func(s *Schema) { s.OrgID, s.AllowedIPs = "o", "i" }, "has no field o, i: "},
		"negated":           {func(s *Schema) { s.Active, s.ActiveForm = "disabled", ActiveNegated }, "has no field disabled: "},
		"no date":           {func(s *Schema) { s.Active, s.ActiveForm = "revoked_at", ActiveNoDate }, "(--map-active)"},
		"always":            {func(s *Schema) { s.Active, s.ActiveForm = "", ActiveAlways }, ""},
		"scopes":            {func(*Schema) {}, ""},
		"scopes by default": {func(s *Schema) { s.DefaultScopes = []string{"a"} }, "has no field scopes: "},
		"name":              {func(s *Schema) { s.Name = "label" }, ""},
	} {
		s := in(test.change)
		got := strings.Join(surveyed(t, s, full).Warnings(), "|")
		if (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
		if got := surveyed(t, s).Warnings(); got != nil {
			t.Errorf("%s: an empty collection: %q", name, got)
		}
	}
}

// TestSurveyWarnsOfKeysWithoutAnOrganisationAmongOthers: they are valid for every one,
// and their organisation may be in the field of an older schema.
func TestSurveyWarnsOfKeysWithoutAnOrganisationAmongOthers(t *testing.T) {
	t.Parallel()
	bound, null := bson.E{Key: "org_id", Value: "acme"}, bson.E{Key: "org_id", Value: nil}
	older := bson.E{Key: "organizationId", Value: "acme"}
	for name, test := range map[string]struct {
		docs []bson.Raw
		want string // empty: none
	}{
		"all bound":        {keysWith(t, 3, bound), ""},
		"none bound":       {keysWith(t, 3), ""},
		"few bound":        {joined(keysWith(t, 1, bound), keysWith(t, 2)), ""},
		"half in another":  {joined(keysWith(t, 2, bound), keysWith(t, 2, older)), "2 of 4 keys in the 4 documents read from shop.api_keys have no org_id, so they are bound to no organisation and are valid for every one"},
		"one without, two": {joined(keysWith(t, 2, bound), []bson.Raw{keyOf(t, "null", null)}), "1 of 3 keys"},
	} {
		got := surveyed(t, DefaultSchema(), test.docs...).unboundWarning()
		if (got == "") != (test.want == "") || !strings.HasPrefix(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
	s := in(func(s *Schema) { s.OrgID = "" })
	if got := surveyed(t, s, joined(keysWith(t, 2, bound), keysWith(t, 2, older))...).unboundWarning(); got != "" {
		t.Errorf("a collection without organisations: %q", got)
	}
}

// storeOf is a Store on a new collection with these documents and no index on
// the hash, and its log.
func storeOf(t *testing.T, s *mongotest.Server, docs ...any) (place, *observer.ObservedLogs) {
	t.Helper()
	p := newPlace(t, s)
	p.create(t, "api_keys")
	core, logs := observer.New(zapcore.DebugLevel)
	p.logger = zap.New(core)
	if _, err := p.db.Collection("api_keys").InsertMany(testContext(t), docs); err != nil {
		t.Fatal(err)
	}
	return p, logs
}

func TestPrepareRefusesUnfindableDocuments(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		p, _ := storeOf(t, s,
			keyOf(t, "a", bson.E{Key: "key_hash", Value: "$2b$10$leak1"}), keyOf(t, "b", bson.E{Key: "key_hash", Value: "$2b$10$leak2"}))
		for _, ensure := range []bool{false, true} {
			wantSentence(t, p.Prepare(testContext(t), ensure), ErrNoKeys, "2 hold bcrypt hashes")
		}
		indexes, err := p.indexes(testContext(t))
		if err != nil || len(indexes) != 1 {
			t.Errorf("it was given an index: %v, %v", indexes, err)
		}
	})
}

// TestPrepareDoesNotWaitForDocuments: a slow server does not delay the start.
func TestPrepareDoesNotWaitForDocuments(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		p, logs := storeOf(t, s, keyOf(t, "a", bson.E{Key: "key_hash", Value: "$2b$10$leak1"}))
		p.surveyWithin = time.Nanosecond
		if err := p.Prepare(testContext(t), true); err != nil {
			t.Fatal(err)
		}
		if said := logs.FilterMessageSnippet("did not return the first documents"); said.Len() != 1 {
			t.Errorf("it was logged %d times", said.Len())
		}
		ended, cancel := context.WithCancel(testContext(t))
		cancel()
		if err := p.checkDocuments(ended); !errors.Is(err, context.Canceled) {
			t.Errorf("of a start that was given up: %v", err)
		}
	})
}

// TestPrepareGoesOnWhenTheServerGivesUp: it ends a command by its maxTimeMS before the deadline.
func TestPrepareGoesOnWhenTheServerGivesUp(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		const app = "a server that gives up"
		f := newFixture(t, s, func(c *Config) { c.Client = s.Connect(t, s.Options(app)) })
		f.insert(t, keyOf(t, "a", bson.E{Key: "key_hash", Value: "$2b$10$leak1"}))
		(&writeRig{server: s, app: app}).fail(t, once(1), commands("find"), bson.E{Key: "errorCode", Value: 50})
		if err := f.checkDocuments(testContext(t)); err != nil {
			t.Fatal(err)
		}
		if said := f.logs.FilterMessageSnippet("did not return the first documents"); said.Len() != 1 {
			t.Errorf("it was logged %d times", said.Len())
		}
	})
}

func TestPrepareWarnsOnceOfAFewBrokenDocuments(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		docs := []any{keyOf(t, "broken", bson.E{Key: "user_id", Value: absent})}
		for i := range 99 {
			docs = append(docs, keyOf(t, fmt.Sprint(i), bson.E{Key: "expires_at", Value: bson.DateTime(4e12)}))
		}
		p, logs := storeOf(t, s, docs...)
		p.schema.OrgID, p.schema.ProjectID, p.schema.AllowedIPs = "", "", ""
		p.index(t, onHash, options.Index().SetUnique(true))
		if err := p.Prepare(testContext(t), false); err != nil {
			t.Fatal(err)
		}
		if logs.Len() != 1 || !strings.HasPrefix(logs.All()[0].Message, "1 of the 100 documents read from ") {
			t.Errorf("the log: %v", logs.All())
		}
	})
}

// TestEveryEncodingIsFoundByItsIndex: a lookup uses the value that is
// stored, and Prepare accepts the index on the mapped field.
func TestEveryEncodingIsFoundByItsIndex(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		for _, encoding := range HashEncodings() {
			client, database := s.Client(t), s.Database(t)
			schema := in(func(s *Schema) { s.Hash, s.HashEncoding = "keyHash", encoding })
			store, err := New(Config{Client: client, Database: database, Schema: schema})
			if err != nil {
				t.Fatal(err)
			}
			if err := store.Prepare(testContext(t), true); err != nil {
				t.Fatal(err)
			}
			keys := client.Database(database).Collection("api_keys")
			doc := func(id string) bson.Raw {
				return document(t, bson.E{Key: "_id", Value: id}, bson.E{Key: "key_hash", Value: absent}, bson.E{Key: "keyHash", Value: encoding.stored(testHash)})
			}
			if _, err := keys.InsertOne(testContext(t), doc("a")); err != nil {
				t.Fatal(err)
			}
			if _, err := keys.InsertOne(testContext(t), doc("b")); err == nil {
				t.Errorf("%s: the index on keyHash is not unique", encoding)
			}
			got, found, err := store.FindByHash(testContext(t), testHash, 0)
			if err != nil || !found || got.Hash != testHash || got.Record.Defect != "" {
				t.Errorf("%s: found %v, error %v, %+v", encoding, found, err, got)
			}
			if got, found, err := store.FindLinearizable(testContext(t), testHash); err != nil || !found || got.Hash != testHash {
				t.Errorf("%s: linearizable: found %v, error %v", encoding, found, err)
			}
			if err := store.Prepare(testContext(t), false); err != nil {
				t.Errorf("%s: %v", encoding, err)
			}
		}
	})
}
