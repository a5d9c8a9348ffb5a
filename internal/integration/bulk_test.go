package integration

import (
	"fmt"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/mongotest"
)

// TestBulkChangeLeavesNoKeyThatNeedsARead: one command changes more keys than the queue of refreshes
// has space for. Soon every key is answered from the cache again, with the change.
func TestBulkChangeLeavesNoKeyThatNeedsARead(t *testing.T) {
	const queue, keys = 500, 1000
	r := start(t, &mongotest.StartDevmongo(t, devmongo.Config{}).Server, func(c *daemon.Config) { c.RefreshQueue = queue })
	var documents []any
	var hashes []apikey.Hash
	for i := range keys {
		text := fmt.Sprint("bulk-", i)
		documents = append(documents, testkit.Document(text, text))
		hashes = append(hashes, apikey.HashOf(text))
	}
	if _, err := r.keys.InsertMany(t.Context(), documents); err != nil {
		t.Fatal(err)
	}
	need := func(name string) (n int) {
		for _, h := range hashes {
			if a, ok := r.Core.Cache.Get(h); !ok || !a.Found || a.Record.Name != name {
				n++
			}
		}
		return n
	}
	// Some keys share a slot with another one, whose insert invalidates them.
	mongotest.Eventually(t, testkit.WaitTimeout, func() bool { return need("a key") < keys/20 }, "the keys are not in the cache")

	// While finds hang, no refresh leaves the queue.
	mend := r.failpoint("alwaysOn", bson.D{
		{Key: "failCommands", Value: bson.A{"find"}},
		{Key: "blockConnection", Value: true},
		{Key: "blockTimeMS", Value: 500},
	})
	if _, err := r.keys.UpdateMany(t.Context(), bson.D{}, bson.D{{Key: "$set", Value: bson.D{{Key: "name", Value: "renamed"}}}}); err != nil {
		t.Fatal(err)
	}
	dropped := func() bool { return r.Core.Cache.Stats().RefreshesDropped > keys/4 }
	mongotest.Eventually(t, testkit.WaitTimeout, dropped, "the queue has space for all refreshes: the test shows nothing")
	mend()
	mongotest.Eventually(t, testkit.WaitTimeout, func() bool { return need("renamed") == 0 }, "keys still need a read")
}
