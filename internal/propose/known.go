package propose

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/keystore"
)

// smallCollection is up to how many bytes, by the documents read, a field without
// an index is searched in the whole collection.
const smallCollection = 64 << 20

// Known is what was found out with a known key. It contains nothing of the key
// but the beginning that all keys share.
type Known struct {
	// OK: the key was found, and its verdict is the expected one.
	OK bool
	// Lines are sentences for a person.
	Lines []string
}

func (k *Known) say(format string, args ...any) {
	k.Lines = append(k.Lines, fmt.Sprintf(format, args...))
}

// match is where the hash of the known key stands.
type match struct {
	attempt
	field string
	raw   bson.Raw
}

// keySearch looks for the document of a known key.
type keySearch struct {
	attempts
	keys  *mongo.Collection
	found *match
	// other says what else was found: a hash that keytail does not read, or one
	// that is not in a field of the root.
	other string
	// nested is the path of the hash if it is not in a field of the root.
	nested string
	// quoted: the text begins and ends with the same quotation mark.
	quoted bool
	// everywhere are the fields in which the whole collection was searched,
	// sampled those in which only the documents read were.
	everywhere, sampled []string
}

// see looks at a document of the sample.
func (k *keySearch) see(raw bson.Raw) {
	elements, _ := raw.Elements()
	for _, e := range elements {
		name := e.Key()
		if k.found != nil || name != "_id" && !nameable(name) {
			continue
		}
		found, other, ok := k.attempts.find(e.Value())
		switch {
		case ok && name == "_id":
			k.other = "its hash is _id: keytail takes the hash from another field, so copy it to one"
		case ok:
			k.found = &match{found, name, slices.Clone(raw)}
		case strings.HasPrefix(other, "the key itself") && name == "_id":
			k.other = "the _id is the key itself: store its SHA-256 in a field of its own, and give the document another _id, because keytail shows the _id of a key"
		case other != "":
			k.other = name + " holds " + other
		default:
			k.seeInside(name, e.Value())
		}
	}
}

// seeInside looks into embedded documents and arrays, from which keytail reads no
// hash.
func (k *keySearch) seeInside(path string, v bson.RawValue) {
	left := maxInside
	walk(v, path, maxDepth, &left, func(path string, v bson.RawValue) bool {
		if _, other, ok := k.attempts.find(v); ok || other != "" {
			k.nested = path
			return true
		}
		return false
	})
}

// search looks in the whole collection for a key that is not in the sample.
func (k *keySearch) search(ctx context.Context, s *sample, x *indexes) error {
	fields := slices.DeleteFunc(slices.Clone(s.fields), func(field string) bool {
		return s.count(field, func(v *value) bool { return v.kind == bson.TypeString || v.kind == bson.TypeBinary }).sum() == 0
	})
	for field := range x.leading {
		if field != "_id" && nameable(field) && !slices.Contains(fields, field) {
			fields = append(fields, field)
		}
	}
	slices.Sort(fields)
	var scanned []string
	for _, field := range fields {
		switch {
		case x.leading[field]:
			if err := k.searchIn(ctx, field); err != nil || k.found != nil {
				return err
			}
		case s.collectionBytes() > smallCollection:
			k.sampled = append(k.sampled, field)
		default:
			scanned = append(scanned, field)
		}
	}
	if scanned == nil {
		return nil
	}
	return k.searchIn(ctx, scanned...)
}

// searchIn looks in these fields by one query: without indexes, the server reads the
// collection once, and not once for each field.
func (k *keySearch) searchIn(ctx context.Context, fields ...string) error {
	k.everywhere = append(k.everywhere, fields...)
	wanted := bson.D{{Key: "$in", Value: k.values()}}
	var branches bson.A
	for _, field := range fields {
		branches = append(branches, bson.D{{Key: field, Value: wanted}})
	}
	raw, err := k.keys.FindOne(ctx, bson.D{{Key: "$or", Value: branches}}).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil
	}
	if err == nil {
		k.see(raw)
	}
	return err
}

// usable returns the match, unless what is not hashed differs from key to key.
func (k *keySearch) usable() *match {
	if k.found == nil || fixed(k.found.after) {
		return k.found
	}
	return nil
}

