package revocation

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// DefaultWorkers is how many rechecks run at the same time. Lost history causes
	// one for each watch; eight stay far below the 96 concurrent reads of a Service.
	DefaultWorkers = 8
	// DefaultStaleInterval is the pause between two rechecks of a watch while the
	// data is stale. A revoked key is then noticed about as fast as by a heartbeat.
	DefaultStaleInterval = time.Second
	// DefaultRecheckTimeout is longer than any validator takes (a linearizable read
	// has 2 s). Without it, a recheck that hangs would block a worker forever.
	DefaultRecheckTimeout = 10 * time.Second
)

// Config of Watches. The zero value has all defaults.
type Config struct {
	// Workers is how many rechecks run at the same time. Zero: DefaultWorkers.
	Workers int
	// StaleInterval is the pause between two rechecks of a watch with an OutageError
	// while the data is stale. Zero: DefaultStaleInterval.
	StaleInterval time.Duration
	// RecheckTimeout bounds one recheck. Zero: DefaultRecheckTimeout.
	RecheckTimeout time.Duration
}

// Watches has all watches of a validator, and the queue of rechecks. It is safe for
// concurrent use.
type Watches struct {
	config Config
	// changes counts the reported changes. count is the number of watches. The order
	// in which both are written and read is the algorithm of DESIGN.md.
	changes atomic.Uint64
	count   atomic.Int64
	// newest is the newest reported revision, zero if none was reported.
	newest atomic.Uint64
	// wake has a token when a watch may wait for a recheck.
	wake chan struct{}

	mutex sync.Mutex
	// byKey maps a key's id to the head of the list of its watches.
	byKey map[string]*Watch
	// urgent is served before patient. Both can contain watches that were rechecked
	// meanwhile, or have ended: Watch.queued reports whether one still waits.
	urgent, patient queue
	// staleEpoch is odd while the data is stale.
	staleEpoch uint64
	// runs is how many calls of Run are active.
	runs int
}

// New returns Watches without any watch.
func New(config Config) *Watches {
	if config.Workers <= 0 {
		config.Workers = DefaultWorkers
	}
	if config.StaleInterval <= 0 {
		config.StaleInterval = DefaultStaleInterval
	}
	if config.RecheckTimeout <= 0 {
		config.RecheckTimeout = DefaultRecheckTimeout
	}
	return &Watches{config: config, wake: make(chan struct{}, 1), byKey: map[string]*Watch{}}
}

// Mark returns the number of changes so far, for Entry.Mark. Take it before you request for the
// verdict.
func (s *Watches) Mark() uint64 { return s.changes.Load() }

// Changed reports that a key has changed. Every recheck from now on must get an
// answer that has seen the change: without conditions if revision is zero, else if it
// requires this revision. Changed does not wait for rechecks, and costs two atomic
// operations while there are no watches.
func (s *Watches) Changed(keyID string, revision uint64) {
	if s.CountChange(revision) {
		s.RecheckKey(keyID, revision)
	}
}

// CountChange is the first half of Changed, for callers to whom the text of the
// key's id costs an allocation. It reports whether RecheckKey must be called with the
// id.
func (s *Watches) CountChange(revision uint64) bool {
	// This order is the algorithm: a watch that is not seen here sees the counter.
	s.raise(revision)
	return s.isWatched()
}

// raise counts a change. Who sees the new count also sees its revision.
func (s *Watches) raise(revision uint64) {
	for {
		newest := s.newest.Load()
		if revision <= newest || s.newest.CompareAndSwap(newest, revision) {
			break
		}
	}
	s.changes.Add(1)
}

// isWatched reports whether there is any watch.
func (s *Watches) isWatched() bool { return s.count.Load() > 0 }

// RecheckKey is the second half of Changed.
func (s *Watches) RecheckKey(keyID string, revision uint64) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for w := s.byKey[keyID]; w != nil; w = w.next {
		s.enqueueLocked(w, revision, &s.urgent)
	}
}

// ChangedAll reports that any key may have changed: history was lost, or a new
// stream is open. All watches are rechecked, a few at a time, after those whose key
// is known to have changed.
func (s *Watches) ChangedAll() {
	s.raise(0)
	if !s.isWatched() {
		return
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, w := range s.byKey {
		for ; w != nil; w = w.next {
			s.enqueueLocked(w, 0, &s.patient)
		}
	}
}

// SetStale reports whether the data is stale: no changes were received for longer
// than the maximum staleness. While it is, watches with an OutageError are rechecked
// again and again, and end with that error when a recheck fails. Other watches are
// not affected.
func (s *Watches) SetStale(stale bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if stale == isOdd(s.staleEpoch) {
		return
	}
	s.staleEpoch++
	if !stale {
		return
	}
	for _, w := range s.byKey {
		for ; w != nil; w = w.next {
			if w.entry.OutageError != nil {
				s.enqueueLocked(w, 0, &s.patient)
			}
		}
	}
}

func isOdd(n uint64) bool { return n%2 == 1 }

// Watching returns the number of watches.
func (s *Watches) Watching() int { return int(s.count.Load()) }

// Run makes rechecks until ctx ends. It returns nil when no recheck is in progress
// any more. Rechecks that are still queued then are made by the next Run. Without Run
// a watch ends only when its key expires.
func (s *Watches) Run(ctx context.Context) error {
	s.addRuns(1)
	defer s.addRuns(-1)
	var group errgroup.Group
	group.SetLimit(s.config.Workers)
	for ctx.Err() == nil {
		w, a := s.dequeue()
		if w == nil {
			select {
			case <-ctx.Done():
			case <-s.wake:
			}
			continue
		}
		group.Go(func() error {
			s.recheck(ctx, w, a)
			return nil
		})
	}
	return group.Wait()
}

func (s *Watches) addRuns(n int) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.runs += n
}

// queue is a list of watches, first in, first out.
type queue []*Watch

// enqueueLocked puts a watch into a queue, unless it already waits in one that is
// served as soon. The caller holds the lock.
func (s *Watches) enqueueLocked(w *Watch, revision uint64, q *queue) {
	w.revision = max(w.revision, revision)
	switch {
	case w.ended || w.entry.Recheck == nil:
		return
	case w.running:
		w.again = true
		return
	case w.queued && (w.isUrgent || q == &s.patient):
		return
	}
	w.queued, w.isUrgent = true, q == &s.urgent
	*q = append(*q, w)
	select {
	case s.wake <- struct{}{}:
	default: // Run has not taken the last token yet
	}
}

// attempt is the state with which a recheck began.
type attempt struct {
	revision, staleEpoch uint64
}

// dequeue returns the next watch to recheck, nil if there is none.
func (s *Watches) dequeue() (*Watch, attempt) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, q := range []*queue{&s.urgent, &s.patient} {
		for len(*q) > 0 {
			w := (*q)[0]
			(*q)[0] = nil
			*q = (*q)[1:]
			if w.ended || !w.queued {
				continue
			}
			w.queued, w.isUrgent, w.running = false, false, true
			return w, attempt{w.revision, s.staleEpoch}
		}
		*q = nil
	}
	return nil, attempt{}
}

func (s *Watches) recheck(ctx context.Context, w *Watch, a attempt) {
	ctx, cancel := context.WithTimeout(ctx, s.config.RecheckTimeout)
	defer cancel()
	expiresAt, revoked, err := w.entry.Recheck(ctx, a.revision)
	if cause := s.conclude(w, a, expiresAt, revoked, err); cause != nil {
		w.end(cause)
	}
}
