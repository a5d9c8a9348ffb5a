package devmongo

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Duplicate fields are rejected in a command and in its embedded documents, whatever
// their values, as in MongoDB.
func TestDuplicateFieldsAreRejected(t *testing.T) {
	t.Parallel()
	s := start(t)
	for name, command := range map[string]bson.D{
		"maxTimeMS":    d("find", "api_keys", "maxTimeMS", 1000, "maxTimeMS", 1000),
		"filter":       d("find", "api_keys", "filter", d(), "filter", d("a", 1)),
		"comment":      d("ping", 1, "comment", "a", "comment", "b"),
		"ordered":      d("insert", "api_keys", "documents", bson.A{d("_id", 1)}, "ordered", true, "ordered", true),
		"readConcern":  d("find", "api_keys", "readConcern", d("level", "majority", "level", "majority")),
		"writeConcern": d("insert", "api_keys", "documents", bson.A{d("_id", 1)}, "writeConcern", d("w", 1, "w", "majority")),
		"an update":    d("update", "api_keys", "updates", bson.A{d("q", d(), "u", d(), "multi", false, "multi", false)}),
	} {
		reply := s.direct(t, command)
		if code := field(reply, "code"); code != int32(40413) {
			t.Errorf("%s: %v", name, reply)
		}
	}
}
