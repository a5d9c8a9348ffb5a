package devmongo

import (
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func TestBlockConnectionDelaysOneClient(t *testing.T) {
	t.Parallel()
	s, client, coll := keys(t)
	must(coll.InsertOne(testContext(t), d("_id", 1, "v", "old")))(t)
	victim, other := named(t, s, "victim"), named(t, s, "other")
	setFailPoint(t, client, d("times", 1), d("failCommands", bson.A{"find"}, "appName", "victim",
		"blockConnection", true, "blockTimeMS", held.Milliseconds()))
	found := make(chan bson.D, 1)
	began := time.Now()
	go func() { found <- findOne(t, victim, d("_id", 1)) }()
	must(0, s.until(testContext(t), func() bool { return s.fail.applied > 0 }))(t)
	// Other clients are not delayed, and the command has not been executed yet.
	must(other.UpdateByID(testContext(t), 1, d("$set", d("v", "new"))))(t)
	if took := time.Since(began); took >= held {
		t.Skipf("an update takes %v on this machine: the test cannot distinguish a delay", took)
	}
	if got := <-found; field(got, "v") != "new" {
		t.Errorf("it was executed before the delay: %v", got)
	}
	if took := time.Since(began); took < held {
		t.Errorf("the delay was only %v", took)
	}
	findOne(t, victim, d("_id", 1))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail.applied != 1 {
		t.Errorf("times: 1 applied %d times", s.fail.applied)
	}
}
