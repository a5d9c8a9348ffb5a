package propose

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// one makes documents that differ in one field.
func one(name string, value func(i int) any) func(i int) bson.D {
	return func(i int) bson.D { return bson.D{{Key: name, Value: value(i)}} }
}

// always is a value of each document, without the boolean that ten adds.
func without(field string, d func(i int) bson.D) func(i int) bson.D {
	return func(i int) bson.D { return append(d(i), bson.E{Key: field, Value: gone{}}) }
}

func fixedValue(value any) func(int) any { return func(int) any { return value } }

func raw(text string) []byte {
	var sum [32]byte
	copy(sum[:], hexHash(text))
	return sum[:]
}

var when = time.Date(2031, 5, 1, 0, 0, 0, 0, time.UTC)

// TestEachRoleIsFound: for a field as programs name and write it, the right role, form
// and field are proposed, or what a person has to do.
func TestEachRoleIsFound(t *testing.T) {
	hash := func(name string, encode func(i int) any) func(i int) bson.D {
		return without("keyHash", one(name, encode))
	}
	off := func(name string, value func(i int) any) func(i int) bson.D {
		return without("active", one(name, value))
	}
	user := func(name string, value any) func(i int) bson.D {
		return without("userId", one(name, fixedValue(value)))
	}
	rare := func(value any) func(int) any {
		return func(i int) any {
			if i == 3 {
				return value
			}
			return gone{}
		}
	}
	null := fixedValue(nil)
	for name, c := range map[string]struct {
		documents func(i int) bson.D
		role      string
		want      string
	}{
		"hex":       {hash("token_sha256", func(i int) any { return hexHash(fmt.Sprint(i)) }), "map_hash", "token_sha256"},
		"hex upper": {hash("Hash", func(i int) any { return strings.ToUpper(hexHash(fmt.Sprint(i))) }), "map_hash", "Hash hex-upper"},
		"base64":    {hash("k", func(i int) any { return base64.StdEncoding.EncodeToString(raw(fmt.Sprint(i, "~~???>>>"))) }), "map_hash", "k base64"},
		"base64url": {hash("k", func(i int) any {
			return base64.RawURLEncoding.EncodeToString(append(raw(fmt.Sprint(i))[:30], 0xfb, 0xff))
		}), "map_hash", "k base64url-raw"},
		"binary":       {hash("digest", func(i int) any { return bson.Binary{Data: raw(fmt.Sprint(i))} }), "map_hash", "digest binary"},
		"not distinct": {hash("keyHash_", fixedValue(hexHash("same"))), "map_hash", "(not found)"},
		"in an array":  {hash("hashes", func(i int) any { return bson.A{hexHash(fmt.Sprint(i))} }), "map_hash", "(not found)"},
		"no hash":      {hash("x", null), "map_hash", "(not found)"},

		"enabled":           {off("is_enabled", fixedValue(true)), "map_active", "is_enabled"},
		"revoked":           {off("Revoked", func(i int) any { return i == 3 }), "map_active", "Revoked negated"},
		"revoked, rare":     {off("is-revoked", rare(true)), "map_active", "is-revoked negated"},
		"revoked at":        {off("revokedAt", func(i int) any { return map[bool]any{true: when}[i < 4] }), "map_active", "revokedAt no-date"},
		"revoked at, null":  {off("revokedAt", null), "map_active", "revokedAt no-date"},
		"blocked, null":     {off("blocked", null), "map_active", "blocked negated"},
		"no switch":         {off("x", null), "map_active", "always (found)"},
		"a text":            {off("status", fixedValue("active")), "map_active", "status (not readable)"},
		"a number":          {off("disabled", fixedValue(int32(0))), "map_active", "disabled negated (not readable)"},
		"of something else": {off("rateLimitEnabled", fixedValue(true)), "map_active", "always (found)"},

		"expires":         {one("expires_at", fixedValue(when)), "map_expires_at", "expires_at"},
		"seconds":         {one("exp", fixedValue(when.Unix())), "map_expires_at", "exp unix"},
		"a far date":      {one("expires_at", fixedValue(time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC))), "map_expires_at", "expires_at"},
		"seconds of 2200": {one("exp", fixedValue(time.Date(2200, 12, 31, 0, 0, 0, 0, time.UTC).Unix())), "map_expires_at", "exp unix"},
		"seconds, double": {one("validUntil", fixedValue(float64(when.Unix()))), "map_expires_at", "validUntil unix"},
		"milliseconds":    {one("tokenExpiration", fixedValue(when.UnixMilli())), "map_expires_at", "tokenExpiration unix-ms"},
		"expires, null":   {one("expiresAt", null), "map_expires_at", "expiresAt"},
		"expires, text":   {one("expiresAt", fixedValue("2031-05-01")), "map_expires_at", "expiresAt (not readable)"},
		"a duration":      {one("expiry", fixedValue(int32(3600))), "map_expires_at", "expiry (not readable)"},
		"of a refresh":    {one("refreshTokenExpiresAt", fixedValue(when)), "map_expires_at", "(none)"},
		"by its ending":   {one("licenceExpiresAt", fixedValue(when)), "map_expires_at", "licenceExpiresAt"},
		"expires never":   {one("x", null), "map_expires_at", "(none)"},

		"user, object id":  {user("owner", bson.NewObjectID()), "map_user_id", "owner objectid"},
		"user, uuid":       {user("accountId", bson.Binary{Subtype: bson.TypeBinaryUUID, Data: make([]byte, 16)}), "map_user_id", "accountId uuid"},
		"user, integer":    {user("uid", int64(7)), "map_user_id", "uid integer"},
		"user, embedded":   {user("user", bson.D{{Key: "id", Value: "ada"}}), "map_user_id", "(not found)"},
		"user, only email": {user("email", "ada@example.org"), "map_user_id", "email"},
		"user, created by": {one("createdBy", fixedValue("grace")), "map_user_id", "userId"},

		"tenant":       {one("tenantId", fixedValue("acme")), "map_org_id", "tenantId"},
		"organisation": {one("_organizationId", fixedValue(bson.NewObjectID())), "map_org_id", "_organizationId objectid"},
		"workspaces":   {one("workspace", fixedValue(bson.A{"a"})), "map_org_id", "(none)"},
		"project":      {one("project_id", fixedValue(int32(5))), "map_project_id", "project_id integer"},

		"scopes":              {one("scopes", fixedValue(bson.A{"read"})), "map_scopes", "scopes"},
		"scopes, text":        {one("scope", fixedValue("read write:*")), "map_scopes", "scope text"},
		"scopes, JSON":        {one("permissions", fixedValue(`{"files": ["read"]}`)), "map_scopes", "(none)"},
		"scopes, commas":      {one("scopes", fixedValue("read,write")), "map_scopes", "(none)"},
		"scopes of documents": {one("scopes", fixedValue(bson.A{bson.D{{Key: "on", Value: "x"}}})), "map_scopes", "(none)"},

		"networks":        {one("ipWhitelist", fixedValue(bson.A{"192.0.2.0/24"})), "map_allowed_ips", "ipWhitelist"},
		"networks, text":  {one("allowed_ips", fixedValue("192.0.2.1")), "map_allowed_ips", "allowed_ips (not readable)"},
		"networks, names": {one("allowedIps", fixedValue(bson.A{"office"})), "map_allowed_ips", "allowedIps (not readable)"},

		"name":           {one("label", fixedValue("laptop")), "map_name", "label"},
		"metadata":       {one("meta", fixedValue(bson.D{})), "map_metadata", "meta"},
		"metadata, text": {one("metadata", fixedValue("{}")), "map_metadata", "(none)"},
		"prefix":         {one("keyPrefix", fixedValue("sk_a")), "map_key_prefix", "keyPrefix"},
		"created":        {one("createdAt", fixedValue(when)), "map_created_at", "createdAt"},
		"last used":      {one("lastUsedAt", rare(when)), "map_last_used", "lastUsedAt"},
		"last used, all": {one("lastUsedAt", fixedValue(when)), "map_last_used", "lastUsedAt"},
		"count":          {one("usage_count", fixedValue(int32(5))), "map_usage_count", "usage_count"},
		"rate limiter":   {one("requestCount", fixedValue(int32(5))), "map_usage_count", "(none)"},
	} {
		t.Run(name, func(t *testing.T) {
			p := guessed(t, ten(c.documents)...)
			if got := settings(p, c.role); got != c.want {
				t.Errorf("got %q, want %q\n%s", got, c.want, p.YAML())
			}
		})
	}
}

