package changestream

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/keystore"
)

var schema = keystore.DefaultSchema()

// own is the _id of this instance's heartbeats.
const own = "host/boot"

// raw builds an event on the keys' collection; more fields replace those of the
// same name.
func raw(t *testing.T, kind string, more ...bson.E) bson.Raw {
	t.Helper()
	event := bson.D{
		{Key: "_id", Value: bson.D{{Key: "_data", Value: "82"}}},
		{Key: "operationType", Value: kind},
		{Key: "clusterTime", Value: bson.Timestamp{T: 7, I: 3}},
		{Key: "ns", Value: bson.D{{Key: "db", Value: "db"}, {Key: "coll", Value: schema.Collection}}},
		{Key: "documentKey", Value: bson.D{{Key: "_id", Value: "d1"}}},
	}
	for _, e := range more {
		event = set(event, e)
	}
	b, err := bson.Marshal(event)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func set(d bson.D, e bson.E) bson.D {
	for i := range d {
		if d[i].Key == e.Key {
			if e.Value == nil {
				return append(d[:i:i], d[i+1:]...)
			}
			d[i] = e
			return d
		}
	}
	return append(d, e)
}

func described(updated bson.D, removed bson.A, truncated bson.A) bson.E {
	d := bson.D{{Key: "updatedFields", Value: updated}, {Key: "removedFields", Value: removed}}
	if truncated != nil {
		d = append(d, bson.E{Key: "truncatedArrays", Value: truncated})
	}
	return bson.E{Key: "updateDescription", Value: d}
}

func keyDocument(hash apikey.Hash) bson.D {
	return bson.D{
		{Key: "_id", Value: "d1"},
		{Key: "key_hash", Value: hash.Hex()},
		{Key: "user_id", Value: "u1"},
		{Key: "is_active", Value: true},
	}
}

func interpretRaw(t *testing.T, b bson.Raw) (effect, error) {
	t.Helper()
	e, err := decodeEvent(b)
	if err != nil {
		return effect{}, err
	}
	return newInterpreter(&schema, own).interpret(&e)
}

func TestChangesOfADocument(t *testing.T) {
	hash := apikey.HashOf("some key text")
	id := schema.ID(bson.RawValue{Type: bson.TypeString, Value: append([]byte{3, 0, 0, 0}, "d1\x00"...)})
	none, second := bson.A{}, apikey.HashOf("another key text")
	inserted := func(value any) bson.Raw {
		d := keyDocument(hash)
		return raw(t, "insert", bson.E{Key: "fullDocument", Value: set(d, bson.E{Key: "key_hash", Value: value})})
	}
	insertedTwice := raw(t, "insert", bson.E{Key: "fullDocument", Value: append(keyDocument(hash), bson.E{Key: "key_hash", Value: second.Hex()})})
	updated := func(path string, value any) bson.Raw {
		return raw(t, "update", described(bson.D{{Key: path, Value: value}}, none, nil))
	}
	many, manyHashes := bson.A{}, []apikey.Hash{}
	for i := range keystore.MaxHashes + 1 {
		h := apikey.HashOf(strconv.Itoa(i))
		many, manyHashes = append(many, h.Hex()), append(manyHashes, h)
	}
	cases := []struct {
		name    string
		event   bson.Raw
		ignored bool
		hash    bool
		hashes  []apikey.Hash
		record  bool
		refresh bool
		broken  bool
	}{
		{name: "insert", event: raw(t, "insert", bson.E{Key: "fullDocument", Value: keyDocument(hash)}), hash: true, record: true},
		{name: "replace", event: raw(t, "replace", bson.E{Key: "fullDocument", Value: keyDocument(hash)}), hash: true, record: true},
		{name: "insert of no key", event: inserted(nil)},
		{name: "insert with a null hash", event: inserted(bson.Null{})},
		{name: "insert with a number for a hash", event: inserted(7)},
		{name: "insert with a document for a hash", event: inserted(bson.D{{Key: "0", Value: hash.Hex()}})},
		{name: "insert with a bcrypt hash", event: inserted("$2b$12$" + strings.Repeat("x", 53))},
		{name: "insert with a hash in another encoding", event: inserted(strings.ToUpper(hash.Hex()))},
		{name: "insert with the bytes of a hash", event: inserted(hash[:])},
		{name: "insert with hashes in an array", event: inserted(bson.A{hash.Hex(), 7, bson.A{second.Hex()}, second.Hex()}), hashes: []apikey.Hash{hash, second}},
		{name: "insert with a symbol", event: inserted(bson.Symbol(hash.Hex())), hashes: []apikey.Hash{hash}},
		{name: "insert with two hash fields", event: insertedTwice, hash: true, record: true, hashes: []apikey.Hash{second}},
		{name: "insert with too many hashes", event: inserted(many), hashes: manyHashes, broken: true},
		{name: "insert with a million other elements", event: inserted(slices.Repeat(bson.A{7}, 1_000_000))},
		{name: "delete", event: raw(t, "delete")},
		{name: "update", event: raw(t, "update", described(bson.D{{Key: "is_active", Value: false}}, none, nil)), refresh: true},
		{name: "update that sets the hash", event: updated("key_hash", hash.Hex()), refresh: true, hashes: []apikey.Hash{hash}},
		{name: "update that sets a foreign hash", event: updated("key_hash", "$2b$12$x"), refresh: true},
		{name: "update that sets a number for a hash", event: updated("key_hash", 7), refresh: true},
		{name: "update that sets an array", event: updated("key_hash", bson.A{hash.Hex(), second.Hex()}), refresh: true, hashes: []apikey.Hash{hash, second}},
		{name: "update that sets an element", event: updated("key_hash.0", hash.Hex()), refresh: true, hashes: []apikey.Hash{hash}},
		{name: "update that sets an element to a symbol", event: updated("key_hash.0", bson.Symbol(hash.Hex())), refresh: true, hashes: []apikey.Hash{hash}},
		{name: "update inside the hash", event: updated("key_hash.x", 7), refresh: true},
		{name: "update that shortens the hash", event: raw(t, "update", described(bson.D{}, none, bson.A{bson.D{{Key: "field", Value: "key_hash"}, {Key: "newSize", Value: 1}}})), refresh: true},
		{name: "update that sets too many hashes", event: updated("key_hash", many), refresh: true, hashes: manyHashes, broken: true},
		{name: "update of another field that begins like it", event: updated("key_hash_old", hash.Hex()), ignored: true},
		{name: "update of a field that is not mapped", event: updated("plan", "pro"), ignored: true},
		{name: "update of a field that is mapped and decides nothing", event: updated("key_prefix", "kt_"), ignored: true},
		{name: "update inside the metadata", event: updated("metadata.team", "a"), refresh: true},
		{name: "update of a field that is not mapped, and an array shortened", event: raw(t, "update", described(bson.D{{Key: "plan", Value: 1}}, none, bson.A{bson.D{{Key: "field", Value: "metadata.list"}}})), refresh: true},
		{name: "update that unsets", event: raw(t, "update", described(bson.D{}, bson.A{"expires_at"}, nil)), refresh: true},
		{name: "update of nothing", event: raw(t, "update", described(bson.D{}, none, nil)), refresh: true},
		{name: "update inside an array", event: raw(t, "update", described(bson.D{{Key: "scopes.1", Value: "a"}}, none, nil)), refresh: true},
		{name: "truncated array", event: raw(t, "update", described(bson.D{}, none, bson.A{bson.D{{Key: "field", Value: "scopes"}, {Key: "newSize", Value: 1}}})), refresh: true},
		{name: "last_used", event: raw(t, "update", described(bson.D{{Key: "last_used", Value: 1}}, none, nil)), ignored: true},
		{name: "last_used and usage_count, nested", event: raw(t, "update", described(bson.D{{Key: "last_used.at", Value: 1}}, bson.A{"usage_count"}, nil)), ignored: true},
		{name: "last_used with another", event: raw(t, "update", described(bson.D{{Key: "last_used", Value: 1}, {Key: "is_active", Value: false}}, none, nil)), refresh: true},
		{name: "last_used and a truncated array", event: raw(t, "update", described(bson.D{{Key: "last_used", Value: 1}}, none, bson.A{bson.D{{Key: "field", Value: "scopes"}}})), refresh: true},
		{name: "replace that changes a field that is not mapped", event: raw(t, "replace", bson.E{Key: "fullDocument", Value: append(keyDocument(hash), bson.E{Key: "plan", Value: "pro"})}), hash: true, record: true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m, err := interpretRaw(t, c.event)
			if err != nil || m.loss != nil {
				t.Fatalf("got %v, %v", m.loss, err)
			}
			if c.ignored {
				if m.change != nil {
					t.Fatalf("not ignored: %+v", m.change)
				}
				return
			}
			if m.change == nil {
				t.Fatal("ignored")
			}
			if m.change.ID != id || m.change.Time != clustertime.New(7, 3) {
				t.Errorf("got id %q at %v", m.change.ID, m.change.Time)
			}
			if m.change.HasHash != c.hash || (c.hash && m.change.Hash != hash) {
				t.Errorf("hash: got %v", m.change.HasHash)
			}
			if !slices.Equal(m.change.Hashes, c.hashes) {
				t.Errorf("got %d further hashes, want %d", len(m.change.Hashes), len(c.hashes))
			}
			if m.change.Unreadable != c.broken {
				t.Errorf("unreadable: got %v", m.change.Unreadable)
			}
			if (m.change.Record != nil) != c.record || m.change.Refresh != c.refresh {
				t.Errorf("got record %v, refresh %v", m.change.Record, m.change.Refresh)
			}
		})
	}
}

