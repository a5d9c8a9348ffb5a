package devmongo

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/clustertime"
)

func TestSnapshotReadsSeeThePast(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.KeepHistory(true)
	s.direct(t, d("insert", "x", "documents", bson.A{d("_id", 1), d("_id", 2), d("_id", 3)}))
	s.direct(t, d("delete", "x", "deletes", bson.A{d("q", d(), "limit", 0)}))
	s.KeepHistory(false)
	count := func(at clustertime.Time) int {
		reply := s.direct(t, snapshotFind(at))
		return len(part(reply, "cursor.firstBatch").([]bson.Raw))
	}
	made := s.oplog.entries[1:]                       // the first entry is the server's start
	for i, want := range []int{0, 1, 2, 3, 2, 1, 0} { // the collection, the inserts, the deletes
		if got := count(made[i].at); got != want {
			t.Errorf("after entry %d: got %d documents, want %d", i, got, want)
		}
	}
	s.TickNoop()
	if code, _ := field(s.direct(t, snapshotFind(s.oplog.applied)), "code").(int32); code != codeSnapshotUnavailable {
		t.Errorf("a time that was not kept: code %d", code)
	}
}

func snapshotFind(at clustertime.Time) bson.D {
	return d("find", "x", "readConcern", d("level", "snapshot", "atClusterTime", timestamp(at)))
}
