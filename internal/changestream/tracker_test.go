package changestream

import (
	"math"
	"slices"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// start is any time; after is some seconds later.
var start = time.Now()

func after(seconds float64) time.Time {
	return start.Add(time.Duration(seconds * float64(time.Second)))
}

func TestANonceProvesTheTimeBeforeItWasSent(t *testing.T) {
	var m heartbeatTracker
	sent := make([]int64, 100)
	for i := range sent {
		sent[i] = m.send(after(float64(i))).nonce
		if sent[i] <= 0 || slices.Contains(sent[:i], sent[i]) {
			t.Fatalf("heartbeat %d has the nonce %d: %d", i, sent[i], sent[:i])
		}
	}
	for _, n := range []int64{0, -1, 1, 2, 100, 101, 1 << 40, math.MaxInt64} {
		if _, ok, err := m.receive(n, true); ok || err != nil {
			t.Errorf("%d was not sent: %v, %v", n, ok, err)
		}
	}
	for i, n := range sent {
		at, ok, err := m.receive(n, true)
		if want := i >= len(sent)-trackedHeartbeats; err != nil || ok != want || (ok && !at.Equal(after(float64(i)))) {
			t.Errorf("heartbeat %d: got %v, %v, %v", i, at.Sub(start), ok, err)
		}
		if _, again, _ := m.receive(n, true); again {
			t.Errorf("heartbeat %d counts twice", i)
		}
	}
}

func TestWhenAHeartbeatIsOverdue(t *testing.T) {
	const limit = 5 * time.Second
	var m heartbeatTracker
	late := func(opened, now float64) bool { return m.isOverdue(after(opened), after(now), limit) }
	receive := func(n int64) { _, _, _ = m.receive(n, true) }
	first := m.send(after(0)).nonce
	if late(0, 100) {
		t.Error("a heartbeat without acknowledgement is overdue")
	}
	m.acknowledge(first, 1, after(1))
	if late(0, 6) || !late(0, 6.1) {
		t.Error("the wait does not begin with the acknowledgement")
	}
	if late(4, 9) || !late(4, 9.1) {
		t.Error("a stream that was opened later does not get its full time")
	}
	second := m.send(after(2)).nonce
	m.acknowledge(second, 1, after(3))
	receive(first)
	if late(0, 7) || !late(0, 7.1) {
		t.Error("the heartbeat that has not arrived is not expected")
	}
	if receive(first); !late(0, 7.1) {
		t.Error("a heartbeat that arrives twice counts as another one")
	}
	if receive(second); late(0, 100) {
		t.Error("a heartbeat that arrived is overdue")
	}
	third := m.send(after(8)).nonce
	receive(third)
	if m.acknowledge(third, 1, after(9)); late(0, 100) {
		t.Error("a heartbeat that arrived before its acknowledgement is overdue")
	}
}

func TestWhichStreamsDidNotDeliverAHeartbeat(t *testing.T) {
	var m heartbeatTracker
	kept := func(opened float64) bool { return m.hasUndelivered(after(opened)) }
	n := m.send(after(2)).nonce
	if kept(1) {
		t.Error("it was not acknowledged")
	}
	if m.acknowledge(n, 1, after(4)); !kept(1) || kept(3) {
		t.Error("it must count for the streams that were open when it was sent, and for no others")
	}
	if _, _, _ = m.receive(n, true); kept(1) {
		t.Error("it arrived")
	}
}

func token(data string) bson.Raw {
	b, err := bson.Marshal(bson.D{{Key: "_data", Value: data}})
	if err != nil {
		panic(err)
	}
	return b
}

func TestIsLaterComparesPositionsAndNotTokens(t *testing.T) {
	at := func(seconds, kind string) bson.Raw { return token("82000000" + seconds + "00000001" + kind) }
	for _, c := range []struct {
		name     string
		from, to bson.Raw
		want     bool
	}{
		{"same", at("07", "2B04"), at("07", "2B04"), false},
		{"an event's and a batch's of one time", at("07", "2B042C"), at("07", "2B0429"), false},
		{"later", at("07", "2B04"), at("08", "2B04"), true},
		{"earlier", at("08", "2B04"), at("07", "2B04"), false},
		{"another layout, same", token("abc"), token("abc"), false},
		{"another layout, other", token("abc"), token("abd"), true},
	} {
		if got := isLater(c.from, c.to); got != c.want {
			t.Errorf("%s: got %v", c.name, got)
		}
	}
}