func TestEventsThatAreLosses(t *testing.T) {
	namespace := func(collection string) bson.E {
		return bson.E{Key: "ns", Value: bson.D{{Key: "db", Value: "db"}, {Key: "coll", Value: collection}}}
	}
	to := func(collection string) bson.E {
		return bson.E{Key: "to", Value: bson.D{{Key: "db", Value: "db"}, {Key: "coll", Value: collection}}}
	}
	noNamespace := bson.E{Key: "ns", Value: bson.D{{Key: "db", Value: "db"}}}
	cases := []struct {
		name  string
		event bson.Raw
		want  Reason
	}{
		{"drop", raw(t, "drop"), reasonDrop},
		{"drop of another", raw(t, "drop", namespace("other")), ""},
		{"renamed away", raw(t, "rename", to("other")), reasonRename},
		{"renamed onto", raw(t, "rename", namespace("tmp.agg_out.1"), to(schema.Collection)), reasonRename},
		{"rename of others", raw(t, "rename", namespace("a"), to("b")), ""},
		{"dropDatabase", raw(t, "dropDatabase", noNamespace), reasonDropDatabase},
		{"invalidate", raw(t, "invalidate", bson.E{Key: "ns"}), reasonInvalidate},
		{"unknown type", raw(t, "reshapeCollection"), reasonUnknownType},
		{"unknown type on another", raw(t, "reshapeCollection", namespace("other")), ""},
		{"unknown type onto the collection", raw(t, "reshapeCollection", namespace("other"), to(schema.Collection)), reasonUnknownType},
		{"unknown type on no collection", raw(t, "reshapeDatabase", noNamespace), reasonUnknownType},
		{"insert into another", raw(t, "insert", namespace("other")), ""},
		{"namespace of a type", raw(t, "insert", bson.E{Key: "ns", Value: bson.D{{Key: "coll", Value: 1}}}), reasonUnknownType},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m, err := interpretRaw(t, c.event)
			if err != nil || m.change != nil {
				t.Fatalf("got %+v, %v", m.change, err)
			}
			if got := reasonOf(m.loss); got != c.want {
				t.Fatalf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestHeartbeatsOfThisInstance(t *testing.T) {
	from := func(id any) []bson.E {
		return []bson.E{
			{Key: "ns", Value: bson.D{{Key: "db", Value: "db"}, {Key: "coll", Value: HeartbeatCollection}}},
			{Key: "documentKey", Value: bson.D{{Key: "_id", Value: id}}},
		}
	}
	full := func(n any) bson.E { return bson.E{Key: "fullDocument", Value: bson.D{{Key: "n", Value: n}}} }
	sets := func(fields bson.D) bson.E { return described(fields, bson.A{}, nil) }
	renamed := bson.E{Key: "to", Value: bson.D{{Key: "db", Value: "db"}, {Key: "coll", Value: schema.Collection}}}
	cases := []struct {
		name  string
		event bson.Raw
		nonce int64
		loss  Reason
	}{
		{name: "insert", event: raw(t, "insert", append(from(own), full(int64(3)))...), nonce: 3},
		{name: "replace", event: raw(t, "replace", append(from(own), full(int64(3)))...), nonce: 3},
		{name: "update", event: raw(t, "update", append(from(own), sets(bson.D{{Key: "n", Value: int64(3)}}))...), nonce: 3},
		{name: "of another number type", event: raw(t, "update", append(from(own), sets(bson.D{{Key: "n", Value: 3.0}}))...), nonce: 3},
		{name: "update with a document looked up", event: raw(t, "update", append(from(own), full(int64(9)), sets(bson.D{{Key: "n", Value: int64(3)}}))...), nonce: 3},
		{name: "update of something else", event: raw(t, "update", append(from(own), sets(bson.D{{Key: "x", Value: 3}}))...)},
		{name: "nonce that is no number", event: raw(t, "insert", append(from(own), full("3"))...)},
		{name: "of an older boot", event: raw(t, "insert", append(from("host/older"), full(int64(3)))...)},
		{name: "of an _id that is no text", event: raw(t, "insert", append(from(3), full(int64(3)))...)},
		{name: "in the keys' collection", event: raw(t, "delete", bson.E{Key: "documentKey", Value: bson.D{{Key: "_id", Value: own}}})},
		{name: "deleted", event: raw(t, "delete", from(own)...)},
		{name: "collection dropped", event: raw(t, "drop", from(own)...)},
		{name: "an unknown type", event: raw(t, "reshapeCollection", from(own)...)},
		{name: "insert without a document", event: raw(t, "insert", from(own)...)},
		{name: "renamed onto the keys", event: raw(t, "rename", append(from(own), renamed)...), loss: reasonRename},
	}
	for _, c := range cases {
		m, err := interpretRaw(t, c.event)
		if err != nil || m.nonce != c.nonce || reasonOf(m.loss) != c.loss {
			t.Errorf("%s: got nonce %d, loss %v, %v", c.name, m.nonce, m.loss, err)
		}
	}
}

// shortened returns the event with an embedded document that claims to be shorter than its own length.
// The driver passes such an event on: it validates the batch and not the events in it.
func shortened(t *testing.T, event bson.Raw, document string) bson.Raw {
	t.Helper()
	head := "\x03" + document + "\x00"
	at := bytes.Index(event, []byte(head))
	if at < 0 {
		t.Fatalf("the event has no %s", document)
	}
	clear(event[at+len(head):][:4])
	return event
}

func reasonOf(loss *lossError) Reason {
	if loss == nil {
		return ""
	}
	return loss.reason
}

func TestEventsThatCannotBeDecoded(t *testing.T) {
	secret, harmless := "a value that must not be quoted", bson.D{{Key: "plan", Value: "pro"}}
	type part = struct {
		name  string
		value any
	}
	parts := func(all ...part) bson.E {
		var d bson.D
		for _, p := range all {
			d = append(d, bson.E{Key: p.name, Value: p.value})
		}
		return bson.E{Key: "updateDescription", Value: d}
	}
	cases := map[string]bson.Raw{
		"no operationType":         raw(t, "insert", bson.E{Key: "operationType"}),
		"operationType of a type":  raw(t, "insert", bson.E{Key: "operationType", Value: 1}),
		"no clusterTime":           raw(t, "insert", bson.E{Key: "clusterTime"}),
		"no documentKey":           raw(t, "delete", bson.E{Key: "documentKey"}),
		"insert without document":  raw(t, "insert"),
		"document of another type": raw(t, "insert", bson.E{Key: "fullDocument", Value: secret}),
		"update without parts":     raw(t, "update"),
		"removedFields of numbers": raw(t, "update", described(bson.D{}, bson.A{1}, nil)),
		"truncated without field":  raw(t, "update", described(bson.D{}, bson.A{}, bson.A{bson.D{}})),
		"truncated of text":        raw(t, "update", described(bson.D{}, bson.A{}, bson.A{secret})),
		// Each of them would be an update of a field that does not decide, or of no document.
		"removedFields of a type":   raw(t, "update", parts(part{partUpdated, harmless}, part{partRemoved, secret})),
		"truncatedArrays of a type": raw(t, "update", parts(part{partUpdated, harmless}, part{partTruncated, secret})),
		"updatedFields of a type":   raw(t, "update", parts(part{partUpdated, secret}, part{partRemoved, bson.A{"plan"}})),
		"updatedFields twice":       raw(t, "update", parts(part{partUpdated, harmless}, part{partUpdated, bson.D{{Key: "is_active", Value: false}}})),
		"updatedFields too short":   raw(t, "update", parts(part{partUpdated, bson.RawValue{Type: bson.TypeEmbeddedDocument, Value: []byte{4, 0, 0, 0}}}, part{partRemoved, bson.A{"plan"}})),
		"symbol without length":     raw(t, "delete", bson.E{Key: "documentKey", Value: bson.D{{Key: "_id", Value: bson.RawValue{Type: bson.TypeSymbol, Value: make([]byte, 5)}}}}),
		"namespace that is short":   shortened(t, raw(t, "insert"), "ns"),
		"documentKey that is short": shortened(t, raw(t, "delete"), "documentKey"),
		"target that is short":      shortened(t, raw(t, "rename", bson.E{Key: "to", Value: bson.D{{Key: "coll", Value: "b"}}}), "to"),
		"rename onto a number":      raw(t, "rename", bson.E{Key: "ns", Value: bson.D{{Key: "coll", Value: "other"}}}, bson.E{Key: "to", Value: bson.D{{Key: "coll", Value: 1}}}),
	}
	for name, event := range cases {
		cannotBeDecoded(t, name, event, secret)
	}
}

// cannotBeDecoded expects an error that does not have the secret, and no panic.
func cannotBeDecoded(t *testing.T, name string, event bson.Raw, secret string) {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			t.Errorf("%s: panic: %v", name, p)
		}
	}()
	switch m, err := interpretRaw(t, event); {
	case err == nil:
		t.Errorf("%s: got %+v", name, m)
	case strings.Contains(err.Error(), secret):
		t.Errorf("%s: the error quotes the document: %v", name, err)
	}
}

func FuzzDecodeEvent(f *testing.F) {
	f.Add([]byte{5, 0, 0, 0, 0})
	seed, _ := bson.Marshal(bson.D{
		{Key: "operationType", Value: "update"},
		{Key: "clusterTime", Value: bson.Timestamp{T: 1}},
		{Key: "ns", Value: bson.D{{Key: "coll", Value: "api_keys"}}},
		{Key: "documentKey", Value: bson.D{{Key: "_id", Value: 1}}},
		{Key: "updateDescription", Value: bson.D{{Key: "updatedFields", Value: bson.D{{Key: "a", Value: 1}}}, {Key: "removedFields", Value: bson.A{"b"}}}},
	})
	f.Add(seed)
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := decodeEvent(data)
		if err != nil {
			return
		}
		if m, err := newInterpreter(&schema, own).interpret(&e); err == nil && m.change != nil && m.loss != nil {
			t.Fatal("both a change and a loss")
		}
	})
}

