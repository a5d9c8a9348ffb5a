package propose

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/mongoclient"
	"github.com/keytail/keytail/internal/mongotest"
)

const knownText = "acme_live_Zq8mW2vKx7"

var hashSecret = []byte("a secret of the team")

// knownDocument is a document of the known key.
func knownDocument(field string, value any) bson.D {
	return bson.D{{Key: "_id", Value: "known"}, {Key: field, Value: value}, {Key: "owner", Value: "user"}, {Key: "active", Value: true}}
}

func sha(text string) apikey.Hash { return sha256.Sum256([]byte(text)) }

func mac(text string) apikey.Hash {
	h := hmac.New(sha256.New, hashSecret)
	h.Write([]byte(text))
	return apikey.Hash(h.Sum(nil))
}

// TestTheKnownKeyIsFound in each encoding, after each prefix and by each algorithm.
func TestTheKnownKeyIsFound(t *testing.T) {
	server := mongotest.StartDevmongo(t, devmongoConfig)
	for after, rest := range map[string]string{"": knownText, "acme_": "live_Zq8mW2vKx7", "acme_live_": "Zq8mW2vKx7"} {
		for algorithm, digest := range map[apikey.HashAlgorithm]func(string) apikey.Hash{apikey.SHA256: sha, apikey.HMACSHA256: mac} {
			for _, encoding := range keystore.HashEncodings() {
				t.Run(fmt.Sprintf("%s %s after %q", algorithm, encoding, after), func(t *testing.T) {
					stored := encoding.Stored(digest(rest))
					p := run(t, Config{Keys: collection(t, &server.Server, knownDocument("secret", stored)), Key: knownText, HashSecret: hashSecret, HashSecretFile: "/run/pepper"})
					s := p.Schema()
					got := []any{s.Hash, s.HashAfter, cmp.Or(s.HashAlgorithm, apikey.SHA256), s.HashStored(digest(rest)), p.OK()}
					if want := []any{"secret", after, algorithm, stored, true}; !reflect.DeepEqual(got, want) {
						t.Errorf("got %v, want %v\n%s", got, want, said(p))
					}
					mustNotShowTheKey(t, p)
				})
			}
		}
	}
}

// mustNotShowTheKey: nothing of the text behind its prefix.
func mustNotShowTheKey(t *testing.T, p *Proposal) {
	t.Helper()
	for i := range len(knownText) - len("acme_live_") - 5 {
		if part := knownText[len("acme_live_")+i:][:6]; strings.Contains(said(p), part) {
			t.Errorf("%q of the key is shown:\n%s", part, said(p))
		}
	}
}

// TestTheKnownKeyIsFoundInTheWholeCollection: by an index in a large one, and by a scan
// in a small one.
func TestTheKnownKeyIsFoundInTheWholeCollection(t *testing.T) {
	server := mongotest.StartDevmongo(t, devmongoConfig)
	keys := collection(t, &server.Server, numbered(1100, "a key number ", nothing)...)
	for range 2 {
		p := run(t, Config{Keys: keys, Key: "a-key-number"})
		mustSay(t, p, "No document was found for this key", "Searched in all documents: hash, owner")
		if p.OK() {
			t.Error("OK")
		}
		index(t, keys, "hash")
	}
	if _, err := keys.UpdateOne(t.Context(), bson.D{{Key: "_id", Value: "00000550"}}, bson.D{{Key: "$set", Value: bson.D{{Key: "hash", Value: hexHash(knownText)}}}}); err != nil {
		t.Fatal(err)
	}
	if p := run(t, Config{Keys: keys, Key: knownText}); !p.OK() {
		t.Errorf("not found:\n%s", said(p))
	}
}

// TestAFieldWithoutAnIndexIsNotScanned in a collection that is not small: there is no
// collection here to search in.
func TestAFieldWithoutAnIndexIsNotScanned(t *testing.T) {
	s := sampleOf(t, numbered(10, "text ", nothing)...)
	s.total, s.bytes = 1_000_000, 10_000
	search := keySearch{attempts: attemptsFor(knownText, nil)}
	if err := search.search(t.Context(), s, &indexes{}); err != nil {
		t.Fatal(err)
	}
	said := strings.Join(search.verdict(Config{}, s, keystore.Schema{}).Lines, " ")
	for _, words := range []string{"Searched only in the documents read, because there is no index: hash, owner", "HMAC-SHA256 was not tried"} {
		if !strings.Contains(said, words) {
			t.Errorf("%q is not said: %s", words, said)
		}
	}
}

