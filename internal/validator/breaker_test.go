package validator

import (
	"testing"
	"time"
)

// mustBegin begins an attempt that the breaker must allow.
func mustBegin(t *testing.T, b *breaker) attempt {
	t.Helper()
	p, ok := b.begin()
	if !ok {
		t.Fatal("the breaker refuses")
	}
	return p
}

func mustRefuse(t *testing.T, b *breaker) {
	t.Helper()
	if _, ok := b.begin(); ok || !b.refuses() {
		t.Fatal("the breaker lets a second one through")
	}
}

func TestBreakerLetsOneThroughUntilOneSucceeds(t *testing.T) {
	t.Parallel()
	var b breaker
	now := time.Now()
	first, second := mustBegin(t, &b), mustBegin(t, &b)
	if !b.failed(first, now) || !b.isOpen() {
		t.Fatal("the first failure does not open it")
	}
	if b.failed(second, now) {
		t.Fatal("it opens twice")
	}
	probe := mustBegin(t, &b)
	mustRefuse(t, &b)
	if b.failed(probe, now) {
		t.Fatal("it opens again while it is open")
	}
	probe = mustBegin(t, &b)
	mustRefuse(t, &b)
	b.withdraw(probe) // no read was sent to the database
	probe = mustBegin(t, &b)
	mustRefuse(t, &b)
	if !b.succeeded(probe) || b.isOpen() || b.refuses() {
		t.Fatal("a success does not close it")
	}
	mustBegin(t, &b)
	mustBegin(t, &b)
}

func TestFailureOlderThanASuccessIsIgnored(t *testing.T) {
	t.Parallel()
	var b breaker
	now := time.Now()
	together := []attempt{mustBegin(t, &b), mustBegin(t, &b), mustBegin(t, &b)}
	b.failed(together[0], now)
	if !b.succeeded(mustBegin(t, &b)) {
		t.Fatal("not closed")
	}
	for _, p := range together[1:] {
		if b.failed(p, now) || b.isOpen() {
			t.Fatal("a time-out that began before the success opens it again")
		}
	}
	if !b.failed(mustBegin(t, &b), now) {
		t.Fatal("a new failure does not")
	}
}

// The success of a read that began while the breaker was closed counts. The
// read that was let through alone remains the only one until it has ended.
func TestProbeStaysTheOnlyAttempt(t *testing.T) {
	t.Parallel()
	var b breaker
	now := time.Now()
	slow := mustBegin(t, &b)
	b.failed(mustBegin(t, &b), now)
	probe := mustBegin(t, &b)
	b.succeeded(slow)
	if b.isOpen() {
		t.Fatal("a success does not close it")
	}
	b.failed(mustBegin(t, &b), now)
	mustRefuse(t, &b)
	if b.failed(probe, now) {
		t.Fatal("the probe of the last outage reopens it")
	}
	mustBegin(t, &b)
	mustRefuse(t, &b)
}

func TestHeartbeatSentAfterTheFailureCloses(t *testing.T) {
	t.Parallel()
	var b breaker
	now := time.Now()
	b.closeAfter(now)
	b.failed(mustBegin(t, &b), now)
	b.closeAfter(now.Add(-time.Second))
	b.closeAfter(now)
	if !b.isOpen() {
		t.Fatal("a heartbeat from before the failure closes it")
	}
	b.closeAfter(now.Add(1))
	if b.isOpen() {
		t.Fatal("a heartbeat sent after the failure does not close it")
	}
}
