package revocation

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// DefaultWorkers is how many rechecks are made at once. A loss of history makes
	// one for each watch; eight keep far below the 96 reads that a Service has.
	DefaultWorkers = 8
	// DefaultDoubtInterval is the pause between two rechecks of one watch while the
	// truth may be lost: a revoked key is then cut about as fast as a heartbeat.
	DefaultDoubtInterval = time.Second
	// DefaultRecheckTimeout is longer than any validator takes (a linearizable read
	// has 2 s), so that one that hangs does not hold a worker for ever.
	DefaultRecheckTimeout = 10 * time.Second
)

// Config of a Set. Its zero value is the default.
type Config struct {
	// Workers is how many rechecks are made at once. Zero: DefaultWorkers.
	Workers int
	// DoubtInterval is the pause between two rechecks of a watch with CancelOnOutage
	// while the truth may be lost. Zero: DefaultDoubtInterval.
	DoubtInterval time.Duration
	// RecheckTimeout ends a recheck that takes longer. Zero: DefaultRecheckTimeout.
	RecheckTimeout time.Duration
}

// Watches is all watches, and those that wait for a recheck. It is safe for concurrent
// use.
type Watches struct {
	config Config
	// changes counts what the set was told of. there is the number of watches.
	// The order in which both are written and read is what leaves no hole.
	changes atomic.Uint64
	there   atomic.Int64
	// newest is the newest revision that the set was told of, zero if none.
	newest atomic.Uint64
	// wake has a token when somebody may wait for a recheck.
	wake chan struct{}

	mutex sync.Mutex
	// byKey is the head of the list of a key's watches, by the key's id.
	byKey map[string]*Watch
	// urgent are asked before patient ones. Both may hold watches that have been
	// asked meanwhile, or are over: Watch.queued says whether one still waits.
	urgent, patient queue
	// doubts is odd while the truth may be lost.
	doubts uint64
	// running is how many Runs there are.
	running int
}

// New makes a set with no watches.
func New(config Config) *Watches {
	if config.Workers <= 0 {
		config.Workers = DefaultWorkers
	}
	if config.DoubtInterval <= 0 {
		config.DoubtInterval = DefaultDoubtInterval
	}
	if config.RecheckTimeout <= 0 {
		config.RecheckTimeout = DefaultRecheckTimeout
	}
	return &Watches{config: config, wake: make(chan struct{}, 1), byKey: map[string]*Watch{}}
}

// Begin is a mark for Entry.Mark. It must be taken before the verdict is asked for.
func (s *Watches) Begin() uint64 { return s.changes.Load() }

// Changed tells that a key has changed, and that whoever asks from now on gets an
// answer that has seen the change: by itself, or if it asks for this revision.
// Zero: by itself. It does not wait for rechecks, and costs next to nothing while
// nobody watches.
func (s *Watches) Changed(keyID string, revision uint64) {
	if s.Heard(revision) {
		s.Tell(keyID, revision)
	}
}

// Heard is the first half of Changed, for those to whom the key's id costs
// something to make: it reports whether Tell must be called with it.
func (s *Watches) Heard(revision uint64) bool {
	// The order is the algorithm: whoever is not seen here sees the counter.
	s.raise(revision)
	return s.watched()
}

// raise counts a change. Who sees it counted sees its revision.
func (s *Watches) raise(revision uint64) {
	for {
		newest := s.newest.Load()
		if revision <= newest || s.newest.CompareAndSwap(newest, revision) {
			break
		}
	}
	s.changes.Add(1)
}

// watched reports whether there is any watch.
func (s *Watches) watched() bool { return s.there.Load() > 0 }

// Tell is the second half of Changed.
func (s *Watches) Tell(keyID string, revision uint64) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for w := s.byKey[keyID]; w != nil; w = w.next {
		s.askLocked(w, revision, &s.urgent)
	}
}

// ChangedAll tells that any key may have changed: history was lost, or begins
// anew. All are rechecked, a few at a time, behind those whose key is known to have
// changed.
func (s *Watches) ChangedAll() {
	s.raise(0)
	if !s.watched() {
		return
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, w := range s.byKey {
		for ; w != nil; w = w.next {
			s.askLocked(w, 0, &s.patient)
		}
	}
}

// Doubt tells whether the truth may be lost: whether changes have not been heard
// of for longer than is promised. As long as it may, watches with CancelOnOutage are
// asked about again and again, and end with ErrStalenessExceeded when nobody knows. The
// others are left alone.
func (s *Watches) Doubt(lost bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if lost == odd(s.doubts) {
		return
	}
	s.doubts++
	if !lost {
		return
	}
	for _, w := range s.byKey {
		for ; w != nil; w = w.next {
			if w.entry.CancelOnOutage {
				s.askLocked(w, 0, &s.patient)
			}
		}
	}
}

func odd(n uint64) bool { return n%2 == 1 }

// Watching is the number of watches.
func (s *Watches) Watching() int { return int(s.there.Load()) }

// Run makes rechecks until ctx ends, and returns nil when none is under way any
// more. What was to be asked by then is asked by the next Run. Without one, watches
// end by their expiry alone.
func (s *Watches) Run(ctx context.Context) error {
	s.runs(1)
	defer s.runs(-1)
	var group errgroup.Group
	group.SetLimit(s.config.Workers)
	for ctx.Err() == nil {
		w, q := s.take()
		if w == nil {
			select {
			case <-ctx.Done():
			case <-s.wake:
			}
			continue
		}
		group.Go(func() error {
			s.recheck(ctx, w, q)
			return nil
		})
	}
	return group.Wait()
}

func (s *Watches) runs(n int) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.running += n
}

// queue is a list of watches, first in, first out.
type queue []*Watch

// askLocked puts a watch into a queue, unless it waits already where it is asked
// as soon.
func (s *Watches) askLocked(w *Watch, revision uint64, q *queue) {
	w.revision = max(w.revision, revision)
	switch {
	case w.over || w.entry.Recheck == nil:
		return
	case w.running:
		w.again = true
		return
	case w.queued && (w.hurried || q == &s.patient):
		return
	}
	w.queued, w.hurried = true, q == &s.urgent
	*q = append(*q, w)
	select {
	case s.wake <- struct{}{}:
	default: // Run has not looked since the last time
	}
}

// question is what a recheck was begun with.
type question struct {
	revision, doubts uint64
}

// take is the next watch to ask about, nil if there is none.
func (s *Watches) take() (*Watch, question) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, q := range []*queue{&s.urgent, &s.patient} {
		for len(*q) > 0 {
			w := (*q)[0]
			(*q)[0] = nil
			*q = (*q)[1:]
			if w.over || !w.queued {
				continue
			}
			w.queued, w.hurried, w.running = false, false, true
			return w, question{w.revision, s.doubts}
		}
		*q = nil
	}
	return nil, question{}
}

func (s *Watches) recheck(ctx context.Context, w *Watch, q question) {
	ctx, cancel := context.WithTimeout(ctx, s.config.RecheckTimeout)
	defer cancel()
	expires, err := w.entry.Recheck(ctx, q.revision)
	if cause := s.conclude(w, q, expires, err); cause != nil {
		w.end(cause)
	}
}