// verdict says what keytail would answer with the proposed mapping.
func (k *keySearch) verdict(cfg Config, s *sample, schema keystore.Schema) *Known {
	known := &Known{}
	switch {
	case k.found != nil && k.usable() == nil:
		known.say("The key was found in %s, but its hash covers only what follows character %d, and what precedes that looks different in each key: keytail leaves out a fixed beginning only.",
			k.found.field, len(k.found.after))
		return known
	case k.found == nil:
		k.notFound(known, s, len(cfg.HashSecret) > 0)
		return known
	}
	m := k.found
	known.say("The key was found in %s: %s of %s, as %s.", m.field, algorithmText[m.algorithm], m.part(), m.encoding)
	code, why := m.decide(cfg, schema)
	known.OK = code == cfg.Expect
	switch {
	case known.OK:
		known.say("With this mapping its verdict is %s, as expected.", code)
	default:
		known.say("With this mapping its verdict is %s, and %s was expected%s.", code, cfg.Expect, why)
	}
	return known
}

var algorithmText = map[apikey.HashAlgorithm]string{apikey.SHA256: "the SHA-256", apikey.HMACSHA256: "the HMAC-SHA256"}

func (a attempt) part() string {
	if a.after == "" {
		return "the whole text"
	}
	return "what follows " + a.after
}

func (k *keySearch) notFound(known *Known, s *sample, hmac bool) {
	if k.other != "" {
		known.say("The key was found, but %s.", k.other)
		return
	}
	if k.nested != "" {
		known.say("The key was found, but its hash stands in %s: keytail reads fields of the root only, so copy it to one, with one document for each key.", s.shownPath(k.nested))
		return
	}
	known.say("No document was found for this key. Tried: %s of its text, hashed by %s, in %d encodings.",
		plural(k.hashed, "part"), plural(k.algorithms, "algorithm"), len(keystore.HashEncodings()))
	if slices.Sort(k.everywhere); k.everywhere != nil {
		known.say("Searched in all documents: %s.", enumerate(k.everywhere))
	}
	if k.sampled != nil {
		known.say("Searched only in the documents read, because there is no index: %s. Give a key of one of the newest documents, or create an index.", enumerate(k.sampled))
	}
	if !hmac {
		known.say("HMAC-SHA256 was not tried: it needs --map-hash-secret-file.")
	}
	if hmac {
		known.say("HMAC-SHA256 was tried with the secret in --map-hash-secret-file: is it the right one, as the bytes that your program uses (not as hex, base64 or in quotes)?")
	}
	if k.quoted {
		known.say("The key begins and ends with a quotation mark: if that is not a part of it, leave it out.")
	}
	known.say("Is it a key of this collection? A salted hash (bcrypt, argon2) is never found.")
}

// decide returns the verdict for a request that names what the key is bound to,
// and why it is not VALID.
func (m *match) decide(cfg Config, schema keystore.Schema) (apikey.Code, string) {
	hasher, err := schema.Hasher(cfg.secretFor(m.algorithm))
	if err == nil {
		_, err = hasher.Parse(cfg.KeyPrefix, cfg.Key)
	}
	if err != nil {
		return apikey.Malformed, ": " + err.Error()
	}
	r := schema.Decode(m.raw).Record
	request := apikey.Request{OrgID: r.OrgID, ProjectID: r.ProjectID}
	if len(r.AllowedIPs) > 0 {
		request.IP = r.AllowedIPs[0].Addr()
	}
	code := apikey.Decide(&r, &request, cfg.Now)
	switch {
	case r.Defect != "":
		return code, ": " + r.Defect
	case !r.Active:
		return code, ": " + schema.Active + " says that it is off"
	case code == apikey.Expired:
		return code, ": " + schema.ExpiresAt + " was " + ago(cfg.Now.Sub(r.ExpiresAt)) + " ago"
	}
	return code, ""
}

// ago describes how long ago something was, in days if it was not today.
func ago(d time.Duration) string {
	const day = 24 * time.Hour
	if days := int(d / day); days > 0 {
		return plural(days, "day")
	}
	return d.Round(time.Second).String()
}

func enumerate(list []string) string {
	const most = 12
	if more := len(list) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), more)
	}
	return strings.Join(list, ", ")
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
