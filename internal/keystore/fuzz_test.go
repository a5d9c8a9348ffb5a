package keystore

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"github.com/keytail/keytail/internal/apikey"
)

// invariant checks what must be true of any decoded document.
func invariant(t interface {
	Helper()
	Errorf(string, ...any)
}, doc bson.Raw,
) {
	t.Helper()
	for _, s := range []Schema{
		DefaultSchema(),
		in(func(s *Schema) {
			s.HashEncoding, s.ActiveForm, s.ScopesForm, s.ExpiresForm = HashBase64, ActiveNegated, ScopesText, ExpiresUnix
		}),
		in(func(s *Schema) {
			s.HashEncoding, s.ActiveForm, s.ExpiresForm, s.DefaultScopes = HashBinary, ActiveNoDate, ExpiresUnixMilli, []string{"a"}
			s.OrgID, s.Metadata = "", ""
		}),
	} {
		invariantOf(t, s, doc)
	}
}

func invariantOf(t interface {
	Helper()
	Errorf(string, ...any)
}, s Schema, doc bson.Raw,
) {
	t.Helper()
	before := string(doc)
	got := s.Decode(doc)
	if string(doc) != before {
		t.Errorf("decoding changed the document")
	}
	if diff := cmp.Diff(formerDecode(s, doc), got, compareRecords); diff != "" {
		t.Errorf("the decoder and the driver's accessors disagree:\n%s", diff)
	}
	r := &got.Record
	if r.KeyID == "" || !utf8.ValidString(r.KeyID) || len(r.KeyID) > 512 {
		t.Errorf("key id %q", r.KeyID)
	}
	if !utf8.ValidString(r.Defect) {
		t.Errorf("defect %q", r.Defect)
	}
	if (r.Defect == "") != (r.DefectReason == "") {
		t.Errorf("defect %q with the reason %q", r.Defect, r.DefectReason)
	}
	if r.Metadata != nil && (!json.Valid(r.Metadata) || r.Metadata[0] != '{') {
		t.Errorf("metadata %q is no JSON object", r.Metadata)
	}
	if r.Defect == "" && (!got.HasHash || got.ID == "" || apikey.ValidID(r.UserID) != nil) {
		t.Errorf("no defect, but %+v", got)
	}
	if code := apikey.Decide(r, &apikey.Request{}, time.Now()); r.Defect != "" && code != apikey.Disabled {
		t.Errorf("defect %q decides as %v", r.Defect, code)
	}
	if got.HasHash {
		stored := doc.Lookup(s.Hash)
		// Not by its bytes: the driver accepts a string without its terminating
		// zero byte, which no server sends
		var have any
		if _, data, ok := stored.BinaryOK(); ok {
			have = bson.Binary{Data: data}
		} else {
			have, _ = stored.StringValueOK()
		}
		if !reflect.DeepEqual(have, s.HashStored(got.Hash)) {
			t.Errorf("the hash is not what a lookup uses")
		}
	}
	if got.ID != "" {
		if value, err := idValue(got.ID); err == nil && DefaultSchema().ID(value) != got.ID {
			t.Errorf("id %q is decoded as %q", got.ID, DefaultSchema().ID(value))
		}
	}
}

// A text without space for its terminating zero is none, in each of the fields.
// The driver's Validate accepts it, and its accessor then panics.
func TestDecodeOfATextWithoutLength(t *testing.T) {
	t.Parallel()
	for _, kind := range []bson.Type{bson.TypeString, bson.TypeSymbol, bson.TypeJavaScript} {
		for _, name := range []string{"_id", "key_hash", "user_id", "name", "scopes", "metadata"} {
			doc := []byte{0, 0, 0, 0, byte(kind)}
			doc = append(append(doc, name...), 0, 0, 0, 0, 0, 0)
			doc[0] = byte(len(doc))
			invariantWithoutPanic(t, name, doc)
		}
	}
}

