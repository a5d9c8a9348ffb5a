package keystore

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/mongotest"
)

// valuesAround are values of a hash field that contain h, or something similar,
// in every way that a BSON type allows.
func valuesAround(e HashEncoding, h apikey.Hash) map[string]any {
	values := map[string]any{"missing": nil, "null": bson.Null{}, "number": 7, "boolean": true, "bcrypt": "$2b$12$" + strings.Repeat("x", 53), "empty array": bson.A{}}
	for _, other := range HashEncodings() {
		values[string(other)] = other.stored(h)
	}
	for subtype := range byte(6) {
		values[fmt.Sprintf("binary of subtype %d", subtype)] = bson.Binary{Subtype: subtype, Data: h[:]}
	}
	own := e.stored(h)
	if text, ok := own.(string); ok {
		values["symbol"] = bson.Symbol(text)
		values["code"] = bson.JavaScript(text)
		values["symbol in an array"] = bson.A{bson.Symbol(text)}
		values["regular expression"] = bson.Regex{Pattern: text}
		values["with a zero byte"] = text + "\x00"
		values["with a space"] = " " + text
	}
	values["array"] = bson.A{7, own, "other"}
	values["array with it twice"] = bson.A{own, own}
	values["array in an array"] = bson.A{bson.A{own}}
	values["document"] = bson.D{{Key: "0", Value: own}}
	values["document in an array"] = bson.A{bson.D{{Key: "0", Value: own}}}
	return values
}

// If a lookup finds a document by a hash, Decode lists that hash.
func TestEveryHashThatALookupMatchesIsListed(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		for i, e := range HashEncodings() {
			f := newFixture(t, s)
			f.schema.HashEncoding = e
			h := apikey.HashOf(fmt.Sprint("key ", i))
			for name, value := range valuesAround(e, h) {
				document := bson.D{{Key: "_id", Value: "d"}, {Key: "user_id", Value: "u"}, {Key: "is_active", Value: true}}
				if value != nil {
					document = append(document, bson.E{Key: "key_hash", Value: value})
				}
				found, listedCollection := f.looksUp(t, document, h)
				if found && !listedCollection {
					t.Errorf("%s, %s: a lookup finds it, and the hash is not listedCollection", e, name)
				}
				if listedCollection && !found {
					t.Errorf("%s, %s: no lookup finds it, and the hash is listedCollection", e, name)
				}
			}
		}
	})
}

// looksUp writes the document and reports whether a lookup finds it by h, and
// whether Decode lists h.
func (f fixture) looksUp(t *testing.T, document bson.D, h apikey.Hash) (found, listedCollection bool) {
	t.Helper()
	one := bson.D{{Key: "_id", Value: "d"}}
	if _, err := f.keys.ReplaceOne(testContext(t), one, document, options.Replace().SetUpsert(true)); err != nil {
		t.Fatal(err)
	}
	_, found, err := f.FindLinearizable(testContext(t), h)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := f.linearizable.FindOne(testContext(t), one).Raw()
	if err != nil {
		t.Fatal(err)
	}
	d := f.schema.Decode(raw)
	return found, d.HasHash && d.Hash == h || slices.Contains(d.OtherHashes, h)
}

func TestHashesOfADocument(t *testing.T) {
	t.Parallel()
	schema := DefaultSchema()
	a, b := apikey.HashOf("a"), apikey.HashOf("b")
	many := bson.A{}
	for i := range MaxHashes + 1 {
		many = append(many, apikey.HashOf(fmt.Sprint(i)).Hex())
	}
	for _, c := range []struct {
		name           string
		fields         bson.D
		has            bool
		others         []apikey.Hash
		opaque, nobody bool
	}{
		{name: "none", fields: bson.D{}, nobody: true},
		{name: "foreign", fields: bson.D{{Key: "key_hash", Value: "x"}}, nobody: true},
		{name: "one", fields: bson.D{{Key: "key_hash", Value: a.Hex()}}, has: true},
		{name: "array", fields: bson.D{{Key: "key_hash", Value: bson.A{a.Hex(), 7, b.Hex()}}}, others: []apikey.Hash{a, b}},
		{name: "array of none", fields: bson.D{{Key: "key_hash", Value: bson.A{7, "x"}}}, nobody: true},
		{name: "twice", fields: bson.D{{Key: "key_hash", Value: a.Hex()}, {Key: "key_hash", Value: b.Hex()}}, has: true, others: []apikey.Hash{b}},
		{name: "twice, first foreign", fields: bson.D{{Key: "key_hash", Value: "x"}, {Key: "key_hash", Value: b.Hex()}}, others: []apikey.Hash{b}},
		{name: "as many as are tracked", fields: bson.D{{Key: "key_hash", Value: many[1:]}}, others: make([]apikey.Hash, MaxHashes)},
		{name: "too many", fields: bson.D{{Key: "key_hash", Value: many}}, others: make([]apikey.Hash, MaxHashes+1), opaque: true},
	} {
		raw, err := bson.Marshal(c.fields)
		if err != nil {
			t.Fatal(err)
		}
		d := schema.Decode(raw)
		if d.HasHash != c.has || len(d.OtherHashes) != len(c.others) || d.MoreHashes != c.opaque || d.Unfindable() != c.nobody {
			t.Errorf("%s: got hash %v, %d others, more hashes %v, unfindable %v", c.name, d.HasHash, len(d.OtherHashes), d.MoreHashes, d.Unfindable())
		}
		if len(c.others) < 3 && !slices.Equal(d.OtherHashes, c.others) {
			t.Errorf("%s: other hashes", c.name)
		}
	}
	if d := schema.Decode(bson.Raw("no BSON")); !d.MoreHashes || d.Unfindable() {
		t.Error("the list of hashes of invalid BSON is reported as complete")
	}
}
