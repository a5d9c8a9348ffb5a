package service

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// TestConditionTellsSinceWhen: the state, why, and when it and the outage began.
func TestConditionTellsSinceWhen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var current atomic.Value
		current.Store(signs{trusted: true, began: true, fresh: true})
		broken := errors.New("no primary")
		h := &health{
			signs: func() signs { return current.Load().(signs) }, doubt: func(bool) {}, changed: func(string, string) {},
			cause:  func(s State) cause { return cause{what: "cause of " + string(s), err: broken, advice: "look"} },
			logger: zap.NewNop(), now: time.Now, firstLive: make(chan struct{}),
		}
		if c := h.condition(); c.State != Live || !c.Since.IsZero() || c.Cause != nil || c.Effect != "" {
			t.Errorf("before run: %+v", c)
		}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go func() { _ = h.run(ctx) }()
		<-h.firstLive
		synctest.Wait()
		live := time.Now()
		time.Sleep(time.Minute)
		synctest.Wait() // the check of this moment has been made: the next one sees the change
		if c := h.condition(); c.State != Live || !c.Since.Equal(live) || c.Cause != nil || !c.OutageSince.IsZero() {
			t.Errorf("live: %+v", c)
		}
		current.Store(signs{trusted: true, began: true})
		if c := h.condition(); c.State != Stale || !c.Since.Equal(time.Now()) || c.Cause == nil {
			t.Errorf("before the change is seen: %+v", c)
		}
		time.Sleep(healthInterval)
		synctest.Wait()
		outage := time.Now()
		time.Sleep(time.Minute)
		synctest.Wait()
		current.Store(signs{trusted: true, began: true, down: true})
		time.Sleep(healthInterval)
		synctest.Wait()
		c := h.condition()
		if c.State != Down || !c.Since.Equal(time.Now()) || !c.OutageSince.Equal(outage) || c.Effect == "" || c.Cause == nil ||
			c.LastOutage != nil || c.Cause.What != "cause of down" || !errors.Is(c.Cause.Err, broken) || c.Cause.Advice != "look" {
			t.Errorf("down: %+v", c)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		current.Store(signs{trusted: true, began: true, fresh: true})
		time.Sleep(healthInterval)
		synctest.Wait()
		c = h.condition()
		if last := c.LastOutage; c.State != Live || last == nil || !last.EndedAt.Equal(time.Now()) || last.Took != time.Since(outage) || last.DownFor != 2*time.Minute+healthInterval {
			t.Errorf("after the outage: %+v, the last one %+v", c, c.LastOutage)
		}
	})
}
