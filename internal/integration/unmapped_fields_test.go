package integration

import (
	"flag"
	"slices"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/mongotest"
)

var migrationKeys = flag.Int("migration.keys", 50, "how many keys TestAMigrationOfOtherFieldsCostsNothing has")

// TestAMigrationOfOtherFieldsCostsNothing: fields that are not mapped are added to every key,
// changed and removed. No event arrives, nothing is read, and all keys stay hits.
func TestAMigrationOfOtherFieldsCostsNothing(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		// Keys that come while the daemon runs are in the overlay, a small part of the cache.
		r := start(t, s, func(c *daemon.Config) { c.CacheSizeMiB = 8 + *migrationKeys/200 })
		marker := r.newKey()
		keys := make([]key, *migrationKeys)
		for i := range keys {
			keys[i] = r.newKey()
		}
		for _, k := range slices.Concat(keys, []key{marker}) {
			r.waitForCode(k, apikey.Valid)
			r.waitUntilCached(k)
		}
		inserts := float64(len(keys) + 1)
		mongotest.Eventually(t, testkit.WaitTimeout, func() bool { return r.metric("keytail_changes_total") == inserts }, "the inserts are not applied")
		for _, update := range []bson.D{
			{{Key: "$set", Value: bson.D{{Key: "plan", Value: bson.D{{Key: "seats", Value: 1}}}, {Key: "tags", Value: bson.A{"a", "b"}}}}},
			{{Key: "$set", Value: bson.D{{Key: "plan.seats", Value: 2}, {Key: "key_prefix", Value: "kt_"}}}},
			{{Key: "$unset", Value: bson.D{{Key: "plan", Value: ""}, {Key: "created_at", Value: ""}}}, {Key: "$pull", Value: bson.D{{Key: "tags", Value: "a"}}}},
		} {
			result, err := r.keys.UpdateMany(t.Context(), bson.D{}, update)
			if err != nil || result.ModifiedCount != int64(inserts) {
				t.Fatalf("%v modified %+v, %v", update, result, err)
			}
		}
		// The marker's change comes after the migration in the stream.
		r.set(marker, "is_active", false)
		r.waitForCode(marker, apikey.Disabled)
		if got := r.metric("keytail_stream_events_total", "update"); got != 1 {
			t.Errorf("got %v updates over the wire, want the marker's", got)
		}
		// The request above may have read the marker before the refresh did.
		if got := r.metric("keytail_reads_total", "refresh"); got > 1 {
			t.Errorf("got %v reads because of updates, want the marker's", got)
		}
		if got := r.metric("keytail_changes_total"); got != inserts+1 {
			t.Errorf("got %v applied changes, want %v inserts and the marker's", got, inserts)
		}
		for _, k := range keys {
			if v := r.validate(k); v.Code != apikey.Valid || v.Source != apikey.SourceCache {
				t.Errorf("%s: got %v from %v", k.id, v.Code, v.Source)
			}
		}
	})
}