// TestASwitchThatIsNotEnoughIsNotAccepted: keys that another field switches off would be
// valid.
func TestASwitchThatIsNotEnoughIsNotAccepted(t *testing.T) {
	deleted := func(n int) func(i int) bson.D {
		return func(i int) bson.D {
			return bson.D{{Key: "deletedAt", Value: map[bool]any{true: when}[i < n]}}
		}
	}
	p := guessed(t, ten(deleted(2))...)
	if p.OK() || settings(p, "map_active") != "active (not enough)" {
		t.Errorf("got %q, OK %v", settings(p, "map_active"), p.OK())
	}
	mustSay(t, p, "2 documents are off by deletedAt and on by active (2 of the 5 oldest, 0 of the 5 newest)")
	if p := guessed(t, ten(deleted(0))...); !p.OK() {
		t.Errorf("no document contradicts:\n%s", said(p))
	}
}

// TestGenerationsAreProposedWithTheirShares: of two fields the one of the newest
// documents is proposed, and what happens to the others is said.
func TestGenerationsAreProposedWithTheirShares(t *testing.T) {
	half := func(older, newer bson.E) []bson.D {
		return ten(func(i int) bson.D {
			e := older
			if i >= 5 {
				e = newer
			}
			if text, ok := e.Value.(string); ok {
				e.Value = hexHash(fmt.Sprint(text, i))
			}
			return bson.D{e, {Key: "keyHash", Value: gone{}}}
		})
	}
	p := guessed(t, half(bson.E{Key: "keyHash2", Value: "a"}, bson.E{Key: "key_hash", Value: "a"})...)
	if got := settings(p, "map_hash"); got != "key_hash" {
		t.Errorf("got %q", got)
	}
	mustSay(t, p, "hex of 32 bytes in 5 of the 10 documents read (0 of the 5 oldest, 5 of the 5 newest)",
		"5 documents have their hash in keyHash2 and none in key_hash (5 of the 5 oldest, 0 of the 5 newest)", "NOT_FOUND")

	p = guessed(t, ten(func(i int) bson.D {
		sum := hexHash(fmt.Sprint(i))
		if i < 5 {
			return bson.D{{Key: "keyHash", Value: strings.ToUpper(sum)}}
		}
		return bson.D{{Key: "keyHash", Value: sum}}
	})...)
	mustSay(t, p, "keyHash holds hex-upper in 5 of the 10 documents read (5 of the 5 oldest, 0 of the 5 newest)", "would be NOT_FOUND until their hashes are written as hex")

	p = guessed(t, ten(func(i int) bson.D {
		if i < 5 {
			return bson.D{{Key: "expiresAt", Value: when}}
		}
		return bson.D{{Key: "expiresAt", Value: when.Unix()}}
	})...)
	if got := settings(p, "map_expires_at"); got != "expiresAt unix" {
		t.Errorf("got %q", got)
	}
	mustSay(t, p, "expiresAt does not hold seconds since 1970 between the years 2000 and 2200 in 5 documents")
}

