package devmongo

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func TestDocumentsComeBackAsTheyWentIn(t *testing.T) {
	t.Parallel()
	_, _, coll := keys(t)
	ctx := testContext(t)
	must(coll.InsertMany(ctx, []any{d("_id", 1, "a", "x", "n", d("deep", bson.A{1, "two", nil})), d("_id", 2, "a", "y")}))(t)
	var got bson.D
	if err := coll.FindOne(ctx, d("a", "x")).Decode(&got); err != nil {
		t.Fatal(err)
	}
	want := d("_id", int32(1), "a", "x", "n", d("deep", bson.A{int32(1), "two", nil}))
	if !identical(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