func invariantWithoutPanic(t *testing.T, name string, doc bson.Raw) {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			t.Errorf("a %v without length in %s: the decoder panics: %v", bson.Type(doc[4]), name, p)
		}
	}()
	invariant(t, doc)
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(document(f)))
	f.Add([]byte(document(f,
		bson.E{Key: "scopes", Value: bson.A{"a"}}, bson.E{Key: "allowed_ips", Value: bson.A{"::1/128"}},
		bson.E{Key: "metadata", Value: bson.D{{Key: "a", Value: bson.A{1.5, nil, bson.D{}}}}},
		bson.E{Key: "expires_at", Value: bson.DateTime(1)})))
	f.Add([]byte(document(f, bson.E{Key: "_id", Value: bson.D{{Key: "a", Value: decimal(f, "1.5")}}})))
	f.Add([]byte(document(f, bson.E{Key: "metadata", Value: bson.D{
		{Key: "code", Value: bson.CodeWithScope{Code: "x", Scope: bson.D{{Key: "y", Value: bson.Regex{Pattern: "a", Options: "i"}}}}},
		{Key: "p", Value: bson.DBPointer{DB: "d"}},
		{Key: "s", Value: bson.Symbol("s")},
	}})))
	f.Fuzz(func(t *testing.T, doc []byte) { invariant(t, doc) })
}

// value generates a BSON value of any kind.
func value(depth int) *rapid.Generator[any] {
	kinds := []*rapid.Generator[any]{
		rapid.String().AsAny(),
		rapid.SampledFrom([]any{nil, true, false, bson.MinKey{}, bson.MaxKey{}, bson.Undefined{}, bson.Symbol("s")}),
		rapid.Int32().AsAny(), rapid.Int64().AsAny(), rapid.Float64().AsAny(),
		rapid.Map(rapid.Int64(), func(n int64) any { return bson.DateTime(n) }),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 12, 12), func(b []byte) any { return bson.ObjectID(b) }),
		rapid.Custom(func(t *rapid.T) any {
			return bson.Binary{Subtype: rapid.Byte().Draw(t, "subtype"), Data: rapid.SliceOf(rapid.Byte()).Draw(t, "data")}
		}),
		rapid.Custom(func(t *rapid.T) any {
			return bson.NewDecimal128(rapid.Uint64().Draw(t, "high"), rapid.Uint64().Draw(t, "low"))
		}),
		rapid.SampledFrom([]any{"a:read", "192.0.2.0/24", testHash.Hex(), HashBase64.stored(testHash), HashBinary.stored(testHash), bson.Regex{Pattern: "x", Options: "i"}}),
	}
	if depth > 0 {
		kinds = append(kinds,
			rapid.Map(rapid.SliceOfN(value(depth-1), 0, 4), func(list []any) any { return bson.A(list) }),
			rapid.Map(rapid.SliceOfN(value(depth-1), 0, 4), func(list []any) any {
				doc := bson.D{}
				for i, v := range list {
					doc = append(doc, bson.E{Key: string(rune('a' + i)), Value: v})
				}
				return doc
			}))
	}
	return rapid.OneOf(kinds...)
}

func TestDecodeHoldsForGeneratedDocuments(t *testing.T) {
	t.Parallel()
	names := []string{"_id", "key_hash", "is_active", "user_id", "org_id", "project_id", "name", "scopes", "allowed_ips", "expires_at", "metadata", "last_used"}
	rapid.Check(t, func(t *rapid.T) {
		doc := bson.D{}
		for range rapid.IntRange(0, 16).Draw(t, "fields") {
			doc = append(doc, bson.E{Key: rapid.SampledFrom(names).Draw(t, "name"), Value: value(2).Draw(t, "value")})
		}
		raw, err := bson.Marshal(doc)
		if err != nil {
			t.Skip(err)
		}
		invariant(t, raw)
		invariant(t, raw[:rapid.IntRange(0, len(raw)-1).Draw(t, "cut")])
		raw[rapid.IntRange(0, len(raw)-1).Draw(t, "damage at")] = rapid.Byte().Draw(t, "damage")
		invariant(t, raw)
	})
}