// TestAKnownKeyThatKeytailCannotUseIsExplained.
func TestAKnownKeyThatKeytailCannotUseIsExplained(t *testing.T) {
	long := sha512.Sum512([]byte(knownText))
	uuid := "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
	mongotest.Each(t, func(t *testing.T, server *mongotest.Server) {
		for words, c := range map[string]struct {
			document bson.D
			key      string
		}{
			"token holds the key itself: replace it by its SHA-256":                          {knownDocument("token", knownText), knownText},
			"token holds SHA-512 of the key, and keytail reads SHA-256":                      {knownDocument("token", hex.EncodeToString(long[:])), knownText},
			"its hash stands in the embedded documents of services: keytail reads fields of": {knownDocument("services", bson.D{{Key: "tokens", Value: bson.A{bson.D{{Key: "hash", Value: hexHash(knownText)}}}}}), knownText},
			"its hash is _id: keytail takes the hash from another field":                     {bson.D{{Key: "_id", Value: hexHash(knownText)}, {Key: "owner", Value: "u"}, {Key: "active", Value: true}}, knownText},
			"the _id is the key itself: store its SHA-256 in a field of its own, and give":   {bson.D{{Key: "_id", Value: knownText}, {Key: "owner", Value: "u"}, {Key: "active", Value: true}}, knownText},
			"its hash covers only what follows character 9, and what precedes that looks":    {knownDocument("token", hexHash(uuid[9:])), uuid},
			"verdict is MALFORMED, and VALID was expected: this is not a key: its checksum":  {knownDocument("token", hexHash(badChecksum)), badChecksum},
			"verdict is DISABLED, and VALID was expected: active says that it is off":        {append(knownDocument("token", hexHash(knownText))[:3], bson.E{Key: "active", Value: false}), knownText},
			"verdict is EXPIRED, and VALID was expected: expires was 2 days ago":             {append(knownDocument("token", hexHash(knownText)), bson.E{Key: "expires", Value: when.Add(-48 * time.Hour)}), knownText},
		} {
			t.Run(words, func(t *testing.T) {
				p := run(t, Config{Keys: collection(t, server, c.document), Key: c.key, Now: when})
				mustSay(t, p, words)
				mustNotShowTheKey(t, p)
				if p.OK() || strings.Contains(said(p), uuid[:8]) {
					t.Errorf("OK %v:\n%s", p.OK(), said(p))
				}
			})
		}
	})
}

// badChecksum is a key of keytail's own format, with a wrong checksum.
var badChecksum = "kt_" + strings.Repeat("0", 49)

// TestTheExpectedVerdictCanBeAnother: a key that is known to be off shows that the switch
// is read.
func TestTheExpectedVerdictCanBeAnother(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, server *mongotest.Server) {
		off := append(knownDocument("token", base64.StdEncoding.EncodeToString(raw(knownText)))[:3], bson.E{Key: "isRevoked", Value: true})
		off[1].Value = hexHash(knownText)
		p := run(t, Config{Keys: collection(t, server, off), Key: knownText, Expect: apikey.Disabled})
		if !p.OK() {
			t.Errorf("got %s", said(p))
		}
		mustSay(t, p, "With this mapping its verdict is DISABLED, as expected")
	})
}

// TestAKeyThatIsBoundIsValid for a request that it is for.
func TestAKeyThatIsBoundIsValid(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, server *mongotest.Server) {
		bound := append(knownDocument("token", hexHash(knownText)),
			bson.E{Key: "org_id", Value: "acme"}, bson.E{Key: "project_id", Value: 7}, bson.E{Key: "allowed_ips", Value: bson.A{"192.0.2.0/24"}})
		if p := run(t, Config{Keys: collection(t, server, bound), Key: knownText}); !p.OK() {
			t.Errorf("got %s", said(p))
		}
	})
}

// TestTheOtherDocumentsDecideOnTheEncoding: the hash of the known key is the same text in
// base64 and in base64url.
func TestTheOtherDocumentsDecideOnTheEncoding(t *testing.T) {
	var text string
	for i := 0; ; i++ {
		text = fmt.Sprint(knownText, i)
		if !strings.ContainsAny(fmt.Sprint(keystore.HashBase64URL.Stored(sha(text))), "-_") {
			break
		}
	}
	server := mongotest.StartDevmongo(t, devmongoConfig)
	documents := []bson.D{knownDocument("hash", keystore.HashBase64URL.Stored(sha(text)))}
	for i := range 20 {
		d := knownDocument("hash", keystore.HashBase64URL.Stored(sha(fmt.Sprint(i))))
		d[0].Value = i
		documents = append(documents, d)
	}
	p := run(t, Config{Keys: collection(t, &server.Server, documents...), Key: text})
	if got := settings(p, "map_hash"); got != "hash base64url" || !p.OK() {
		t.Errorf("got %q\n%s", got, said(p))
	}
}

// TestAQueryHasHashesOnly: a server can log a query.
func TestAQueryHasHashesOnly(t *testing.T) {
	all := attemptsFor(knownText, hashSecret)
	if n := len(all.values()); n < 3*2*3 {
		t.Errorf("got %d values, want three parts by two algorithms in three alphabets at least", n)
	}
	for _, value := range all.values() {
		if text, ok := value.(string); ok && strings.Contains(text, knownText[5:]) {
			t.Error("a query has the key")
		}
	}
}

