package devmongo

import (
	"testing"
)

func BenchmarkLookUpAmong200000(b *testing.B) {
	coll := newCollection(namespace{"app", "k"}, newUUID())
	if err := coll.addIndex(&index{name: "h", key: d("h", 1), unique: true}); err != nil {
		b.Fatal(err)
	}
	for i := range 200_000 {
		doc := d("_id", int32(i), "h", int64(i), "name", "key")
		raw, _ := encode(doc)
		if err := coll.put(doc, raw, 1); err != nil {
			b.Fatal(err)
		}
	}
	for i := 0; b.Loop(); i++ {
		rows, err := query{filter: d("h", int32(i%200_000))}.run(coll)
		if err != nil || len(rows) != 1 {
			b.Fatal(len(rows), err)
		}
	}
}
