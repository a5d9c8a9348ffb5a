package devmongo

import (
	"testing"
)

func TestRolledLogEndsStreamsThatAreBehind(t *testing.T) {
	t.Parallel()
	s, client, coll := keys(t)
	db := client.Database("app")
	must(coll.InsertOne(testContext(t), d("_id", 0)))(t)
	behind, abreast := watch(t, db, nil), watch(t, db, nil)
	for i := range 3 {
		must(coll.InsertOne(testContext(t), d("_id", i+1)))(t)
	}
	for range 3 {
		next(t, abreast)
	}
	s.RollLog()
	must(coll.InsertOne(testContext(t), d("_id", 4)))(t)
	if ev := next(t, abreast); part(ev, "documentKey._id") != int32(4) {
		t.Errorf("a stream that had read all events missed one: %v", ev)
	}
	if behind.Next(testContext(t)) || code(behind.Err()) != 136 {
		t.Errorf("a stream that was behind got %v, %v", behind.Current, behind.Err())
	}
}
