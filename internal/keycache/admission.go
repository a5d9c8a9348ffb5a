package keycache

import (
	"sync"

	"github.com/allegro/bigcache/v3"

	"github.com/keytail/keytail/internal/apikey"
)

const (
	// probationShare of a store's size goes to new entries. The paper on S3-FIFO takes a tenth. A
	// sixteenth has slightly better hit rates here, and still holds an entry for many requests.
	probationShare = 16
	// enoughDemand is how often an entry must be asked for, after the request that stored it, so
	// that it leaves probation for main. Two, as in the paper: one retry of a client is not demand.
	enoughDemand = 2
	// maxKept limits how many entries one set puts back into main, and so the time that it holds a
	// stripe's lock: some microseconds, beside the database read that the set ends. Without a limit
	// the hit rates are the same; 4 costs up to a hundredth.
	maxKept = 16
)

// admission is what a byteStore has in addition when it is filled on demand, because it cannot hold
// every key. It keeps what requests ask for again, so that keys that are asked for once do not push
// out those in use. The policy is S3-FIFO (Yang et al., "FIFO queues are all you need for cache
// eviction", SOSP 2023), with a bigcache for each of its two queues (DESIGN.md, "A cache that is
// filled on demand").
//
// It decides only which values stay. What get returns is still what was last set for the hash, or
// nothing.
type admission struct {
	// probation holds new entries. The store's own cache is main: it holds those that were asked for
	// again. At rest, a hash is in one of them at most.
	probation *bigcache.BigCache
	demand    demand
}

// stripe is what belongs to some of the hashes of a store. Only sets take its lock.
type stripe struct {
	mutex sync.Mutex
	// ghosts are hashes that left probation without demand. One that is set again goes to main.
	ghosts ghosts
	// moving are the entries that the running set has pushed out, and that go to main.
	moving []movingEntry
	// kept counts the entries that the running set has put back into main.
	kept int
	// mainFull: an entry has left main. Until then all entries may stay.
	mainFull bool
}

type movingEntry struct {
	key   string
	value []byte
}

// probationMiB is how much of a store goes to probation: bigcache counts in whole MiB.
func probationMiB(sizeMiB int) int { return max(1, sizeMiB/probationShare) }

// newOnDemandStore makes a store that is filled on demand and holds up to sizeMiB. The counters and
// ghosts take another 1.6 %. A single MiB cannot be divided, so the store is then a plain one.
func newOnDemandStore(sizeMiB int) (*byteStore, error) {
	if sizeMiB == 1 {
		return newByteStore(sizeMiB, 0)
	}
	s, err := newByteStore(sizeMiB-probationMiB(sizeMiB), 0)
	if err != nil {
		return nil, err
	}
	return s, s.fillOnDemand()
}

// fillOnDemand makes a plain store one that is filled on demand. All values stay; those that are not
// asked for from now on make room for others. The store grows by probationMiB.
func (s *byteStore) fillOnDemand() error {
	if s.admission.Load() != nil {
		return nil
	}
	a := &admission{demand: newDemand(s.sizeMiB << 20)}
	var err error
	if a.probation, err = newBigCache(probationMiB(s.sizeMiB), 0, s.leaveProbationLocked); err != nil {
		return err
	}
	for i := range s.stripes {
		s.stripes[i].mutex.Lock()
		defer s.stripes[i].mutex.Unlock()
		s.stripes[i].ghosts = newGhosts(s.sizeMiB << 20 / len(s.stripes))
	}
	s.admission.Store(a)
	return nil
}

// asked counts a request for a hash that has a value, as demand in a store that is filled on demand.
// A hash without one leaves no trace, so unknown keys change nothing.
func (s *byteStore) asked(h *apikey.Hash) {
	if a := s.admission.Load(); a != nil {
		a.demand.raise(storeSum(h))
	}
}

// admitLocked stores a value. That is not demand: a new entry starts on probation, and the new value
// of an entry stays in main only if requests have asked for the entry. So an update of a key that
// nobody asks for pushes out no key in use, and the refresh of a key in use keeps its place.
func (s *byteStore) admitLocked(a *admission, st *stripe, h *apikey.Hash, value []byte) {
	key := storeKey(h)
	target, other := a.probation, s.cache
	if s.belongsInMainLocked(a, st, key) {
		target, other = s.cache, a.probation
	}
	s.placeLocked(target, key, value)
	_ = other.Delete(key)
	s.settleLocked(st)
}

func (s *byteStore) belongsInMainLocked(a *admission, st *stripe, key string) bool {
	sum := identity{}.Sum64(key)
	switch {
	case getBytes(s.cache, key) != nil:
		// A renewal uses up one request: an entry that changes all the time, and is asked for now
		// and then, must not fill main with its old values.
		return a.demand.lower(sum)
	case getBytes(a.probation, key) != nil:
		return false
	default:
		return st.ghosts.take(sum)
	}
}

// settleLocked puts the moving entries into main. Those may push out others, which may move in turn.
//
// The stripe's lock has been held since those entries left, so no newer value of one of their hashes
// can have been set meanwhile, which they would replace.
func (s *byteStore) settleLocked(st *stripe) {
	for len(st.moving) > 0 {
		last := len(st.moving) - 1
		e := st.moving[last]
		st.moving[last] = movingEntry{}
		st.moving = st.moving[:last]
		s.placeLocked(s.cache, e.key, e.value)
	}
	st.kept = 0
}

// leaveLocked is called for each value that leaves the store's own cache: by bigcache, under a lock
// of its own, within a set, which holds the lock of the stripe.
func (s *byteStore) leaveLocked(key string, value []byte, why bigcache.RemoveReason) {
	s.evictions.Add(1)
	a := s.admission.Load()
	if a == nil {
		return
	}
	if why == bigcache.Deleted {
		// admitLocked has stored a newer value elsewhere.
		s.moved.Add(1)
		return
	}
	sum := identity{}.Sum64(key)
	st := s.stripeOf(sum)
	st.mainFull = true
	if st.kept < maxKept && a.demand.lower(sum) {
		st.kept++
		s.moveLocked(st, key, value)
		return
	}
	a.demand.clear(sum)
}

// leaveProbationLocked is leaveLocked for probation.
func (s *byteStore) leaveProbationLocked(key string, value []byte, why bigcache.RemoveReason) {
	s.evictions.Add(1)
	if why == bigcache.Deleted {
		s.moved.Add(1)
		return
	}
	sum := identity{}.Sum64(key)
	st := s.stripeOf(sum)
	if demand := s.admission.Load().demand.clear(sum); demand >= enoughDemand || !st.mainFull {
		s.moveLocked(st, key, value)
		return
	}
	st.ghosts.add(sum)
}

func (s *byteStore) moveLocked(st *stripe, key string, value []byte) {
	s.moved.Add(1)
	st.moving = append(st.moving, movingEntry{key, value})
}

func (s *byteStore) stripeOf(sum uint64) *stripe {
	return &s.stripes[sum&uint64(len(s.stripes)-1)]
}
