package revocation

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestEveryOrderOfStepsIsSafe takes Changed and Add apart, and tries each way in
// which the steps of the two can follow each other: whenever the verdict was good, the
// watch ends.
func TestEveryOrderOfStepsIsSafe(t *testing.T) {
	orders, good := 0, 0
	var try func(prefix []bool, changes, looks int)
	try = func(prefix []bool, changes, looks int) {
		if changes == 4 && looks == 4 {
			orders++
			if endsInOrder(t, prefix) {
				good++
			}
			return
		}
		if changes < 4 {
			try(append(prefix[:len(prefix):len(prefix)], true), changes+1, looks)
		}
		if looks < 4 {
			try(append(prefix[:len(prefix):len(prefix)], false), changes, looks+1)
		}
	}
	try(nil, 0, 0)
	if orders != 70 || good != 15 {
		t.Errorf("%d orders, in %d of which the key was good", orders, good)
	}
}

// endsInOrder takes the steps in an order: true for one of Changed. It reports
// whether the key was good when it was asked about.
func endsInOrder(t *testing.T, order []bool) (good bool) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{})
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go func() { _ = s.Run(ctx) }()

		revoked, there := false, false
		change := []func(){
			func() { revoked = true },
			func() { s.raise(0) },
			func() { there = s.watched() },
			func() {
				if there {
					s.Tell("k1", 0)
				}
			},
		}
		w := newWatch(s, Entry{KeyID: "k1", Recheck: func(context.Context, uint64) (time.Time, error) {
			if revoked {
				return time.Time{}, errRevoked
			}
			return time.Time{}, nil
		}})
		look := []func(){
			func() { w.entry.Mark = s.Begin() },
			func() { good = !revoked },
			func() { s.insert(w) },
			w.Again,
		}
		for _, isChange := range order {
			steps := &look
			if isChange {
				steps = &change
			}
			(*steps)[0]()
			*steps = (*steps)[1:]
			synctest.Wait()
		}
		if good && w.Err() == nil {
			t.Errorf("in the order %v the change is missed", order)
		}
		w.Stop()
	})
	return good
}
