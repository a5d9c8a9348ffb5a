package events

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// text renders what begins with a k.
func text(id apikey.DocID) (string, bool) { return string(id), strings.HasPrefix(string(id), "k") }

func newHub(t testing.TB, change ...func(*Config)) *Hub {
	t.Helper()
	config := Config{Text: text}
	for _, f := range change {
		f(&config)
	}
	h, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func subscribe(t testing.TB, h *Hub, lastID string) *Subscription {
	t.Helper()
	s, err := h.Subscribe(lastID)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// next is one batch in words.
func next(t testing.TB, s *Subscription) []string {
	t.Helper()
	events, err := s.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return words(events)
}

func words(events []Event) []string {
	var all []string
	for _, e := range events {
		_, number, _ := strings.Cut(e.ID, "-")
		all = append(all, strings.TrimSpace(fmt.Sprintln(number, e.Kind, e.KeyID+e.Reason+e.From+">"+e.To)))
	}
	return all
}

func expect(t testing.TB, s *Subscription, want ...string) {
	t.Helper()
	if got := next(t, s); !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
}

func TestASubscriberReceivesEventsInOrder(t *testing.T) {
	h := newHub(t)
	h.Lost("before")
	s := subscribe(t, h, "")
	expect(t, s, "1 resync start>")
	h.Invalidated("k1", 7)
	h.Lost("drop")
	h.StateChanged("live", "connecting")
	expect(t, s, "2 invalidation k1>", "3 loss drop>", "4 state live>connecting")
	h.Invalidated("k2", clustertime.New(1, 2))
	events, err := s.Next(t.Context())
	if err != nil || len(events) != 1 || events[0].Revision != clustertime.New(1, 2) {
		t.Errorf("%+v, %v", events, err)
	}
}

func TestAWaitingSubscriberIsWoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		s := subscribe(t, h, "")
		expect(t, s, "0 resync start>")
		got := make(chan []Event, 1)
		go func() { events, _ := s.Next(t.Context()); got <- events }()
		synctest.Wait()
		h.Invalidated("k1", 7)
		if w := words(<-got); !slices.Equal(w, []string{"1 invalidation k1>"}) {
			t.Errorf("got %q", w)
		}
	})
}

func TestContinuingFromAnEarlierEvent(t *testing.T) {
	h := newHub(t, func(c *Config) { c.History = 4 })
	other := newHub(t)
	s := subscribe(t, h, h.boot+"-0")
	for i := range 5 {
		h.Invalidated(apikey.DocID(fmt.Sprint("k", i+1)), 7)
	}
	for _, c := range []struct{ lastID, want string }{
		{h.boot + "-1", "2 invalidation k2>"},
		{h.boot + "-4", "5 invalidation k5>"},
		{h.boot + "-0", "5 resync too_old>"},
		{h.boot + "-6", "5 resync malformed>"},
		{h.boot + "--1", "5 resync malformed>"},
		{h.boot + "-", "5 resync malformed>"},
		{"7", "5 resync malformed>"},
		{"a-7", "5 resync malformed>"},
		{other.boot + "-1", "5 resync other_instance>"},
	} {
		if got := next(t, subscribe(t, h, c.lastID)); got[0] != c.want {
			t.Errorf("after %q came %q", c.lastID, got)
		}
	}
	upToDate := subscribe(t, h, h.boot+"-5")
	events, err := s.Next(t.Context())
	if !errors.Is(err, ErrSlow) || !slices.Equal(words(events), []string{"5 resync slow>"}) {
		t.Errorf("a slow one got %q, %v", words(events), err)
	}
	h.Invalidated("k6", 7)
	expect(t, upToDate, "6 invalidation k6>")
}

// TestTheIDOfAResyncCanBeContinued: nothing is lost between two connections.
func TestTheIDOfAResyncCanBeContinued(t *testing.T) {
	h := newHub(t)
	events, err := subscribe(t, h, "").Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h.Invalidated("k1", 7)
	expect(t, subscribe(t, h, events[0].ID), "1 invalidation k1>")
}

func TestEventsOfOtherDocumentsAreOmitted(t *testing.T) {
	h := newHub(t)
	s := subscribe(t, h, "")
	next(t, s)
	h.Invalidated("unreadable", 7)
	h.Invalidated(apikey.DocID("k"+strings.Repeat("x", maxStoredID)), 7)
	h.Invalidated("k1", 7)
	expect(t, s, "2 invalidation k1>")
}

