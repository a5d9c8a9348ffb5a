package revocation

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestEveryInterleavingEndsTheWatch splits Changed and Add into their steps and tries
// each interleaving: whenever the verdict was VALID, the watch must end.
func TestEveryInterleavingEndsTheWatch(t *testing.T) {
	orders, valid := 0, 0
	var try func(prefix []bool, changes, adds int)
	try = func(prefix []bool, changes, adds int) {
		if changes == 4 && adds == 4 {
			orders++
			if runSteps(t, prefix) {
				valid++
			}
			return
		}
		if changes < 4 {
			try(append(prefix[:len(prefix):len(prefix)], true), changes+1, adds)
		}
		if adds < 4 {
			try(append(prefix[:len(prefix):len(prefix)], false), changes, adds+1)
		}
	}
	try(nil, 0, 0)
	if orders != 70 || valid != 15 {
		t.Errorf("%d interleavings, a valid verdict in %d of them, want 70 and 15", orders, valid)
	}
}

// runSteps runs the steps in an order: true is a step of Changed. It reports
// whether the verdict was VALID.
func runSteps(t *testing.T, order []bool) (valid bool) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{})
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go func() { _ = s.Run(ctx) }()

		revoked, watched := false, false
		change := []func(){
			func() { revoked = true },
			func() { s.raise(0) },
			func() { watched = s.isWatched() },
			func() {
				if watched {
					s.RecheckKey("k1", 0)
				}
			},
		}
		w := newWatch(s, Entry{KeyID: "k1", Recheck: func(context.Context, uint64) (time.Time, error, error) {
			if revoked {
				return time.Time{}, errRevoked, nil
			}
			return time.Time{}, nil, nil
		}})
		add := []func(){
			func() { w.entry.Mark = s.Mark() },
			func() { valid = !revoked },
			func() { s.insert(w) },
			w.Again,
		}
		for _, isChange := range order {
			steps := &add
			if isChange {
				steps = &change
			}
			(*steps)[0]()
			*steps = (*steps)[1:]
			synctest.Wait()
		}
		if valid && w.Err() == nil {
			t.Errorf("the change is missed in the order %v", order)
		}
		w.Stop()
	})
	return valid
}
