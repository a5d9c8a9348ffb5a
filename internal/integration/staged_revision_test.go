package integration

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
	"github.com/keytail/keytail/internal/validator"
)

// revisionAnomalies are floods of requests with a min_revision in the future. A violation
// is 503 for a key that exists, or anything but 400 for such a revision while heartbeats
// work.
func revisionAnomalies() []anomaly {
	return []anomaly{
		{
			name:    "revisions in the future",
			shows:   []string{"RevisionFirst"},
			covered: []string{"RevisionSlots"},
			stage:   futureRevisions(nil), scopes: noStream,
		},
		{
			name:    "revisions in the future without heartbeats",
			shows:   []string{"RevisionSlots"},
			covered: []string{"RevisionFirst"},
			stage:   futureRevisions(errors.New("the heartbeat is refused")), scopes: noStream,
		},
	}
}

// flooded is a collection in which every hash has a key, on a server that makes a
// read after a time in the future wait until its deadline.
type flooded struct {
	validator.Store
	now       clustertime.Time
	heartbeat error
}

func (f *flooded) FindByHash(ctx context.Context, h apikey.Hash, after clustertime.Time) (keystore.Document, bool, error) {
	if after > f.now {
		<-ctx.Done()
		return keystore.Document{}, false, fmt.Errorf("%w: %w", keystore.ErrRevisionAhead, ctx.Err())
	}
	return keystore.Document{ID: apikey.DocID(h[:]), Hash: h, HasHash: true, Record: apikey.Record{KeyID: "k", UserID: "user-1", Active: true}}, true, nil
}

func (f *flooded) Beat(context.Context) (clustertime.Time, error) { return f.now, f.heartbeat }

// futureRevisions floods a lazy cache for three seconds, and validates keys that are not
// cached meanwhile.
func futureRevisions(heartbeat error) stage {
	return func(t *testing.T, _ string) (answer string) {
		synctest.Test(t, func(t *testing.T) {
			cache, err := keycache.New(keycache.Config{SizeMiB: 8})
			if err != nil {
				t.Fatal(err)
			}
			store := &flooded{now: 10, heartbeat: heartbeat}
			v, err := validator.New(validator.Config{Cache: cache, Store: store, Heartbeater: store})
			if err != nil {
				t.Fatal(err)
			}
			cache.Open(store.now)
			cache.Fresh(keycache.Freshness{AsOf: time.Now(), Processed: store.now - 1})
			answer = flood(v, heartbeat == nil)
		})
		return answer
	}
}

// flood sends sixty revisions in the future each second, and validates a key that is not
// cached after every sixth.
func flood(v *validator.Validator, beats bool) string {
	var group sync.WaitGroup
	var mutex sync.Mutex
	outages, unreported := 0, 0
	validate := func(name string, i int, revision uint64, wrong func(apikey.Verdict) bool, count *int) {
		group.Go(func() {
			verdict := v.Validate(context.Background(), fmt.Sprintf("%s-%d", name, i), &apikey.Request{MinRevision: revision})
			mutex.Lock()
			defer mutex.Unlock()
			if wrong(verdict) {
				*count++
			}
		})
	}
	for i := range 180 {
		time.Sleep(time.Second / 60)
		validate("unknown-key", i, uint64(1e9+i), func(v apikey.Verdict) bool { return v.Problem != apikey.RevisionAhead }, &unreported)
		if i%6 == 0 {
			validate("existing-key", i, 0, func(v apikey.Verdict) bool { return v.Code != apikey.Valid }, &outages)
		}
	}
	group.Wait()
	if outages > 0 || beats && unreported > 0 {
		return fmt.Sprintf("%d of 30 keys are UNAVAILABLE, %d of 180 revisions in the future are not reported as such", outages, unreported)
	}
	return ""
}
