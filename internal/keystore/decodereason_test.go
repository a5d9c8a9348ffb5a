package keystore

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// TestTheReasonNamesTheFieldOfTheCollection: by the mapping's name for it, the first defect in the
// order of the sentences, but the hash if no request can find the document.
func TestTheReasonNamesTheFieldOfTheCollection(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		doc  bson.D
		want string
	}{
		{nil, ""},
		{bson.D{{Key: "owner", Value: absent}}, "missing:owner"},
		{bson.D{{Key: "on", Value: absent}}, "missing:on"},
		{bson.D{{Key: "on", Value: nil}}, "type:on"},
		{bson.D{{Key: "on", Value: false}}, ""},
		{bson.D{{Key: "ends", Value: "tomorrow"}}, "type:ends"},
		{bson.D{{Key: "owner", Value: "a\nb"}}, "type:owner"},
		{bson.D{{Key: "scopes", Value: bson.A{1}}}, "type:scopes"},
		{bson.D{{Key: "ends", Value: "tomorrow"}, {Key: "owner", Value: absent}}, "type:ends"},
		{bson.D{{Key: "digest", Value: absent}, {Key: "ends", Value: "tomorrow"}}, "missing:digest"},
		{bson.D{{Key: "ends", Value: "tomorrow"}, {Key: "digest", Value: "abc"}}, "type:digest"},
		{bson.D{{Key: "digest", Value: bson.A{testHash.Hex()}}}, "type:digest"},
	} {
		doc := bson.D{{Key: "_id", Value: "key-1"}, {Key: "digest", Value: testHash.Hex()}, {Key: "on", Value: true}, {Key: "owner", Value: "u"}}
		for _, change := range test.doc {
			doc = with(doc, change)
		}
		raw, err := bson.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		s := DefaultSchema()
		s.Hash, s.Active, s.UserID, s.ExpiresAt = "digest", "on", "owner", "ends"
		if got := s.Decode(raw).Record; got.DefectReason != test.want {
			t.Errorf("%v: %q (%s), want %q", test.doc, got.DefectReason, got.Defect, test.want)
		}
	}
	twice, err := bson.Marshal(bson.D{{Key: "_id", Value: "key-1"}, {Key: "key_hash", Value: testHash.Hex()}, {Key: "user_id", Value: "a"}, {Key: "user_id", Value: "b"}, {Key: "is_active", Value: true}})
	if err != nil {
		t.Fatal(err)
	}
	for doc, want := range map[string]string{string(twice): "duplicate:user_id", "no BSON": "unreadable"} {
		if got := DefaultSchema().Decode(bson.Raw(doc)).Record.DefectReason; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
