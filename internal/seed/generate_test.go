package seed

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
)

// generator creates the sample documents from a fixed random sequence, so every run
// creates the same bytes.
type generator struct {
	random   *rand.ChaCha8
	number   int
	docs     []bson.D
	examples []Example
}

// seedOfRandom has 32 bytes. The secrets derived from it are public by design.
const seedOfRandom = "keytail sample keys, not secrets"

// fields of one sample key that differ between kinds. Zero: absent or null.
type fields struct {
	name       string
	scopes     []string
	expires    time.Time
	org        any
	project    any
	disabled   bool
	allowedIPs []string
	metadata   bson.D
}

var (
	inThePast = time.Date(2024, time.June, 30, 12, 0, 0, 0, time.UTC)
	farFuture = time.Date(2099, time.January, 1, 0, 0, 0, 0, time.UTC)
	firstMade = time.Date(2023, time.January, 2, 8, 0, 0, 0, time.UTC)
)

// generate makes all documents and examples.
func generate() (*generator, error) {
	g := &generator{random: rand.NewChaCha8([32]byte([]byte(seedOfRandom)))}
	for _, example := range published() {
		if err := g.publish(example); err != nil {
			return nil, err
		}
	}
	for _, kind := range kinds() {
		for i := range kind.count {
			if _, err := g.add(kind.make(i), g.anyID(), ""); err != nil {
				return nil, err
			}
		}
	}
	return g, nil
}

// publish adds a document whose secret is shown.
func (g *generator) publish(p publishedKey) error {
	id := g.objectID()
	key, err := g.add(p.fields, id, p.key)
	if err != nil {
		return err
	}
	g.examples = append(g.examples, Example{Name: p.example, Key: key, ID: id.Hex(), Purpose: p.purpose, Asks: p.asks})
	return nil
}

// add appends one document and returns its secret: key, or a new one when key is
// empty.
func (g *generator) add(f fields, id any, key string) (string, error) {
	if key == "" {
		made, err := apikey.Generate(apikey.DefaultPrefix, g.random)
		if err != nil {
			return "", err
		}
		key = made
	}
	created := g.created()
	doc := bson.D{
		{Key: "_id", Value: id},
		{Key: "user_id", Value: g.userID()},
		{Key: "key_hash", Value: apikey.HashOf(key).Hex()},
		{Key: "key_prefix", Value: apikey.DisplayPrefix(key)},
		{Key: "name", Value: f.name},
		{Key: "scopes", Value: f.scopes},
		{Key: "expires_at", Value: orNull(f.expires)},
		{Key: "org_id", Value: f.org},
		{Key: "project_id", Value: f.project},
		{Key: "created_at", Value: created},
		{Key: "last_used", Value: g.lastUsed(created)},
		{Key: "is_active", Value: !f.disabled},
	}
	// Both spellings of "none" occur in real collections: null, and no field.
	if f.allowedIPs != nil {
		doc = append(doc, bson.E{Key: "allowed_ips", Value: f.allowedIPs})
	}
	if f.metadata != nil {
		doc = append(doc, bson.E{Key: "metadata", Value: f.metadata})
	}
	g.docs = append(g.docs, doc)
	g.number++
	return key, nil
}

// anyID alternates between the types that an _id may have.
func (g *generator) anyID() any {
	switch g.number % 8 {
	case 1:
		return fmt.Sprintf("key_%04d", g.number)
	case 3:
		return g.uuid()
	case 5:
		return int32(g.number)
	case 7:
		return int64(7_000_000_000) + int64(g.number)
	}
	return g.objectID()
}

// userID is the ID of one of 40 users. Each user has about five keys and one type of ID.
func (g *generator) userID() any {
	user := g.number % 40
	switch user % 10 {
	case 7:
		return int32(1000 + user)
	case 8:
		return bson.ObjectID{0x64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, byte(user)}
	case 9:
		return bson.Binary{Subtype: bson.TypeBinaryUUID, Data: append(make([]byte, 15), byte(user))}
	}
	return fmt.Sprintf("user_%02d", user)
}

func (g *generator) created() time.Time {
	return firstMade.Add(time.Duration(g.number) * 41 * time.Hour)
}

// lastUsed is null for a third of the keys, which have not been used.
func (g *generator) lastUsed(created time.Time) any {
	if g.number%3 == 0 {
		return nil
	}
	return created.Add(time.Duration(g.number) * time.Minute)
}

// objectID has the creation time in its first four bytes.
func (g *generator) objectID() bson.ObjectID {
	id := bson.NewObjectIDFromTimestamp(g.created())
	g.read(id[4:])
	return id
}

// uuid is of version 4 (RFC 9562).
func (g *generator) uuid() bson.Binary {
	data := make([]byte, 16)
	g.read(data)
	data[6] = data[6]&0x0f | 0x40
	data[8] = data[8]&0x3f | 0x80
	return bson.Binary{Subtype: bson.TypeBinaryUUID, Data: data}
}

// read fills p. The Read method of ChaCha8 never fails.
func (g *generator) read(p []byte) { _, _ = g.random.Read(p) }

func orNull(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t
}

// kind is a group of keys without published secrets.
type kind struct {
	count int
	make  func(i int) fields
}

