package keystore

import (
	"slices"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func TestIDTextIsTheKeyIDOfResponses(t *testing.T) {
	uuid := bson.Binary{Subtype: bson.TypeBinaryUUID, Data: slices.Repeat([]byte{7}, 16)}
	for _, value := range []any{"text", bson.NewObjectID(), int32(7), int64(1) << 40, -1, uuid} {
		raw, err := bson.Marshal(bson.D{{Key: "_id", Value: value}})
		if err != nil {
			t.Fatal(err)
		}
		document := DefaultSchema().Decode(raw)
		if text, ok := IDText(document.ID); !ok || text != document.Record.KeyID {
			t.Errorf("%v: got %q, %v, an answer has %q", value, text, ok, document.Record.KeyID)
		}
	}
	for _, value := range []any{"", strings.Repeat("x", 257), 1.5, true, nil, bson.D{{Key: "a", Value: 1}}, bson.Binary{Data: []byte{1}}} {
		raw, err := bson.Marshal(bson.D{{Key: "_id", Value: value}})
		if err != nil {
			t.Fatal(err)
		}
		if text, ok := IDText(DefaultSchema().Decode(raw).ID); ok {
			t.Errorf("%v: got %q", value, text)
		}
	}
	if text, ok := IDText(""); ok {
		t.Errorf("nothing: got %q", text)
	}
}
