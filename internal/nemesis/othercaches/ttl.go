package othercaches

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/keytail/keytail/internal/apikey"
)

// ttlCache stands for the cache that most services have: a map in the process whose entries end after
// a fixed time, for keys and for unknown keys. A failed read is an error for the caller and is
// not stored.
//
// By design it accepts a revoked key until the entry ends, and refuses a new one that was asked
// for before it was made.
type ttlCache struct {
	keys    *mongo.Collection
	entries *entries
}

func newTTL(c Config) Cache { return &ttlCache{c.Keys, newEntries(c.TTL)} }

// Validate implements Cache.
func (c *ttlCache) Validate(ctx context.Context, text string, request *apikey.Request) apikey.Verdict {
	hash := apikey.HashOf(text)
	if record, ok := c.entries.get(hash); ok {
		return decide(record, apikey.SourceCache, request)
	}
	record, err := find(ctx, c.keys, hash)
	if err != nil {
		return apikey.Verdict{Code: apikey.Unavailable}
	}
	c.entries.put(hash, record)
	return decide(record, apikey.SourceFill, request)
}

// Run implements Cache. There is nothing to do.
func (c *ttlCache) Run(ctx context.Context) { <-ctx.Done() }
