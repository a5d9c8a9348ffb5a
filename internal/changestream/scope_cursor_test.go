package changestream

import (
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
)

// A stream is not closed for what it cannot prove yet: where a heartbeat takes longer than half of the limit, the one
// that was sent over its cursor would otherwise always be too late.
func TestAStreamIsNotOverdueBeforeItsPositionsProve(t *testing.T) {
	const limit = 5 * time.Second
	var m heartbeatTracker
	m.acknowledge(m.send(after(0)).nonce, 1, after(1))
	inFlight := m.send(after(2)).nonce
	m.cursorOpened()
	m.acknowledge(inFlight, 2, after(6))
	if m.isUncovered(after(100), limit) {
		t.Error("overdue although no heartbeat was sent over the cursor")
	}
	m.acknowledge(m.send(after(6)).nonce, 3, after(10))
	if m.isUncovered(after(15), limit) || !m.isUncovered(after(15.1), limit) {
		t.Error("the wait does not begin with the first acknowledgement of a heartbeat that was sent over the cursor")
	}
	m.acknowledge(m.send(after(11)).nonce, 4, after(14))
	if !m.isUncovered(after(15.1), limit) {
		t.Error("the next acknowledgement begins the wait again")
	}
	if m.cursorOpened(); m.isUncovered(after(100), limit) {
		t.Error("the next cursor is overdue from the beginning")
	}
}

// A heartbeat that is sent before the cursor has been noted would prove nothing, and the next one would come an interval
// later. The order shows where the cursor before has ended the history: then none is requested.
func TestAHeartbeatIsRequestedAfterTheCursorWasNoted(t *testing.T) {
	s := mongotest.StartDevmongo(t, devmongo.Config{})
	r := collectionRig(t, &s.Server)
	m := &r.Heartbeater.tracker
	if err := r.noteDriverResume(&stream{}, 1); err != nil || len(r.Heartbeater.wanted) != 1 {
		t.Fatalf("%d heartbeats requested, %v", len(r.Heartbeater.wanted), err)
	}
	<-r.Heartbeater.wanted
	m.acknowledge(m.send(after(0)).nonce, 500, after(1))
	m.newestCoveredBy(600)
	if loss := classify(r.noteDriverResume(&stream{}, 2)); reasonOf(loss) != reasonUnverified {
		t.Errorf("got %v, want %s", loss, reasonUnverified)
	}
	if len(r.Heartbeater.wanted) != 0 {
		t.Error("requested before the cursor was noted")
	}
}

// The driver opens another cursor on its own, and the server closes it after its first batch, because the collection
// was dropped. No cursor id shows then that it was another one. Its events prove nothing about a heartbeat from before.
func TestACursorThatEndsWithItsFirstBatchProvesNothing(t *testing.T) {
	s := mongotest.StartDevmongo(t, devmongo.Config{})
	r := newRig(t, &s.Server, true, func(c *Config) {
		c.Scope, c.MaxAwait = ScopeCollection, 20*time.Millisecond
		c.Heartbeater = newHeartbeater(t, c.Database, func(h *HeartbeaterConfig) { h.Interval, h.MaxStale = time.Hour, 3*time.Hour })
	})
	r.runFresh()
	r.sendAndReceive()
	before := r.freshened()
	r.holdUntilCursorIsGone(time.Second)
	if _, err := r.Beat(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.insert("after the heartbeat")
	if err := r.keys.Drop(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.waitForLoss(reasonDrop)
	if got := r.freshened(); got != before {
		t.Errorf("fresh %d times by a cursor that was opened after the heartbeat", got-before)
	}
}

// holdUntilCursorIsGone returns when the server holds a request of the tail. After so long it answers that it does not
// know the cursor.
func (r *rig) holdUntilCursorIsGone(held time.Duration) {
	r.t.Helper()
	admin := r.server.Client(r.t, "operator").Database("admin")
	configure := func(mode any) int {
		var reply struct{ Count int }
		if err := admin.RunCommand(r.t.Context(), bson.D{
			{Key: "configureFailPoint", Value: "failCommand"},
			{Key: "mode", Value: mode},
			{Key: "data", Value: bson.D{
				{Key: "appName", Value: r.appName},
				{Key: "failCommands", Value: bson.A{"getMore"}},
				{Key: "errorCode", Value: 43},
				{Key: "blockConnection", Value: true},
				{Key: "blockTimeMS", Value: held.Milliseconds()},
			}},
		}).Decode(&reply); err != nil {
			r.t.Fatal(err)
		}
		return reply.Count
	}
	configure("alwaysOn")
	mongotest.Eventually(r.t, patience, func() bool { return configure("alwaysOn") > 0 }, "the tail sends no request")
}
