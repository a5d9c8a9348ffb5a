package events

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
)

const (
	// DefaultHistory is how many events are held: a client that is away for a
	// second misses none at 4,000 changes a second. It takes half a MiB.
	DefaultHistory = 4096
	// DefaultMaxSubscribers is how many may listen at once; each is a connection.
	DefaultMaxSubscribers = 256

	// maxHeldID is the longest _id that is held. A longer one is no key's
	// (apikey.MaxIDLen), and the ring must not keep it in memory.
	maxHeldID = apikey.MaxIDLen + 1
	// batch is how many events a subscriber takes at once, while others wait.
	batch = 64
)

// What keeps a subscription from being one, or ends it.
var (
	// ErrBusy says that too many listen already.
	ErrBusy = errors.New("too many listen to events already")
	// ErrClosed says that the instance is shutting down.
	ErrClosed = errors.New("the instance is shutting down")
	// ErrSlow says that the subscriber has read too slowly.
	ErrSlow = errors.New("the subscriber has read too slowly")
)

// Config of a Hub. Its zero value, but for Text, is the default.
type Config struct {
	// Text renders a document's _id as answers have it; false: it is no key's, and
	// nobody is told. Required.
	Text func(apikey.DocID) (string, bool)
	// History is how many events are held. Zero: DefaultHistory.
	History int
	// MaxSubscribers is how many may listen at once. Zero: DefaultMaxSubscribers.
	MaxSubscribers int
}

// Hub holds the last events and those who listen. It is safe for concurrent use,
// and has no goroutine.
type Hub struct {
	config Config
	// boot tells the ids of this hub from those of others.
	boot string

	mutex sync.Mutex
	// ring has event n at n % len(ring), for the last len(ring) of them.
	ring []record
	// last is the number of the newest event; they count from 1.
	last uint64
	// state is the one that the instance is in. Empty: it has not said.
	state       string
	subscribers map[*Subscription]struct{}
	closed      bool
}

// New makes a hub in which nothing has happened.
func New(config Config) (*Hub, error) {
	if config.History == 0 {
		config.History = DefaultHistory
	}
	if config.MaxSubscribers == 0 {
		config.MaxSubscribers = DefaultMaxSubscribers
	}
	if config.Text == nil || config.History < 0 || config.MaxSubscribers < 0 {
		return nil, errors.New("events: a renderer of ids is needed, and numbers that are not negative")
	}
	return &Hub{
		config: config, boot: rand.Text(), ring: make([]record, config.History),
		subscribers: map[*Subscription]struct{}{},
	}, nil
}

// Invalidated publishes that a document has changed.
func (h *Hub) Invalidated(id apikey.DocID, revision clustertime.Time) {
	if len(id) > maxHeldID {
		return
	}
	h.publish(record{kind: Invalidation, id: id, revision: revision})
}

// Lost publishes that history was lost.
func (h *Hub) Lost(reason string) { h.publish(record{kind: Loss, reason: reason}) }

// StateChanged publishes that the state is another one. The first one, from nothing,
// is no change: it is told to those who begin.
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
		case s.news <- struct{}{}:
		default: // it has not looked yet since the last time
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

// Subscribe begins after the event with this id, or now, with a Resync, if there
// is no such event to begin after: "" is none. The error is ErrBusy or ErrClosed.
func (h *Hub) Subscribe(lastID string) (*Subscription, error) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	switch {
	case h.closed:
		return nil, ErrClosed
	case len(h.subscribers) >= h.config.MaxSubscribers:
		return nil, ErrBusy
	}
	s := &Subscription{hub: h, news: make(chan struct{}, 1)}
	s.seen, s.resync = h.placeLocked(lastID)
	if s.resync != "" {
		s.seen, s.state = h.last, h.state
	}
	h.subscribers[s] = struct{}{}
	return s, nil
}

// placeLocked is the number of the event with an id, or why one cannot go on from
// there.
func (h *Hub) placeLocked(id string) (number uint64, reason string) {
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

// overtakenLocked reports whether the event after this one is not held any more.
func (h *Hub) overtakenLocked(seen uint64) bool { return h.last-seen > uint64(len(h.ring)) }

func (h *Hub) id(number uint64) string { return fmt.Sprintf("%s-%d", h.boot, number) }
