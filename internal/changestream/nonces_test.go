package changestream

import (
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
	var m nonces
	for i := range 100 {
		if n := m.send(after(float64(i))); n != int64(i+1) {
			t.Fatalf("heartbeat %d has number %d", i, n)
		}
	}
	for n, want := range map[int64]bool{
		100: true, 37: true, 36: false, // the last 64
		101: false, 0: false, -1: false, -28: false, 1 << 40: false, 100 + remembered: false,
	} {
		at, ok := m.comeBack(n)
		if ok != want || (ok && !at.Equal(after(float64(n-1)))) {
			t.Errorf("heartbeat %d: got %v, %v", n, at.Sub(start), ok)
		}
	}
}

func TestWhenAHeartbeatIsOverdue(t *testing.T) {
	const limit = 5 * time.Second
	var m nonces
	late := func(opened, now float64) bool { return m.overdue(after(opened), after(now), limit) }
	if m.send(after(0)); late(0, 100) {
		t.Error("one that nobody acknowledged is missed")
	}
	m.acknowledge(1, 1, after(1))
	if late(0, 6) || !late(0, 6.1) {
		t.Error("the wait does not begin with the acknowledgement")
	}
	if late(4, 9) || !late(4, 9.1) {
		t.Error("a stream that was opened later is not given its time")
	}
	m.send(after(2))
	m.acknowledge(2, 1, after(3))
	m.comeBack(1)
	if late(0, 7) || !late(0, 7.1) {
		t.Error("the one that is still out is not waited for")
	}
	if m.comeBack(1); !late(0, 7.1) {
		t.Error("one that comes back twice stands for another")
	}
	if m.comeBack(2); late(0, 100) {
		t.Error("one that came back is missed")
	}
	m.send(after(8))
	m.comeBack(3)
	if m.acknowledge(3, 1, after(9)); late(0, 100) {
		t.Error("one that came back before its acknowledgement is missed")
	}
}

func TestWhichStreamsKeptAHeartbeatBack(t *testing.T) {
	var m nonces
	kept := func(opened float64) bool { return m.keptBack(after(opened)) }
	m.send(after(2))
	if kept(1) {
		t.Error("nobody acknowledged it")
	}
	if m.acknowledge(1, 1, after(4)); !kept(1) || kept(3) {
		t.Error("it counts against the streams that were open when it was sent, and no others")
	}
	if m.comeBack(1); kept(1) {
		t.Error("it came back")
	}
}

func token(data string) bson.Raw {
	b, err := bson.Marshal(bson.D{{Key: "_data", Value: data}})
	if err != nil {
		panic(err)
	}
	return b
}

func TestLaterComparesPlacesAndNotTokens(t *testing.T) {
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
		if got := later(c.from, c.to); got != c.want {
			t.Errorf("%s: got %v", c.name, got)
		}
	}
}
