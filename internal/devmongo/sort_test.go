package devmongo

import (
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// A sort has no limit if an index has the order, or if it may use the disk.
func TestSortHasAMemoryLimit(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *Config) { c.SortMemory = 1000 })
	documents := bson.A{}
	for i := range 10 {
		documents = append(documents, d("_id", i, "a", -i, "b", 1, "text", strings.Repeat("x", 100)))
	}
	s.direct(t, d("insert", "api_keys", "documents", documents))
	sorted := func(by bson.D, more ...any) any {
		t.Helper()
		return field(s.direct(t, append(d("find", "api_keys", "sort", by), d(more...)...)), "code")
	}
	for name, got := range map[string]any{
		"_id":                  sorted(d("_id", -1)),
		"few":                  sorted(d("a", 1), "filter", d("_id", d("$lt", 5))),
		"on disk":              sorted(d("a", 1), "allowDiskUse", true),
		"of no collection":     field(s.direct(t, d("find", "nothing", "sort", d("a", 1))), "code"),
		"update sorts nothing": field(s.direct(t, d("update", "api_keys", "updates", bson.A{d("q", d(), "u", d("$set", d("c", 1)))})), "code"),
	} {
		if !isMissing(got) {
			t.Errorf("%s: %v", name, got)
		}
	}
	for name, got := range map[string]any{
		"a":       sorted(d("a", 1)),
		"limited": sorted(d("a", 1), "limit", 20),
	} {
		if got != int32(292) {
			t.Errorf("%s: %v", name, got)
		}
	}
	s.direct(t, d("createIndexes", "api_keys", "indexes", bson.A{d("key", d("a", -1, "_id", -1), "name", "a_-1__id_-1")}))
	for _, by := range []bson.D{d("a", 1), d("a", -1), d("a", 1, "_id", 1), d("a", -1, "_id", -1)} {
		if got := sorted(by); !isMissing(got) {
			t.Errorf("%v with an index: %v", by, got)
		}
	}
	for _, by := range []bson.D{d("a", 1, "_id", -1), d("b", 1), d("a", -1, "_id", -1, "b", 1)} {
		if got := sorted(by); got != int32(292) {
			t.Errorf("%v: %v", by, got)
		}
	}
}
