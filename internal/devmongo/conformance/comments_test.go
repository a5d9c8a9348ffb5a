package conformance

import (
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// TestAFindTakesAComment ("find", "comment" in MongoDB's manual), and so do the getMores
// of its cursor, which inherit it. It changes nothing.
func TestAFindTakesAComment(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		for id := range int32(5) {
			r.insert(t, d("_id", id))
		}
		comment := "traceparent='00-" + strings.Repeat("ab", 16) + "-" + strings.Repeat("cd", 8) + "-01'"
		cursor, err := r.coll.Find(r.ctx, d(), options.Find().SetComment(comment).SetBatchSize(2))
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for cursor.Next(r.ctx) {
			n++
		}
		if cursor.Err() != nil || n != 5 {
			t.Errorf("%d documents, %v", n, cursor.Err())
		}
		if _, err := r.coll.Aggregate(r.ctx, mongo.Pipeline{}, options.Aggregate().SetComment(comment)); err != nil {
			t.Error(err)
		}
	})
}
