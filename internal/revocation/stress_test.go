package revocation

import (
	"context"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// race is a key in each round: good when the round begins, and revoked in it.
type race struct {
	set *Watches
	// revoked is the last round whose key is revoked.
	revoked atomic.Int64
	// round is the one under way. Negative: there is none any more.
	round atomic.Int64
	// lead is how much longer the revocation waits in a round than the look at the
	// key, in loads. It is made such that about half of the keys are found good.
	lead atomic.Int64
}

// pause takes up to about so many loads.
func (r *race) pause(most int64) {
	for range rand.Int64N(2*max(most, 0) + 20) {
		_ = r.round.Load()
	}
}

// revoke ends the key of each round, and tells the set.
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
			r.set.ChangedAll()
		} else {
			r.set.Changed("k", 0)
		}
	}
}

// look asks about the round's key and watches it if it is good. It reports whether
// it was, and whether the watch has ended.
func (r *race) look(round int64) (good, ended bool) {
	valid := func() error {
		if r.revoked.Load() >= round {
			return errRevoked
		}
		return nil
	}
	r.pause(-r.lead.Load())
	mark := r.set.Begin()
	if valid() != nil {
		return false, false
	}
	w := r.set.Add(Entry{KeyID: "k", Mark: mark, Recheck: func(context.Context, uint64) (time.Time, error) { return time.Time{}, valid() }})
	defer w.Stop()
	select {
	case <-w.Done():
		return true, true
	case <-time.After(10 * time.Second):
		return true, false
	}
}

// TestNoChangeIsMissed lets a change and the beginning of a watch meet at all
// points: a key that was good when it was asked about, and is revoked meanwhile, must
// end the watch. Nobody else watches, so a change finds this watch or none.
// TestEveryOrderOfStepsIsSafe tries the orders one by one; here is what the machine
// makes of them.
func TestNoChangeIsMissed(t *testing.T) {
	const most, atMost = 400_000, 3 * time.Second
	r := &race{set: New(Config{})}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.set.Run(ctx) }()
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
		good, ended := r.look(round)
		if !good {
			r.lead.Add(5)
			continue
		}
		found++
		if !ended {
			t.Fatalf("round %d: the key is revoked, and nobody has said so", round)
		}
		r.lead.Add(-5)
	}
	t.Logf("%d of %d keys were good when they were asked about", found, round)
	if found == 0 {
		t.Error("the two never meet")
	}
}