// TestAMissingUserIsSaid: each key needs one.
func TestAMissingUserIsSaid(t *testing.T) {
	p := guessed(t, ten(func(i int) bson.D {
		if i < 4 {
			return bson.D{{Key: "userId", Value: gone{}}}
		}
		return nil
	})...)
	mustSay(t, p, "userId is missing or no id in 4 documents: these keys would be DISABLED")
}

// TestSaltedAndPlainKeysAreNamed with what to do about them.
func TestSaltedAndPlainKeysAreNamed(t *testing.T) {
	for value, words := range map[string]string{
		"$2b$12$" + strings.Repeat("a", 53):    "secret holds, in all 10 documents read, bcrypt hashes, which are salted on purpose",
		"$argon2id$v=19$m=1,t=1,p=1$c2E$aGE":   "secret holds, in all 10 documents read, argon2 hashes",
		"$5$rounds=5000$" + "salt$" + "abcdef": "secret holds, in all 10 documents read, salted hashes",
		"sk_live_0123456789":                   "secret holds, in all 10 documents read, what looks like the keys themselves",
	} {
		p := guessed(t, ten(without("keyHash", one("secret", fixedValue(value))))...)
		mustSay(t, p, words, "map_hash: NAME_OF_THE_FIELD")
		if strings.Contains(said(p), value) {
			t.Errorf("a value is shown:\n%s", said(p))
		}
	}
}