// kinds create 190 documents. With the published ones there are 200.
func kinds() []kind {
	scopes := [][]string{{"orders:read"}, {"orders:read", "orders:write"}, {"reports:read"}, {}, {"users:read", "users:write", "billing:read"}}
	scope := func(i int) []string { return scopes[i%len(scopes)] }
	return []kind{
		{70, func(i int) fields { return fields{name: fmt.Sprintf("service %d", i+1), scopes: scope(i)} }},
		{20, func(i int) fields {
			return fields{name: fmt.Sprintf("partner %d", i+1), scopes: scope(i), expires: farFuture}
		}},
		{30, func(i int) fields {
			return fields{name: fmt.Sprintf("trial %d", i+1), scopes: scope(i), expires: inThePast.AddDate(0, 0, -i)}
		}},
		{20, func(i int) fields {
			return fields{name: fmt.Sprintf("revoked %d", i+1), scopes: scope(i), disabled: true}
		}},
		{15, func(i int) fields {
			return fields{name: fmt.Sprintf("org key %d", i+1), scopes: scope(i), org: orgID(i)}
		}},
		{15, func(i int) fields {
			return fields{name: fmt.Sprintf("project key %d", i+1), scopes: scope(i), org: orgID(i), project: fmt.Sprintf("project_%02d", i)}
		}},
		{10, func(i int) fields {
			return fields{name: fmt.Sprintf("office %d", i+1), scopes: scope(i), allowedIPs: []string{fmt.Sprintf("198.51.100.%d", i+1), "2001:db8:1::/48"}}
		}},
		{5, func(i int) fields { return fields{name: fmt.Sprintf("operator %d", i+1), scopes: []string{"*"}} }},
		{5, func(i int) fields {
			return fields{name: fmt.Sprintf("team %d", i+1), scopes: []string{"orders:*", "reports:read"}, metadata: bson.D{{Key: "plan", Value: "pro"}, {Key: "seats", Value: int32(i + 3)}}}
		}},
	}
}

// orgID alternates between the types that an ID may have.
func orgID(i int) any {
	switch i % 5 {
	case 1:
		return int32(500 + i)
	case 2:
		return bson.ObjectID{0x65, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, byte(i)}
	case 3:
		return bson.Binary{Subtype: bson.TypeBinaryUUID, Data: append(make([]byte, 15), byte(i))}
	}
	return fmt.Sprintf("org_%02d", i)
}

// publishedKey is a sample key whose secret is published, with requests and verdicts.
type publishedKey struct {
	example string
	purpose string
	// key is the secret. Empty: a generated one.
	key    string
	fields fields
	asks   []Ask
}

func published() []publishedKey {
	office, elsewhere := netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("192.0.2.1")
	orders := []string{"orders:read", "orders:write"}
	return []publishedKey{
		{Valid, "valid for most requests, without an expiry", "", fields{name: "checkout service", scopes: orders, metadata: bson.D{{Key: "plan", Value: "pro"}}}, []Ask{
			{Code: "VALID"}, {Scopes: orders, Code: "VALID"}, {Scopes: []string{"reports:read"}, Code: "INSUFFICIENT_PERMISSIONS"},
		}},
		{Expired, "expired in 2024", "", fields{name: "old trial", scopes: orders, expires: inThePast}, []Ask{
			{Code: "EXPIRED"}, {Scopes: orders, Code: "EXPIRED"},
		}},
		{Scoped, "may only read reports", "", fields{name: "dashboard", scopes: []string{"reports:read"}, expires: farFuture}, []Ask{
			{Scopes: []string{"reports:read"}, Code: "VALID"}, {Scopes: []string{"orders:write"}, Code: "INSUFFICIENT_PERMISSIONS"},
		}},
		{"disabled", "disabled", "", fields{name: "leaked in a log", scopes: orders, disabled: true}, []Ask{{Code: "DISABLED"}}},
		{"org", "bound to one organisation", "", fields{name: "acme", scopes: orders, org: "org_acme"}, []Ask{
			{OrgID: "org_acme", Code: "VALID"}, {OrgID: "org_other", Code: "FORBIDDEN"}, {Code: "VALID"}, {RequireOrg: true, Code: "FORBIDDEN"},
		}},
		{"project", "bound to an organisation and one of its projects", "", fields{name: "acme staging", scopes: orders, org: "org_acme", project: "project_staging"}, []Ask{
			{OrgID: "org_acme", ProjectID: "project_staging", Code: "VALID"},
			{OrgID: "org_acme", ProjectID: "project_live", Code: "FORBIDDEN"},
			{OrgID: "org_acme", Code: "VALID"},
		}},
		{"office", "allowed from two networks only", "", fields{name: "office", scopes: orders, allowedIPs: []string{"203.0.113.0/24", "2001:db8::/32"}}, []Ask{
			{IP: office, Code: "VALID"}, {IP: elsewhere, Code: "FORBIDDEN"}, {Code: "FORBIDDEN"},
		}},
		{"operator", "has every scope, by `*`", "", fields{name: "operator", scopes: []string{"*"}}, []Ask{
			{Scopes: []string{"orders:write", "users:delete"}, Code: "VALID"},
		}},
		{"orders", "has every scope that begins with `orders:`", "", fields{name: "orders team", scopes: []string{"orders:*"}}, []Ask{
			{Scopes: []string{"orders:refund"}, Code: "VALID"}, {Scopes: []string{"users:read"}, Code: "INSUFFICIENT_PERMISSIONS"},
		}},
		{"foreign", "created by another program: no prefix, no checksum", "acme-7c0f1b52-example-of-another-maker", fields{name: "imported", scopes: orders}, []Ask{
			{Scopes: orders, Code: "VALID"},
		}},
	}
}