// TestUpdatesThatRefuseAKey: an event that shows all of its change, and nothing but the switch off.
func TestUpdatesThatRefuseAKey(t *testing.T) {
	off, none := bson.E{Key: "is_active", Value: false}, bson.A{}
	unknown := described(bson.D{off}, none, nil)
	unknown.Value = append(unknown.Value.(bson.D), bson.E{Key: "replacedParts", Value: none})
	for _, c := range []struct {
		name   string
		change bson.E
		off    bool
	}{
		{"off", described(bson.D{off}, none, nil), true},
		{"off, no array shortened", described(bson.D{off}, none, none), true},
		{"off, and a field that is not mapped", described(bson.D{off, {Key: "plan", Value: 1}}, none, nil), true},
		{"off, and the hash", described(bson.D{off, {Key: "key_hash", Value: "x"}}, none, nil), false},
		{"off, and a field removed", described(bson.D{off}, bson.A{"expires_at"}, nil), false},
		{"off, and an array shortened", described(bson.D{off}, none, bson.A{bson.D{{Key: "field", Value: "scopes"}}}), false},
		{"off, and an unknown part", unknown, false},
		{"switch removed", described(bson.D{}, bson.A{"is_active"}, nil), false},
		{"on", described(bson.D{{Key: "is_active", Value: true}}, none, nil), false},
	} {
		m, err := interpretRaw(t, raw(t, "update", c.change))
		if err != nil || m.change == nil {
			t.Fatalf("%s: got %+v, %v", c.name, m, err)
		}
		if got := m.change.Refusal; got.Off != c.off || got.Expires {
			t.Errorf("%s: got %+v", c.name, got)
		}
		if !m.change.Refresh {
			t.Errorf("%s: the document is not read again", c.name)
		}
	}
	document := set(keyDocument(apikey.HashOf("some key text")), off)
	if m, err := interpretRaw(t, raw(t, "replace", bson.E{Key: "fullDocument", Value: document})); err != nil || m.change.Refusal.Off {
		t.Errorf("a replace needs no refusal, it has the record: %+v, %v", m.change, err)
	}
}