// TestAKeyThatIsNotFound: the operator hears what else could be wrong, and that the
// hashes may not be those of the keys.
func TestAKeyThatIsNotFound(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, server *mongotest.Server) {
		keys := collection(t, server, knownDocument("token", hexHash("another key")))
		p := run(t, Config{Keys: keys, Key: `"` + knownText + `"`, HashSecret: []byte("a secret of some bytes"), HashSecretFile: "pepper"})
		mustSay(t, p, "the known key was not found, so this may be another field, or another kind of hash",
			"The key begins and ends with a quotation mark", "HMAC-SHA256 was tried with the secret in --map-hash-secret-file: is it the right one")
		mustNotShowTheKey(t, p)
		p = run(t, Config{Keys: keys, Key: knownText})
		if said := said(p); p.OK() || strings.Contains(said, "quotation") || strings.Contains(said, "was tried with the secret") || strings.Contains(said, "give a known key") {
			t.Errorf("OK %v:\n%s", p.OK(), said)
		}
	})
}

// TestAHashedIndexIsSearched: a shard key is often one. It finds values by equality.
func TestAHashedIndexIsSearched(t *testing.T) {
	x := indexes{map[string]bool{}, map[string]bool{}}
	for field, kind := range map[string]any{"secret": "hashed", "notes": "text", "tenant": 1} {
		raw, err := bson.Marshal(bson.D{{Key: "key", Value: bson.D{{Key: field, Value: kind}}}})
		if err != nil {
			t.Fatal(err)
		}
		x.add(raw)
	}
	if !x.leading["secret"] || !x.leading["tenant"] || x.leading["notes"] || x.unique["secret"] {
		t.Errorf("got %+v", x)
	}
}

// TestFieldsWithoutAnIndexAreSearchedTogether: the server reads the collection once.
func TestFieldsWithoutAnIndexAreSearchedTogether(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, server *mongotest.Server) {
		keys := collection(t, server, numbered(1001, "a key number ", func(i int) bson.D {
			return bson.D{{Key: "name", Value: fmt.Sprint("name ", i)}, {Key: "tenant", Value: "acme"}}
		})...)
		if _, err := keys.UpdateOne(t.Context(), bson.D{{Key: "_id", Value: "00000500"}}, bson.D{{Key: "$set", Value: bson.D{{Key: "hash", Value: hexHash(knownText)}}}}); err != nil {
			t.Fatal(err)
		}
		searches := 0
		watched := server.Connect(t, server.Options("").SetMonitor(&event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
			if filter, ok := e.Command.Lookup("filter").DocumentOK(); ok && e.CommandName == "find" && len(filter) > 5 {
				searches++
			}
		}}))
		again := mongoclient.Database(watched, keys.Database().Name()).Collection(keys.Name())
		if p := run(t, Config{Keys: again, Key: knownText}); !p.OK() || searches != 1 {
			t.Errorf("OK %v by %d searches:\n%s", p.OK(), searches, said(p))
		}
		p := run(t, Config{Keys: again, Key: "a-key-number"})
		mustSay(t, p, "Searched in all documents: hash, name, owner, tenant")
		if searches != 2 {
			t.Errorf("%d searches", searches)
		}
	})
}

// TestAMissingPrivilegeIsNamed, and one on another collection stops nothing.
func TestAMissingPrivilegeIsNamed(t *testing.T) {
	server := mongotest.StartDevmongo(t, devmongoConfig)
	keys := collection(t, &server.Server, numbered(3, "text ", nothing)...)
	refuse := func(mode any, command string) {
		t.Helper()
		failPoint := bson.D{{Key: "configureFailPoint", Value: "failCommand"}, {Key: "mode", Value: mode}, {Key: "data", Value: bson.D{{Key: "failCommands", Value: bson.A{command}}, {Key: "errorCode", Value: 13}}}}
		if err := keys.Database().Client().Database("admin").RunCommand(t.Context(), failPoint).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, command := range []string{"listIndexes", "find", "count"} {
		refuse("alwaysOn", command)
		_, err := Run(t.Context(), Config{Keys: keys})
		if words := `is not allowed: grant the user of the connection string find and listIndexes on collection "keys"`; err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("without %s: %v", command, err)
		}
	}
	found, err := Collections(t.Context(), keys.Database())
	if err != nil || found.Describe() != ", such as keys (which this user may not read)" {
		t.Errorf("without find: %q, %v", found.Describe(), err)
	}
	refuse("alwaysOn", "listCollections")
	if _, err := Collections(t.Context(), keys.Database()); err == nil || !strings.Contains(err.Error(), "grant the user of the connection string find and listIndexes") {
		t.Errorf("without any privilege: %v", err)
	}
	refuse("off", "ping")
}

// A malformed string or binary value is none, and ends no search. The driver's accessors panic on them.
// (MongoDB stores a binary value of subtype 2 whatever its inner length is.)
func TestAMalformedValueIsNoHash(t *testing.T) {
	t.Parallel()
	all := attemptsFor(knownText, nil)
	for _, v := range []bson.RawValue{
		{Type: bson.TypeString, Value: make([]byte, 5)},
		{Type: bson.TypeBinary, Value: []byte{2, 0, 0, 0, bson.TypeBinaryBinaryOld, 7, 7}},
	} {
		if found, other, ok := all.find(v); ok || other != "" {
			t.Errorf("%v: got %+v %q", v.Type, found, other)
		}
	}
}
