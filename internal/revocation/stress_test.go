package revocation

import (
	"context"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// race has one key for each round, which is valid when the round begins and is revoked
// during it.
type race struct {
	watches *Watches
	// revoked is the last round whose key is revoked.
	revoked atomic.Int64
	// round is the current round. Negative: the test is over.
	round atomic.Int64
	// lead is how much longer the revocation waits in a round than the validation, in
	// loads. It is adjusted so that about half of the keys are found valid.
	lead atomic.Int64
}

// pause makes a random number of loads, up to about twice most.
func (r *race) pause(most int64) {
	for range rand.Int64N(2*max(most, 0) + 20) {
		_ = r.round.Load()
	}
}

// revoke revokes the key of each round and reports the change.
func (r *race) revoke() {
	for round := int64(1); ; round++ {
		for spins := 0; r.round.Load() < round; spins++ {
			if r.round.Load() < 0 {
				return
			}
			if spins%50 == 49 {
				runtime.Gosched()
			}
		}
		r.pause(r.lead.Load())
		r.revoked.Store(round)
		if round%8 == 0 {
			r.watches.ChangedAll()
		} else {
			r.watches.Changed("k", 0)
		}
	}
}

// watch validates the round's key and watches it if it is valid. It reports whether
// it was, and whether the watch has ended.
func (r *race) watch(round int64) (valid, ended bool) {
	check := func() error {
		if r.revoked.Load() >= round {
			return errRevoked
		}
		return nil
	}
	r.pause(-r.lead.Load())
	mark := r.watches.Mark()
	if check() != nil {
		return false, false
	}
	w := r.watches.Add(Entry{KeyID: "k", Mark: mark, Recheck: func(context.Context, uint64) (time.Time, error, error) { return time.Time{}, check(), nil }})
	defer w.Stop()
	select {
	case <-w.Done():
		return true, true
	case <-time.After(10 * time.Second):
		return true, false
	}
}

// TestNoChangeIsMissed runs a change and the beginning of a watch concurrently: if the
// key was valid when it was validated, and is revoked meanwhile, the watch must end.
// There is no other watch, so a change finds this watch or none.
// TestEveryInterleavingEndsTheWatch tries the interleavings one by one; this test runs
// those that the machine produces.
func TestNoChangeIsMissed(t *testing.T) {
	const most, atMost = 400_000, 3 * time.Second
	r := &race{watches: New(Config{})}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.watches.Run(ctx) }()
	revoker := make(chan struct{})
	go func() { defer close(revoker); r.revoke() }()
	defer func() {
		r.round.Store(-1)
		stop()
		<-revoker
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()

	found, round, begun := 0, int64(0), time.Now()
	for round < most && (round%1000 != 0 || time.Since(begun) < atMost) {
		round++
		r.round.Store(round)
		valid, ended := r.watch(round)
		if !valid {
			r.lead.Add(5)
			continue
		}
		found++
		if !ended {
			t.Fatalf("round %d: the key is revoked, and the watch has not ended", round)
		}
		r.lead.Add(-5)
	}
	t.Logf("%d of %d keys were valid when they were validated", found, round)
	if found == 0 {
		t.Error("no key was ever valid: the two never ran concurrently")
	}
}