// TestManyEventsOfOthersDoNotHideOne: the subscriber does not wait for the next event
// while there is one after those that it skips.
func TestManyEventsOfOthersDoNotHideOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		s := subscribe(t, h, "")
		next(t, s)
		for range 3 * batch {
			h.Invalidated("unreadable", 7)
			h.KeyExpires("k0", time.Time{})
		}
		h.Invalidated("k1", 7)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		events, err := s.Next(ctx)
		if got := words(events); err != nil || !slices.Equal(got, []string{"385 invalidation k1>"}) {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

// TestOnlyAdminsReceiveNoticesOfExpiry, with the time; ids that are not those of keys
// are left out here, too.
func TestOnlyAdminsReceiveNoticesOfExpiry(t *testing.T) {
	h := newHub(t)
	caller := subscribe(t, h, "")
	admin, err := h.SubscribeAdmin("")
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	next(t, caller)
	next(t, admin)
	at := time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)
	h.KeyExpires("k1", at)
	h.KeyExpires("unreadable", at)
	h.KeyExpires(apikey.DocID("k"+strings.Repeat("x", maxStoredID)), at)
	h.Invalidated("k2", 7)
	expect(t, caller, "3 invalidation k2>")
	events, err := admin.Next(t.Context())
	if got := words(events); err != nil || !slices.Equal(got, []string{"1 expiring k1>", "3 invalidation k2>"}) || !events[0].ExpiresAt.Equal(at) {
		t.Errorf("got %q, %v, %+v", got, err, events)
	}
}

func TestTooManySubscribersAreRefused(t *testing.T) {
	h := newHub(t, func(c *Config) { c.MaxSubscribers = 1 })
	s := subscribe(t, h, "")
	if _, err := h.Subscribe(""); !errors.Is(err, ErrBusy) {
		t.Errorf("got %v", err)
	}
	s.Close()
	s.Close()
	subscribe(t, h, "")
}

func TestAShutdownEndsSubscriptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		s := subscribe(t, h, "")
		next(t, s)
		done := make(chan error, 1)
		go func() { _, err := s.Next(t.Context()); done <- err }()
		synctest.Wait()
		h.Close()
		if err := <-done; !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
		if _, err := h.Subscribe(""); !errors.Is(err, ErrClosed) {
			t.Errorf("a new one: %v", err)
		}
	})
}

func TestNextEndsWithItsContext(t *testing.T) {
	s := subscribe(t, newHub(t), "")
	next(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestPublishAllocatesNothing(t *testing.T) {
	h := newHub(t)
	listening := subscribe(t, h, "")
	defer listening.Close()
	if n := testing.AllocsPerRun(100, func() { h.Invalidated("k1", 7) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestEveryEventOrAResync: many publishers and many subscribers, some of them
// slow; each receives numbers without a gap, or a Resync.
func TestEveryEventOrAResync(t *testing.T) {
	h := newHub(t, func(c *Config) { c.History = 128 })
	const writers, each, listeners = 4, 5000, 8
	var group sync.WaitGroup
	for i := range listeners {
		s := subscribe(t, h, h.boot+"-0")
		group.Go(func() {
			at := uint64(0)
			for at < writers*each {
				events, err := s.Next(t.Context())
				for _, e := range events {
					number, _ := h.placeLockedForTest(e.ID)
					if e.Kind != Resync && number != at+1 {
						t.Errorf("%d comes after %d", number, at)
						return
					}
					at = number
				}
				if errors.Is(err, ErrSlow) {
					s.Close()
					s, err = h.Subscribe(h.id(at))
				}
				if err != nil {
					t.Error(i, err)
					return
				}
			}
			s.Close()
		})
	}
	for range writers {
		group.Go(func() {
			for range each {
				h.Invalidated("k1", 7)
			}
		})
	}
	group.Wait()
}

func (h *Hub) placeLockedForTest(id string) (uint64, string) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	var number uint64
	_, err := fmt.Sscanf(strings.TrimPrefix(id, h.boot), "-%d", &number)
	return number, fmt.Sprint(err)
}

func TestConfigIsChecked(t *testing.T) {
	for _, c := range []Config{{}, {Text: text, History: -1}, {Text: text, MaxSubscribers: -1}} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}

func BenchmarkPublishWithNobodyListening(b *testing.B) {
	h := newHub(b)
	for b.Loop() {
		h.Invalidated("k1", 7)
	}
}

// TestAResyncHasTheState: the state may have changed before, and may not change
// again soon.
func TestAResyncHasTheState(t *testing.T) {
	h := newHub(t, func(c *Config) { c.History = 2 })
	first := subscribe(t, h, "")
	h.StateChanged("", "connecting")
	begun := subscribe(t, h, "")
	h.StateChanged("connecting", "live")
	// What it receives is the state at its beginning, and changes follow.
	expect(t, first, "0 resync start>", "1 state connecting>live")
	expect(t, begun, "0 resync start>connecting", "1 state connecting>live")
	h.StateChanged("live", "stale")
	expect(t, subscribe(t, h, "x"), "2 resync malformed>stale")
	h.Lost("a")
	h.Lost("b")
	h.Lost("c")
	events, err := begun.Next(t.Context())
	if !errors.Is(err, ErrSlow) || !slices.Equal(words(events), []string{"5 resync slow>stale"}) {
		t.Errorf("got %q, %v", words(events), err)
	}
}
