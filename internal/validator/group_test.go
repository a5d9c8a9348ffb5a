package validator

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// work is a run that a test blocks: each run takes a number when it begins.
type work struct {
	begun atomic.Int64
	leave chan struct{}
}

func (w *work) run(context.Context, string) (int64, error) {
	n := w.begun.Add(1)
	<-w.leave
	return n, nil
}

// caller calls a group on its own goroutine.
type caller struct {
	value int64
	err   error
	back  bool
}

func join(ctx context.Context, g *group[string, int64], key string) *caller {
	c := &caller{}
	go func() {
		c.value, c.err = g.do(ctx, key)
		c.back = true
	}()
	synctest.Wait()
	return c
}

func TestACallerNeverJoinsAFlightThatBeganBeforeIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &work{leave: make(chan struct{})}
		g := newGroup(w.run, nil)
		first := join(t.Context(), g, "k")
		late := []*caller{join(t.Context(), g, "k"), join(t.Context(), g, "k")}
		if w.begun.Load() != 1 {
			t.Fatalf("%d concurrent runs for one key", w.begun.Load())
		}
		w.leave <- struct{}{}
		synctest.Wait()
		if !first.back || first.value != 1 || late[0].back || late[1].back {
			t.Fatalf("first %+v, late %+v %+v", first, late[0], late[1])
		}
		// The second run is in progress: this caller arrived too late for it.
		later := join(t.Context(), g, "k")
		w.leave <- struct{}{}
		synctest.Wait()
		if late[0].value != 2 || late[1].value != 2 || later.back {
			t.Fatalf("late %+v %+v, later %+v", late[0], late[1], later)
		}
		w.leave <- struct{}{}
		synctest.Wait()
		if later.value != 3 || w.begun.Load() != 3 || len(g.flights) != 0 {
			t.Fatalf("later %+v, %d runs, %d flights left", later, w.begun.Load(), len(g.flights))
		}
	})
}

func TestKeysDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &work{leave: make(chan struct{})}
		g := newGroup(w.run, nil)
		join(t.Context(), g, "a")
		join(t.Context(), g, "b")
		if w.begun.Load() != 2 {
			t.Fatalf("%d runs for two keys", w.begun.Load())
		}
		close(w.leave)
		synctest.Wait()
	})
}

func TestACallerThatLeavesEndsNoFlightAndBeginsNone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &work{leave: make(chan struct{})}
		g := newGroup(w.run, nil)
		ctx, leave := context.WithCancel(t.Context())
		first := join(ctx, g, "k")
		stays := join(t.Context(), g, "k")
		leave()
		synctest.Wait()
		if !errors.Is(first.err, context.Canceled) || stays.back {
			t.Fatalf("first %+v, the one that stays %+v", first, stays)
		}
		w.leave <- struct{}{}
		synctest.Wait()
		// All callers of the third run leave before it begins.
		ctx, leave = context.WithCancel(t.Context())
		join(ctx, g, "k")
		join(ctx, g, "k")
		leave()
		synctest.Wait()
		w.leave <- struct{}{}
		synctest.Wait()
		if stays.value != 2 || w.begun.Load() != 2 || len(g.flights) != 0 {
			t.Fatalf("the one that stays %+v, %d runs, %d flights left", stays, w.begun.Load(), len(g.flights))
		}
	})
}

func TestAnErrorIsSharedLikeAResult(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		want := errors.New("no")
		joined := 0
		g := newGroup(func(context.Context, string) (int64, error) {
			time.Sleep(time.Second)
			return 0, want
		}, func(context.Context, context.Context) { joined++ })
		callers := []*caller{join(t.Context(), g, "k"), join(t.Context(), g, "k"), join(t.Context(), g, "k")}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		for i, c := range callers {
			if !c.back || !errors.Is(c.err, want) {
				t.Errorf("caller %d: %+v", i, c)
			}
		}
		if joined != 1 { // the second caller has a flight of its own, which the third shares
			t.Errorf("%d callers have joined the flight of another, want 1", joined)
		}
	})
}

// Under load and with the race detector: the number of the result was taken
// after the caller had arrived.
func TestEveryResultIsNewerThanItsCaller(t *testing.T) {
	t.Parallel()
	var clock, runs atomic.Int64
	g := newGroup(func(context.Context, int) (int64, error) {
		runs.Add(1)
		return clock.Add(1), nil
	}, nil)
	var callers sync.WaitGroup
	const each = 2000
	for i := range 8 {
		callers.Go(func() {
			for range each {
				ctx, leave := context.WithCancel(context.Background())
				if i == 0 {
					leave() // some callers leave immediately
				}
				came := clock.Load()
				if got, err := g.do(ctx, i%2); err == nil && got <= came {
					t.Errorf("came at %d, got the result of %d", came, got)
				}
				leave()
			}
		})
	}
	callers.Wait()
	if n := runs.Load(); n == 0 || n > 8*each {
		t.Errorf("%d runs", n)
	}
}
