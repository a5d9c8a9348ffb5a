package events

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
)

const (
	// DefaultHistory is how many events the ring stores: a client that is
	// disconnected for a second misses none at 4,000 changes a second. It takes
	// about half a MiB.
	DefaultHistory = 4096
	// DefaultMaxSubscribers bounds concurrent subscribers; each is a connection. The
	// daemon lets one token have a quarter of them.
	DefaultMaxSubscribers = 1024

	// maxStoredID is the longest _id that the ring stores. A longer one is not a
	// key's (apikey.MaxIDLen), and must not stay in memory.
	maxStoredID = apikey.MaxIDLen + 1
	// batch is how many events a subscriber takes in one batch, while others
	// wait.
	batch = 64
)

// Why there is no subscription, or why it ended.
var (
	// ErrBusy: the limit of subscribers is reached.
	ErrBusy = errors.New("too many subscribers to events already")
	// ErrClosed: the instance is shutting down.
	ErrClosed = errors.New("the instance is shutting down")
	// ErrSlow: the subscriber has read too slowly.
	ErrSlow = errors.New("the subscriber has read too slowly")
)

// Config of a Hub. Except for Text, the zero value is the default.
type Config struct {
	// Text is a document's _id as responses have it. False: it is not the id of a
	// key, and subscribers do not receive the event. Required.
	Text func(apikey.DocID) (string, bool)
	// History is how many events the ring stores. Zero: DefaultHistory.
	History int
	// MaxSubscribers bounds concurrent subscribers. Zero: DefaultMaxSubscribers.
	MaxSubscribers int
}

// Hub stores the last events and its subscribers. It is safe for concurrent use,
// and has no goroutine.
type Hub struct {
	config Config
	// boot distinguishes the ids of this hub from those of others.
	boot string

	mutex sync.Mutex
	// ring has event n at n % len(ring), for the last len(ring) events.
	ring []record
	// last is the number of the newest event; they count from 1.
	last uint64
	// state of the instance. Empty: it has not reported one.
	state       string
	subscribers map[*Subscription]struct{}
	closed      bool
}

// New makes a hub without events.
func New(config Config) (*Hub, error) {
	if config.History == 0 {
		config.History = DefaultHistory
	}
	if config.MaxSubscribers == 0 {
		config.MaxSubscribers = DefaultMaxSubscribers
	}
	if config.Text == nil || config.History < 0 || config.MaxSubscribers < 0 {
		return nil, errors.New("events: Config.Text is required, and History and MaxSubscribers must not be negative")
	}
	return &Hub{
		config: config, boot: rand.Text(), ring: make([]record, config.History),
		subscribers: map[*Subscription]struct{}{},
	}, nil
}

// Invalidated publishes that a document has changed.
func (h *Hub) Invalidated(id apikey.DocID, revision clustertime.Time) {
	if len(id) > maxStoredID {
		return
	}
	h.publish(record{kind: Invalidation, id: id, revision: revision})
}

// KeyExpires publishes that a key is about to expire.
func (h *Hub) KeyExpires(id apikey.DocID, at time.Time) {
	if len(id) > maxStoredID {
		return
	}
	h.publish(record{kind: Expiring, id: id, expiresAt: at})
}

// Lost publishes that history was lost.
func (h *Hub) Lost(reason string) { h.publish(record{kind: Loss, reason: reason}) }

// StateChanged publishes a new state. The first one is not a change: subscribers
// receive it with the Resync at their start.
func (h *Hub) StateChanged(from, to string) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.state = to
	if from != "" {
		h.publishLocked(record{kind: State, from: from, to: to})
	}
}

func (h *Hub) publish(r record) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.publishLocked(r)
}

func (h *Hub) publishLocked(r record) {
	h.last++
	h.ring[h.last%uint64(len(h.ring))] = r
	h.wakeLocked()
}

func (h *Hub) wakeLocked() {
	for s := range h.subscribers {
		select {
		case s.wake <- struct{}{}:
		default: // it has not read since the last signal
		}
	}
}

// Close ends all subscriptions, and refuses new ones.
func (h *Hub) Close() {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.closed = true
	h.wakeLocked()
}

// Subscribe begins after the event with this id or, with a Resync, now if that is
// not possible. "" means now. The subscriber gets no Expiring: that is for those who
// manage keys. The error is ErrBusy or ErrClosed.
func (h *Hub) Subscribe(lastID string) (*Subscription, error) {
	return h.subscribe(&Subscription{}, lastID)
}

// SubscribeAdmin is Subscribe for those who manage keys: it includes Expiring.
func (h *Hub) SubscribeAdmin(lastID string) (*Subscription, error) {
	return h.subscribe(&Subscription{admin: true}, lastID)
}

func (h *Hub) subscribe(s *Subscription, lastID string) (*Subscription, error) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	switch {
	case h.closed:
		return nil, ErrClosed
	case len(h.subscribers) >= h.config.MaxSubscribers:
		return nil, ErrBusy
	}
	s.hub, s.wake = h, make(chan struct{}, 1)
	s.seen, s.resync = h.positionLocked(lastID)
	if s.resync != "" {
		s.seen, s.state = h.last, h.state
	}
	h.subscribers[s] = struct{}{}
	return s, nil
}

// Subscribers is how many clients are subscribed now.
func (h *Hub) Subscribers() int {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	return len(h.subscribers)
}

// MaxSubscribers is the limit of concurrent subscribers.
func (h *Hub) MaxSubscribers() int { return h.config.MaxSubscribers }

// positionLocked is the number of the event with an id, or why one cannot
// continue from there.
func (h *Hub) positionLocked(id string) (number uint64, reason string) {
	if id == "" {
		return 0, ReasonStart
	}
	boot, text, found := strings.Cut(id, "-")
	number, err := strconv.ParseUint(text, 10, 64)
	switch {
	case !found || err != nil || len(boot) != len(h.boot):
		return 0, ReasonMalformed
	case boot != h.boot:
		return 0, ReasonOtherInstance
	case number > h.last:
		return 0, ReasonMalformed
	case h.overtakenLocked(number):
		return 0, ReasonTooOld
	}
	return number, ""
}

// overtakenLocked reports whether the event after this one is not in the ring any
// more.
func (h *Hub) overtakenLocked(seen uint64) bool { return h.last-seen > uint64(len(h.ring)) }

func (h *Hub) id(number uint64) string { return fmt.Sprintf("%s-%d", h.boot, number) }
