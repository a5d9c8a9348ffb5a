package validator

import (
	"testing"
	"time"
)

// mustEnter takes a pass that must be there.
func mustEnter(t *testing.T, b *breaker) pass {
	t.Helper()
	p, ok := b.enter()
	if !ok {
		t.Fatal("the breaker refuses")
	}
	return p
}

func mustRefuse(t *testing.T, b *breaker) {
	t.Helper()
	if _, ok := b.enter(); ok || !b.busy() {
		t.Fatal("the breaker lets a second one through")
	}
}

func TestBreakerLetsOneThroughUntilOneSucceeds(t *testing.T) {
	t.Parallel()
	var b breaker
	now := time.Now()
	first, second := mustEnter(t, &b), mustEnter(t, &b)
	if !b.failed(first, now) || !b.isOpen() {
		t.Fatal("the first failure does not open it")
	}
	if b.failed(second, now) {
		t.Fatal("it opens twice")
	}
	probe := mustEnter(t, &b)
	mustRefuse(t, &b)
	if b.failed(probe, now) {
		t.Fatal("it opens again while it is open")
	}
	probe = mustEnter(t, &b)
	mustRefuse(t, &b)
	b.withdraw(probe) // it never asked
	probe = mustEnter(t, &b)
	mustRefuse(t, &b)
	if !b.succeeded(probe) || b.isOpen() || b.busy() {
		t.Fatal("a success does not close it")
	}
	mustEnter(t, &b)
	mustEnter(t, &b)
}

func TestFailureOlderThanASuccessIsNoNews(t *testing.T) {
	t.Parallel()
	var b breaker
	now := time.Now()
	together := []pass{mustEnter(t, &b), mustEnter(t, &b), mustEnter(t, &b)}
	b.failed(together[0], now)
	if !b.succeeded(mustEnter(t, &b)) {
		t.Fatal("not closed")
	}
	for _, p := range together[1:] {
		if b.failed(p, now) || b.isOpen() {
			t.Fatal("a time-out that began before the success opens it again")
		}
	}
	if !b.failed(mustEnter(t, &b), now) {
		t.Fatal("a new failure does not")
	}
}

// A success of one that began while the breaker was closed counts, and whoever
// was let through alone is still the only one until it is back.
func TestProbeStaysTheOnlyOne(t *testing.T) {
	t.Parallel()
	var b breaker
	now := time.Now()
	slow := mustEnter(t, &b)
	b.failed(mustEnter(t, &b), now)
	probe := mustEnter(t, &b)
	b.succeeded(slow)
	if b.isOpen() {
		t.Fatal("a success does not close it")
	}
	b.failed(mustEnter(t, &b), now)
	mustRefuse(t, &b)
	if b.failed(probe, now) {
		t.Fatal("the probe of the last outage reopens it")
	}
	mustEnter(t, &b)
	mustRefuse(t, &b)
}

func TestHeartbeatSentAfterTheFailureCloses(t *testing.T) {
	t.Parallel()
	var b breaker
	now := time.Now()
	b.heard(now)
	b.failed(mustEnter(t, &b), now)
	b.heard(now.Add(-time.Second))
	b.heard(now)
	if !b.isOpen() {
		t.Fatal("a heartbeat from before the failure closes it")
	}
	b.heard(now.Add(1))
	if b.isOpen() {
		t.Fatal("a heartbeat sent after the failure does not close it")
	}
}
