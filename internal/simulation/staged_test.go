package simulation

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/changestream"
	"github.com/keytail/keytail/internal/preload"
)

// collectionScope are the settings of the scripts: the stream of a collection, and no scans meanwhile.
var collectionScope = settings{
	maxStale: 15 * time.Second, scope: changestream.ScopeCollection, preload: preload.Off, slots: 1 << 12, queue: 64, oplog: 1000,
	uniqueIndex: true, audits: time.Hour, maxAge: time.Hour,
}

// stage runs a script without random faults, and returns what the oracle has found.
func stage(t *testing.T, script func(w *world)) (wrong []string) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{seed: 1, dice: newDice(1), settings: collectionScope}
		w.ctx, w.stop = context.WithCancel(context.Background())
		if err := w.build(); err != nil {
			t.Fatal(err)
		}
		w.net.slow = 0
		running, stopCore := context.WithCancel(w.ctx)
		stopped := w.core.run(running, w)
		script(w)
		stopCore()
		stopped.Wait()
		time.Sleep(readsEnd)
		w.stop()
		w.group.Wait()
		wrong = w.wrong
	})
	return wrong
}

// setActive switches the document of the first key on or off.
func (w *world) setActive(active bool) {
	w.set.run(bson.E{Key: "update", Value: w.truth.schema.Collection}, bson.E{Key: "updates", Value: bson.A{bson.D{
		{Key: "q", Value: bson.D{{Key: "_id", Value: "d0"}}},
		{Key: "u", Value: bson.D{{Key: "key_hash", Value: keys[0].stored}, {Key: "user_id", Value: "user"}, {Key: "is_active", Value: active}, {Key: "scopes", Value: bson.A{"read"}}}},
		{Key: "upsert", Value: true},
	}}}, bson.E{Key: "writeConcern", Value: bson.D{{Key: "w", Value: int32(1)}}})
	w.observe()
}

// askFor asks for the first key for so long, and returns the last answer.
func (w *world) askFor(lasts time.Duration) apikey.Verdict {
	var a *answer
	for until := time.Now().Add(lasts); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		a = &answer{key: keys[0], request: apikey.Request{Scopes: []string{"read"}}}
		w.ask(w.ctx, a)
		w.check(a)
	}
	return a.verdict
}

// TestAPositionAfterARestoreProvesNothingAboutHeartbeatsBeforeIt runs that script.
func TestAPositionAfterARestoreProvesNothingAboutHeartbeatsBeforeIt(t *testing.T) {
	if wrong := restoredBehind(t); len(wrong) > 0 {
		t.Error(wrong[0])
	}
}

// restoredBehind: the stream of a collection stands still while a key is revoked and a heartbeat is acknowledged. Then
// the server is restored, and the stream goes on in another history, past the heartbeat's time.
func restoredBehind(t *testing.T) (wrong []string) {
	return stage(t, func(w *world) {
		w.setActive(false)
		time.Sleep(2 * time.Second)
		snapshot := w.set.main.Snapshot()
		w.setActive(true)
		if v := w.askFor(3 * time.Second); v.Code != apikey.Valid || v.Source != apikey.SourceCache {
			w.violate("before: %+v", v)
		}
		w.net.stall(classStream, 5*time.Second)
		time.Sleep(500 * time.Millisecond)
		w.setActive(false)
		time.Sleep(1500 * time.Millisecond) // a heartbeat is acknowledged
		w.net.stall(classHeartbeat, 10*time.Second)
		time.Sleep(100 * time.Millisecond)
		w.set.restore(snapshot)
		for range 8 {
			w.set.main.TickNoop()
			w.askFor(time.Second)
		}
	})
}

// TestAStreamThatBreaksWhileTheMajorityIsSlow: each heartbeat is acknowledged after about four seconds. Then a stream of
// a collection that is interrupted once must be fresh again with the second heartbeat, and not be closed before it.
func TestAStreamThatBreaksWhileTheMajorityIsSlow(t *testing.T) {
	wrong := stage(t, func(w *world) {
		w.setActive(true)
		w.askFor(2 * time.Second)
		majority := func() {
			w.set.hold()
			w.askFor(4 * time.Second)
			w.set.release()
			time.Sleep(time.Microsecond)
		}
		majority()
		w.net.stall(classStream, 5500*time.Millisecond) // longer than the watchdog waits
		for range 10 {
			majority()
		}
		if v := w.askFor(20 * time.Millisecond); v.Source != apikey.SourceCache {
			w.violate("a slow majority: %+v", v)
		}
		losses := 0
		w.count(func(c *counts) { losses = c.losses })
		if losses > 0 {
			w.violate("%d losses", losses)
		}
	})
	if len(wrong) > 0 {
		t.Error(wrong[0])
	}
}
