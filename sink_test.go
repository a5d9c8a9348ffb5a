package keytail

import (
	"context"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/changestream"
	"github.com/keytail/keytail/internal/events"
	"github.com/keytail/keytail/internal/keycache"
)

// lookingSink is a cache that looks, while it takes in a change, whether others
// have been told already.
type lookingSink struct {
	changestream.Sink
	t            *testing.T
	subscription *events.Subscription
	applied      int
}

func (s *lookingSink) Apply(*keycache.Change) {
	s.applied++
	ctx, cancel := context.WithCancel(s.t.Context())
	cancel()
	if told, err := s.subscription.Next(ctx); err == nil {
		s.t.Errorf("told before the cache has it: %+v", told)
	}
}

func TestTheCacheHasAChangeBeforeItsEvent(t *testing.T) {
	hub, err := events.New(events.Config{Text: func(id apikey.DocID) (string, bool) { return string(id), true }})
	if err != nil {
		t.Fatal(err)
	}
	subscription, err := hub.Subscribe("")
	if err != nil {
		t.Fatal(err)
	}
	defer subscription.Close()
	if _, err := subscription.Next(t.Context()); err != nil { // the resync of the start
		t.Fatal(err)
	}
	cache := &lookingSink{t: t, subscription: subscription}
	sink{Sink: cache, events: hub}.Apply(&keycache.Change{ID: "k1", Time: 7})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	told, err := subscription.Next(ctx)
	if err != nil || len(told) != 1 || told[0].KeyID != "k1" || told[0].Revision != 7 || cache.applied != 1 {
		t.Errorf("told %+v, %v; applied %d times", told, err, cache.applied)
	}
}
