package validator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
)

// realStore behaves like a server: a read after a cluster time that the server
// has not reached is repeated until its deadline, all other reads take a
// moment.
type realStore struct {
	*fakeStore
	now clustertime.Time
}

// readTakes is how long a read takes that the server answers.
const readTakes = 5 * time.Millisecond

func (s *realStore) FindByHash(ctx context.Context, h apikey.Hash, after clustertime.Time) (keystore.Document, bool, error) {
	if after > s.now {
		<-ctx.Done()
		return keystore.Document{}, false, fmt.Errorf("reading a key: %w: %w", keystore.ErrRevisionAhead, ctx.Err())
	}
	time.Sleep(readTakes)
	return s.fakeStore.FindByHash(ctx, h, after)
}

func (s *realStore) FindLinearizable(ctx context.Context, h apikey.Hash) (keystore.Document, bool, error) {
	time.Sleep(readTakes)
	return s.fakeStore.FindLinearizable(ctx, h)
}

// flood counts the results of the requests of
// TestFutureRevisionsDoNotStarveOthers.
type flood struct {
	mutex   sync.Mutex
	ahead   int
	refused int
	// slowest is the longest time that a request with a future revision took.
	slowest time.Duration
}

// floodRate is in requests a second. A read that is repeated until its deadline
// of 2 s takes a place for that long, so about 46 a second are enough to take
// all 92 places.
const floodRate = 60

// requests sends requests, each with a revision that the cluster has not
// reached and with another key.
func (f *flood) requests(ctx context.Context, v *Validator, group *sync.WaitGroup) {
	ticker := time.NewTicker(time.Second / floodRate)
	defer ticker.Stop()
	for i := 0; ctx.Err() == nil; i++ {
		group.Go(func() {
			began := time.Now()
			verdict := v.Validate(context.Background(), fmt.Sprintf("unknown-key-%d", i), &apikey.Request{MinRevision: uint64(1e9 + i)})
			f.mutex.Lock()
			defer f.mutex.Unlock()
			f.slowest = max(f.slowest, time.Since(began))
			if verdict.Problem == apikey.RevisionAhead {
				f.ahead++
			} else {
				f.refused++
			}
		})
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

// validateDuringFlood sends ten requests a second for keys that are not cached,
// beside the flood, and counts those that are UNAVAILABLE. The cache is filled
// on demand.
func validateDuringFlood(t *testing.T, memoryIsStale bool, pulse *fakeHeartbeater) (unavailable int, f *flood) {
	t.Helper()
	f = &flood{}
	synctest.Test(t, func(t *testing.T) {
		store := &realStore{fakeStore: &fakeStore{documents: map[apikey.Hash]keystore.Document{}}, now: 200}
		r := newRig(t, func(c *Config) { c.Store, c.Heartbeater = store, pulse })
		r.clock.follow()
		r.cache.Open(100)
		ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
		defer stop()
		var group sync.WaitGroup
		if !memoryIsStale {
			group.Go(func() { keepFresh(ctx, r) })
		}
		group.Go(func() { f.requests(ctx, r.Validator, &group) })
		time.Sleep(3 * time.Second)
		for i := range 50 {
			text := fmt.Sprintf("a-real-key-%d", i)
			store.put(apikey.HashOf(text), document("u1"))
			if v := r.Validate(ctx, text, &apikey.Request{}); v.Code != apikey.Valid {
				unavailable++
			}
			time.Sleep(100 * time.Millisecond)
		}
		stop()
		group.Wait()
	})
	return unavailable, f
}

func keepFresh(ctx context.Context, r *rig) {
	for ctx.Err() == nil {
		r.cache.Fresh(keycache.Freshness{AsOf: r.clock.Now(), Processed: 100})
		time.Sleep(time.Second)
	}
}

// TestFutureRevisionsDoNotStarveOthers: requests with a revision that the
// cluster has never reached, each for another key, take no place from requests
// for keys that are not cached.
func TestFutureRevisionsDoNotStarveOthers(t *testing.T) {
	for name, memoryIsStale := range map[string]bool{"live": false, "stale": true} {
		pulse := &fakeHeartbeater{now: 200, takes: 10 * time.Millisecond}
		unavailable, f := validateDuringFlood(t, memoryIsStale, pulse)
		if unavailable > 0 || f.refused > 0 || f.ahead < 400 {
			t.Errorf("%s: %d of 50 keys are UNAVAILABLE; of the future revisions %d were rejected, %d not",
				name, unavailable, f.ahead, f.refused)
		}
		if f.slowest > 100*time.Millisecond {
			t.Errorf("%s: a future revision was rejected after %v", name, f.slowest)
		}
	}
}

// TestFutureRevisionsDoNotStarveOthersWithoutHeartbeats: without heartbeats,
// keytail does not know whether a revision is ahead, so these requests are read,
// but with an eighth of the places at most.
func TestFutureRevisionsDoNotStarveOthersWithoutHeartbeats(t *testing.T) {
	for name, pulse := range map[string]*fakeHeartbeater{
		"they fail":     {err: errors.New("no privilege")},
		"they are slow": {err: context.DeadlineExceeded, takes: DefaultReadTimeout},
	} {
		if unavailable, f := validateDuringFlood(t, false, pulse); unavailable > 0 || f.ahead > 0 {
			t.Errorf("%s: %d of 50 keys are UNAVAILABLE, %d revisions were rejected", name, unavailable, f.ahead)
		}
	}
}
