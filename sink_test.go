package keytail

import (
	"context"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/changestream"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/events"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/revocation"
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
	sink{Sink: cache, events: hub, watches: revocation.New(revocation.Config{})}.Apply(&keycache.Change{ID: "k1", Time: 7})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	told, err := subscription.Next(ctx)
	if err != nil || len(told) != 1 || told[0].KeyID != "k1" || told[0].Revision != 7 || cache.applied != 1 {
		t.Errorf("told %+v, %v; applied %d times", told, err, cache.applied)
	}
}

// recordingSink takes note of what it is told.
type recordingSink struct {
	changestream.Sink
	log chan string
}

func (s recordingSink) Apply(*keycache.Change) { s.log <- "applied" }
func (s recordingSink) Open(clustertime.Time)  { s.log <- "opened" }

// TestAWatchIsToldAfterTheCache of a change, of a loss, and when the stream begins
// anew.
func TestAWatchIsToldAfterTheCache(t *testing.T) {
	hub, err := events.New(events.Config{Text: keystore.IDText})
	if err != nil {
		t.Fatal(err)
	}
	set, log := revocation.New(revocation.Config{}), make(chan string, 10)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- set.Run(ctx) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	w := set.Add(revocation.Entry{KeyID: "k1", Mark: set.Mark(), Recheck: func(context.Context, uint64) (time.Time, error, error) {
		log <- "asked"
		return time.Time{}, nil, nil
	}})
	defer w.Stop()
	tail := sink{Sink: recordingSink{nil, log}, events: hub, watches: set}
	for _, c := range []struct {
		name string
		do   func()
		want []string
	}{
		{"another key", func() { tail.Apply(&keycache.Change{ID: docID(t, "k2")}) }, []string{"applied"}},
		{"the key", func() { tail.Apply(&keycache.Change{ID: docID(t, "k1")}) }, []string{"applied", "asked"}},
		{"no key", func() { tail.Apply(&keycache.Change{ID: "unreadable"}) }, []string{"applied"}},
		{"a loss", func() { tail.lost("drop") }, []string{"asked"}},
		{"a new beginning", func() { tail.Open(7) }, []string{"opened", "asked"}},
	} {
		c.do()
		for _, want := range c.want {
			select {
			case got := <-log:
				if got != want {
					t.Errorf("%s: %s, want %s", c.name, got, want)
				}
			case <-time.After(5 * time.Second):
				t.Errorf("%s: not %s", c.name, want)
			}
		}
	}
	if len(log) != 0 {
		t.Errorf("too much was told: %s", <-log)
	}
}

// TestWhoListensIsToldWhenTheStreamBeginsAnew: what they asked between the loss and
// now may have changed since, without an event.
func TestWhoListensIsToldWhenTheStreamBeginsAnew(t *testing.T) {
	hub, err := events.New(events.Config{Text: keystore.IDText})
	if err != nil {
		t.Fatal(err)
	}
	subscription, err := hub.Subscribe("")
	if err != nil {
		t.Fatal(err)
	}
	defer subscription.Close()
	tail := sink{Sink: recordingSink{nil, make(chan string, 1)}, events: hub, watches: revocation.New(revocation.Config{})}
	tail.Open(7)
	told, err := subscription.Next(t.Context())
	if err != nil || len(told) != 2 || told[1].Kind != events.Loss || told[1].Reason != reasonReopened {
		t.Errorf("told %+v, %v", told, err)
	}
}

func docID(t *testing.T, text string) apikey.DocID {
	t.Helper()
	kind, value, err := bson.MarshalValue(text)
	if err != nil {
		t.Fatal(err)
	}
	return keystore.DefaultSchema().ID(bson.RawValue{Type: kind, Value: value})
}
