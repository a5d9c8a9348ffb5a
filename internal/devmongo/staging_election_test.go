package devmongo

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func TestSecondaryRejectsWrites(t *testing.T) {
	t.Parallel()
	s, client, coll := keys(t)
	ctx := testContext(t)
	must(coll.InsertOne(ctx, d("_id", 1)))(t)
	cs := watch(t, client.Database("app"), nil)
	election := func() bson.D { return s.direct(t, d("hello", 1)) }
	first := field(election(), "electionId")
	s.StepDown(0)
	if hello := election(); field(hello, "isWritablePrimary") != false || field(hello, "secondary") != true {
		t.Errorf("hello of a secondary: %v", hello)
	}
	if reply := s.direct(t, d("insert", "api_keys", "documents", bson.A{d("_id", 2)})); field(reply, "code") != int32(10107) {
		t.Errorf("a write on a secondary: %v", reply)
	}
	s.StepUp()
	if second := field(election(), "electionId"); compare(second, first) <= 0 {
		t.Errorf("election id %v after %v", second, first)
	}
	must(coll.InsertOne(ctx, d("_id", 3)))(t)
	if ev := next(t, cs); part(ev, "documentKey._id") != int32(3) {
		t.Errorf("after the election came %v", ev)
	}
}

func TestStepDownCommandClosesConnections(t *testing.T) {
	t.Parallel()
	s, client, coll := keys(t)
	ctx := testContext(t)
	must(coll.InsertOne(ctx, d("_id", 1)))(t)
	if err := client.Database("admin").RunCommand(ctx, d("replSetStepDown", 60, "force", true)).Err(); err == nil {
		t.Error("the connection was not closed")
	}
	if err := s.until(ctx, func() bool { return s.steppedDown != nil }); err != nil {
		t.Fatal(err)
	}
	s.StepUp()
	must(coll.InsertOne(ctx, d("_id", 2)))(t)
}