// metadata generates documents as programs store them, and some unusual ones.
func metadata() *rapid.Generator[bson.D] {
	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "\"\\/\b\f\n\r\t\x00\x1f\x7f<>&", "\u2028\u2029\ufffd", "a\xffb\xc3", "\U0001f511"}))
	value := rapid.OneOf(value(2), rapid.Custom(func(t *rapid.T) any { return text.Draw(t, "text") }),
		rapid.SampledFrom([]any{0.0, math.Copysign(0, -1), 1e21, 1e-7, 100000.0, math.NaN(), math.Inf(-1), math.MaxFloat64}),
		rapid.Map(rapid.Int64Range(-1e15, 1e15), func(n int64) any { return bson.DateTime(n) }))
	return rapid.Custom(func(t *rapid.T) bson.D {
		doc := bson.D{}
		for range rapid.IntRange(0, 5).Draw(t, "fields") {
			name := strings.ReplaceAll(text.Draw(t, "name"), "\x00", "")
			doc = append(doc, bson.E{Key: name, Value: value.Draw(t, "value")})
		}
		return doc
	})
}

func TestMetadataIsWhatTheDriverWrites(t *testing.T) {
	t.Parallel()
	written := 0
	rapid.Check(t, func(t *rapid.T) {
		raw, err := bson.Marshal(metadata().Draw(t, "metadata"))
		if err != nil {
			t.Skip(err)
		}
		for damaged := range 2 {
			if damaged == 1 {
				raw[rapid.IntRange(4, len(raw)-1).Draw(t, "damage at")] = rapid.Byte().Draw(t, "damage")
			}
			v := bson.RawValue{Type: bson.TypeEmbeddedDocument, Value: raw}
			got, gotProblem := readMetadata(&memory{}, v)
			want, wantProblem := formerReadMetadata(v)
			if string(got) != string(want) || gotProblem != wantProblem {
				t.Fatalf("%q %s, want %q %s", got, gotProblem, want, wantProblem)
			}
			if _, ok := appendJSON(nil, v, 0); ok {
				written++
			}
		}
	})
	if written == 0 {
		t.Error("the driver wrote all of it: the test shows nothing")
	}
}

// The texts of one document must not be changed by those that follow, in the same
// pieces of memory.
func TestADecoderKeepsWhatItHasDecoded(t *testing.T) {
	t.Parallel()
	for name, memory := range map[string]memory{"of a scan": scanMemory(), "small": {size: 100, listSize: 3}, "zero": {}} {
		d := decoder{schema: DefaultSchema(), memory: memory}
		var got, want []Document
		for i := range 500 {
			doc := document(t, bson.E{Key: "_id", Value: fmt.Sprint("key-", i)}, bson.E{Key: "name", Value: fmt.Sprint("name ", i)},
				bson.E{Key: "scopes", Value: (bson.A{fmt.Sprint("a:", i), "b"})[:i%3]}, bson.E{Key: "metadata", Value: bson.D{{Key: "n", Value: i}}})
			d.decode(doc)
			got, want = append(got, d.doc), append(want, DefaultSchema().Decode(doc))
			clear(doc)
		}
		if diff := cmp.Diff(want, got, compareRecords); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestDecodeInAScanAllocatesNearlyNothing limits the allocations of a scan to one in many documents, if
// they have neither networks nor metadata.
func TestDecodeInAScanAllocatesNearlyNothing(t *testing.T) {
	doc := document(t, bson.E{Key: "_id", Value: bson.NewObjectID()}, bson.E{Key: "scopes", Value: bson.A{"orders:read", "orders:write"}})
	d := decoder{schema: DefaultSchema(), memory: scanMemory()}
	if n := testing.AllocsPerRun(1000, func() { d.decode(doc) }); n > 0 {
		t.Errorf("%v allocations a document", n)
	}
	if n := testing.AllocsPerRun(1000, func() { d.schema.Decode(doc) }); n > 2 {
		t.Errorf("%v allocations for a single document, want one for its texts and one for its scopes", n)
	}
}
