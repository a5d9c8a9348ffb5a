package integration

import (
	"context"
	"fmt"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/changestream"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/mongotest"
)

// restoreAnomalies are anomalies of a database that goes back in time, and of forged
// heartbeats.
func restoreAnomalies() []anomaly {
	return []anomaly{
		{name: "restored in place", shows: []string{"LossRewound"}, covered: []string{"VerifiedHistory"}, stage: restoredInPlace},
		{
			name:    "restored before a heartbeat came back",
			shows:   []string{"VerifiedHistory"},
			covered: []string{"LossRewound"},
			stage:   restoredBeforeAHeartbeat,
		},
		{
			name:    "restored while the stream was behind",
			shows:   []string{"SameCursor"},
			covered: []string{"VerifiedHistory"},
			stage:   restoredBehind,
			scopes:  []string{mongotest.ScopeCollection},
		},
		{name: "forged heartbeats", shows: []string{"RandomNonces"}, stage: forgedHeartbeats, scopes: testkit.Scopes[:1]},
	}
}

// withRareHeartbeats leaves the stream without events for a while.
func withRareHeartbeats(c *daemon.Config) {
	staged(c)
	c.HeartbeatInterval = 5 * time.Second
}

// restoredInPlace: a key becomes valid, and then the server is restored from an earlier
// snapshot. The token names no event, so the server accepts it.
func restoredInPlace(t *testing.T, scope string) string {
	d := mongotest.StartDevmongo(t, devmongo.Config{})
	r := start(t, d.InScope(scope), withRareHeartbeats)
	k := r.newKey()
	r.set(k, "is_active", false)
	r.waitForCode(k, apikey.Disabled)
	snapshot := d.Node.Snapshot()
	revision := r.setActive(k, true)
	r.waitForCode(k, apikey.Valid)
	r.waitUntilCached(k)
	r.sync(revision, false, testkit.WaitTimeout) // needs a heartbeat, which is not in the snapshot
	d.Node.TickNoop()
	requests := holding(r, time.Millisecond, "getMore")
	for range 3 {
		requests.wait()
	}
	d.Node.Restore(snapshot)
	return violation(r.validateSince(k, time.Now()), apikey.Disabled)
}

// restoredBehind: the stream of the collection fails while a key is revoked and a heartbeat is acknowledged. Then
// the server is restored, and the stream goes on in another history, past the heartbeat's time. It goes on only
// from a token that names no event, so the stage waits for an empty batch first. The replies to heartbeats are
// late, so the refused one does not end the history first.
func restoredBehind(t *testing.T, scope string) string {
	r, node := stagedService(t, scope, devmongo.Config{})
	k := r.newKey()
	r.set(k, "is_active", false)
	r.waitForCode(k, apikey.Disabled)
	snapshot := node.Snapshot()
	r.sync(r.setActive(k, true), false, testkit.WaitTimeout)
	r.waitUntilCached(k)
	holding(r, time.Millisecond, "getMore").wait()   // a request after the event's: its reply is empty
	failing(r, 11600, "getMore", "aggregate").wait() // that reply is there, and none follows
	r.set(k, "is_active", false)
	revoked := time.Now()
	sent := r.metric("keytail_heartbeats_total", "acknowledged")
	mongotest.Eventually(t, testkit.WaitTimeout, func() bool { return r.metric("keytail_heartbeats_total", "acknowledged") >= sent+2 }, "no heartbeats are acknowledged")
	node.DelayReplies(r.appName, "update", time.Second)
	defer node.DelayReplies("", "", 0)
	node.Restore(snapshot)
	losses := r.metric("keytail_losses_total")
	for r.metric("keytail_losses_total") == losses && time.Since(revoked) < testkit.WaitTimeout {
		node.TickNoop()
		if v := r.validate(k); v.Code == apikey.Valid && v.AsOf.After(revoked) {
			return fmt.Sprintf("valid, %v old, although it was revoked %v ago", v.Staleness, time.Since(revoked))
		}
	}
	return ""
}

// restoredBeforeAHeartbeat: the history was lost and a new stream opened; the server is
// restored from a snapshot before a heartbeat has completed its round trip.
func restoredBeforeAHeartbeat(t *testing.T, scope string) string {
	r, node := stagedService(t, scope, devmongo.Config{})
	k := r.newKey()
	r.set(k, "is_active", false)
	r.waitForCode(k, apikey.Disabled)
	snapshot := node.Snapshot()
	r.set(k, "is_active", true)
	r.waitForCode(k, apikey.Valid)
	losses, opens := r.metric("keytail_losses_total"), r.metric("keytail_stream_opens_total")
	failing(r, 286, "getMore", "aggregate", "update")
	mongotest.Eventually(t, testkit.WaitTimeout, func() bool { return r.metric("keytail_losses_total") > losses }, "the history is not lost")
	failing(r, 2, "update")
	mongotest.Eventually(t, testkit.WaitTimeout, func() bool { return r.metric("keytail_stream_opens_total") > opens }, "the stream is not opened again")
	r.waitUntilCached(k)
	node.Restore(snapshot)
	return violation(r.validateSince(k, time.Now()), apikey.Disabled)
}

// forgedHeartbeats: the tail stands still, as after a pause of the machine. Before a
// revocation an attacker wrote the counters of later heartbeats.
func forgedHeartbeats(t *testing.T, scope string) string {
	g := startGated(t, scope, devmongo.Config{})
	k := g.newKey()
	g.waitUntilCached(k)
	there, letGo := g.gate.hold(&g.gate.applying)
	defer letGo()
	g.newKey()
	arrives(t, there)
	g.forge(300)
	there, letGoOn := g.gate.hold(&g.gate.applying)
	defer letGoOn()
	g.set(k, "is_active", false)
	revoked := time.Now()
	seen := map[int64]bool{}
	mongotest.Eventually(t, testkit.WaitTimeout, func() bool {
		seen[g.nonce(t.Context())] = true
		return len(seen) > 4
	}, "no heartbeats are sent")
	letGo()
	arrives(t, there) // the forged heartbeats have been delivered, the revocation has not
	if v := g.validate(k); v.Code == apikey.Valid && v.AsOf.After(revoked) {
		return fmt.Sprintf("valid, %v old, although it was revoked %v ago", v.Staleness, time.Since(revoked))
	}
	return ""
}

// nonce returns the nonce in the instance's document.
func (g *gated) nonce(ctx context.Context) int64 {
	g.t.Helper()
	var beat struct{ N int64 }
	if err := g.db.Collection(changestream.HeartbeatCollection).FindOne(ctx, bson.D{}).Decode(&beat); err != nil {
		g.t.Fatal(err)
	}
	return beat.N
}

// forge writes the next counters into the instance's document, and then restores it, so
// that the forgery leaves no trace.
func (g *gated) forge(n int64) {
	g.t.Helper()
	g.inTransaction(func(ctx context.Context) error {
		now := g.nonce(ctx)
		write := func(n int64) mongo.WriteModel {
			return mongo.NewUpdateManyModel().SetFilter(bson.D{}).SetUpdate(bson.D{{Key: "$set", Value: bson.D{{Key: "n", Value: n}}}})
		}
		var writes []mongo.WriteModel
		for i := range n {
			writes = append(writes, write(now+1+i))
		}
		_, err := g.db.Collection(changestream.HeartbeatCollection).BulkWrite(ctx, append(writes, write(now)))
		return err
	})
}
