package devmongo

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func TestRepeatedStatementReturnsItsRecordedResult(t *testing.T) {
	t.Parallel()
	s, _, coll := keys(t)
	ctx := testContext(t)
	cmd := func(number int64) bson.D {
		id := bson.Binary{Subtype: 4, Data: []byte("0123456789abcdef")}
		return d("update", "api_keys", "updates", bson.A{d("q", d("_id", 1), "u", d("$inc", d("n", 1)))}, "lsid", d("id", id), "txnNumber", number)
	}
	must(coll.InsertOne(ctx, d("_id", 1, "n", 0)))(t)
	run := func(number int64) bson.D {
		t.Helper()
		return s.direct(t, cmd(number)) // the driver would add its own session
	}
	first, again := run(1), run(1)
	if compare(field(first, "nModified"), int32(1)) != 0 || compare(field(again, "nModified"), int32(1)) != 0 {
		t.Errorf("replies %v and %v", first, again)
	}
	if n := field(findOne(t, coll, d("_id", 1)), "n"); n != int32(1) {
		t.Errorf("n is %v after a repeated statement, want 1", n)
	}
	run(2)
	if n := field(findOne(t, coll, d("_id", 1)), "n"); n != int32(2) {
		t.Errorf("n is %v after a new statement, want 2", n)
	}
	if old := run(1); field(old, "code") != int32(225) {
		t.Errorf("an old transaction number: %v", old)
	}
}

func TestEndedSessionClosesItsCursors(t *testing.T) {
	t.Parallel()
	s := start(t)
	lsid := d("id", bson.Binary{Subtype: 4, Data: make([]byte, 16)})
	s.direct(t, d("insert", "x", "documents", bson.A{d(), d(), d()}))
	reply := s.direct(t, d("find", "x", "batchSize", 1, "lsid", lsid))
	id := part(reply, "cursor.id").(int64)
	if more := s.direct(t, d("getMore", id, "collection", "x", "batchSize", 1)); field(more, "ok") != 1.0 {
		t.Fatalf("getMore: %v", more)
	}
	s.direct(t, d("endSessions", bson.A{lsid}))
	if more := s.direct(t, d("getMore", id, "collection", "x")); field(more, "code") != int32(43) {
		t.Errorf("after endSessions: %v", more)
	}
}
