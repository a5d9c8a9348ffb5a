package othercaches

import (
	"context"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
)

// clearedCache stands for the cache of a service that clears it whenever it writes keys itself, so that
// no list of what changed is needed. The service also notes when a key was last used, once a second for
// all keys that were used, and that is such a write. (Row workload measures the speed of such a
// cache.)
//
// A write that fails clears nothing, so the cache is as old as the last write that succeeded,
// or as its time to live.
type clearedCache struct {
	ttlCache

	mutex sync.Mutex
	// used are the ids of the keys that were used since the last write.
	used map[string]struct{}
}

const (
	// flushInterval is how often last_used is written.
	flushInterval = time.Second
	// flushTimeout bounds one write of last_used.
	flushTimeout = 2 * time.Second
)

func newCleared(c Config) Cache {
	return &clearedCache{ttlCache: ttlCache{c.Keys, newEntries(c.TTL)}, used: map[string]struct{}{}}
}

// Validate implements Cache.
func (c *clearedCache) Validate(ctx context.Context, text string, request *apikey.Request) apikey.Verdict {
	verdict := c.ttlCache.Validate(ctx, text, request)
	if verdict.Code == apikey.Valid {
		c.mutex.Lock()
		c.used[verdict.Record.KeyID] = struct{}{}
		c.mutex.Unlock()
	}
	return verdict
}

// Run implements Cache: it writes last_used.
func (c *clearedCache) Run(ctx context.Context) {
	ticker := time.NewTicker(flushInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			c.flush(ctx)
		}
	}
}

func (c *clearedCache) flush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	c.mutex.Lock()
	ids := make(bson.A, 0, len(c.used))
	for id := range c.used {
		ids = append(ids, id)
	}
	clear(c.used)
	c.mutex.Unlock()
	if len(ids) == 0 {
		return
	}
	_, err := c.keys.UpdateMany(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}},
		bson.D{{Key: "$currentDate", Value: bson.D{{Key: "last_used", Value: true}}}})
	if err == nil {
		c.entries.clear()
	}
}