// TestSentencesAboutOneDocument have a verb in the singular.
func TestSentencesAboutOneDocument(t *testing.T) {
	p := guessed(t, bson.D{{Key: "token", Value: hexHash(knownText)}, {Key: "owner", Value: "u"}, {Key: "active", Value: true}})
	mustSay(t, p, "hex of 32 bytes in the only document read; ", "true means on; a boolean in the only document read; on in it")
	if strings.Contains(said(p), "alike") {
		t.Errorf("two documents:\n%s", said(p))
	}
	p = guessed(t, ten(func(i int) bson.D { return bson.D{{Key: "active", Value: true}, {Key: "revoked", Value: i == 3}} })...)
	mustSay(t, p, "1 document is off by revoked and on by active (1 of the 5 oldest, 0 of the 5 newest): keytail reads one field, so it would be VALID")
}

// TestAnExpiryOfZeroIsSaidOnce, and not as something else than a time.
func TestAnExpiryOfZeroIsSaidOnce(t *testing.T) {
	p := guessed(t, ten(func(i int) bson.D {
		if i%2 == 0 {
			return bson.D{{Key: "expiresAt", Value: int64(0)}}
		}
		return bson.D{{Key: "expiresAt", Value: when.Unix()}}
	})...)
	mustSay(t, p, "0 in 5 documents", "expiresAt is 0 in 5 documents")
	if len(p.Warnings) != 1 {
		t.Errorf("got %q", p.Warnings)
	}
}

// TestAnUnreadableSwitchBesideAnotherIsAWarning: nobody can see from the documents
// whether it alone switches keys off.
func TestAnUnreadableSwitchBesideAnotherIsAWarning(t *testing.T) {
	p := guessed(t, ten(without("active", func(int) bson.D {
		return bson.D{{Key: "status", Value: "active"}, {Key: "revokedAt", Value: nil}}
	}))...)
	if got := settings(p, "map_active"); got != "revokedAt no-date" {
		t.Errorf("got %q", got)
	}
	mustSay(t, p, "status looks like a switch that keytail does not read: a key that only it switches off would be VALID; let the code that writes it write revokedAt, too")
}

// TestATimeToComeIsNotLeftOut: without the field of the expiry, expired keys would be valid. So a
// field with times to come is proposed whatever its name, and a person has to decide.
func TestATimeToComeIsNotLeftOut(t *testing.T) {
	past, future := testNow.AddDate(0, -1, 0), testNow.AddDate(0, 1, 0)
	for _, c := range []struct {
		field  string
		value  func(i int) any
		status Status
		form   string
	}{
		{"until", func(int) any { return future }, Undecided, ""},
		{"until", func(i int) any { return []any{future, past, nil}[i%3] }, Undecided, ""},
		{"until", func(int) any { return future.Unix() }, Undecided, "unix"},
		{"until", func(int) any { return future.UnixMilli() }, Undecided, "unix-ms"},
		{"until", func(int) any { return past }, Absent, ""},
		{"until", func(i int) any { return []any{future, "never"}[i%2] }, Undecided, ""},
		{"until", func(i int) any { return []any{future.Unix(), "never"}[i%2] }, Absent, ""},
		{"requests", func(i int) any { return i }, Absent, ""},
		{"expiresAt", func(int) any { return future }, Found, ""},
	} {
		p := guessed(t, ten(func(i int) bson.D { return bson.D{{Key: c.field, Value: c.value(i)}} })...)
		i := slices.IndexFunc(p.Roles, func(r Role) bool { return r.Key == "map_expires_at" })
		r, form := p.Roles[i], ""
		if len(r.Forms) > 0 {
			form = r.Forms[0].Value
		}
		if r.Status != c.status || form != c.form || (r.Field == c.field) != (c.status != Absent) || r.open() != (c.status == Undecided) {
			t.Errorf("%s, %v: got %+v", c.field, c.value(0), r)
		}
	}
}
