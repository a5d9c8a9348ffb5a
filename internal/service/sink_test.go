package service

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

// orderSink is a cache that checks, while it applies a change, that no subscriber
// has the event yet.
type orderSink struct {
	changestream.Sink
	t            *testing.T
	subscription *events.Subscription
	applied      int
}

func (s *orderSink) Apply(*keycache.Change) {
	s.applied++
	ctx, cancel := context.WithCancel(s.t.Context())
	cancel()
	if got, err := s.subscription.Next(ctx); err == nil {
		s.t.Errorf("a subscriber has the event before the cache: %+v", got)
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
	cache := &orderSink{t: t, subscription: subscription}
	sink{Sink: cache, events: hub, watches: revocation.New(revocation.Config{})}.Apply(&keycache.Change{ID: "k1", Time: 7})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	got, err := subscription.Next(ctx)
	if err != nil || len(got) != 1 || got[0].KeyID != "k1" || got[0].Revision != 7 || cache.applied != 1 {
		t.Errorf("got %+v, %v; applied %d times", got, err, cache.applied)
	}
}

// recordingSink records its calls.
type recordingSink struct {
	changestream.Sink
	log chan string
}

func (s recordingSink) Apply(*keycache.Change) { s.log <- "applied" }
func (s recordingSink) Open(clustertime.Time)  { s.log <- "opened" }

// TestAWatchIsRecheckedAfterTheCache has the change, after a loss, and when a new
// stream opens.
func TestAWatchIsRecheckedAfterTheCache(t *testing.T) {
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
		log <- "rechecked"
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
		{"the key", func() { tail.Apply(&keycache.Change{ID: docID(t, "k1")}) }, []string{"applied", "rechecked"}},
		{"no key", func() { tail.Apply(&keycache.Change{ID: "unreadable"}) }, []string{"applied"}},
		{"a loss", func() { tail.reportLoss("drop") }, []string{"rechecked"}},
		{"a new stream", func() { tail.Open(7) }, []string{"opened", "rechecked"}},
	} {
		c.do()
		for _, want := range c.want {
			select {
			case got := <-log:
				if got != want {
					t.Errorf("%s: %s, want %s", c.name, got, want)
				}
			case <-time.After(5 * time.Second):
				t.Errorf("%s: no call %q", c.name, want)
			}
		}
	}
	if len(log) != 0 {
		t.Errorf("an unexpected call: %s", <-log)
	}
}

// TestANewStreamIsReportedAsALoss: a key may have changed without an event since a
// subscriber read it after the loss.
func TestANewStreamIsReportedAsALoss(t *testing.T) {
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
	got, err := subscription.Next(t.Context())
	if err != nil || len(got) != 2 || got[1].Kind != events.Loss || got[1].Reason != reasonReopened {
		t.Errorf("got %+v, %v", got, err)
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
