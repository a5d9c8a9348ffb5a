package othercaches

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"golang.org/x/sync/singleflight"

	"github.com/keytail/keytail/internal/apikey"
)

// loadingCache stands for an authenticator over a loading cache, as RESTHeart's mongoRealmAuthenticator is
// with its cache turned on. It reproduces what that one does, from its source at commit
// 4e37259d1b2b03087eb879cf0ad53199b8b5dd5f of github.com/SoftInstigate/restheart (after 9.5):
//
//   - core/src/main/resources/restheart-default-config.yml: cache-size 1_000, cache-ttl 60_000 ms,
//     cache-expire-policy AFTER_WRITE; cache-enabled is false there;
//   - commons/…/cache/impl/CaffeineLoadingCache.java: one load for concurrent requests, and a loader that
//     returns nothing leaves an empty entry for the time to live;
//   - security/…/authenticators/MongoRealmAuthenticator.java, findAccount: a read that fails is logged and
//     returns nothing, like an account that does not exist.
//
// So a read that fails refuses the key until the entry ends. Deviations: RESTHeart looks up a user by
// name and compares a password; here the key is both. Caffeine chooses what to evict by
// frequency, and here an arbitrary entry goes.
type loadingCache struct {
	keys    *mongo.Collection
	entries *entries
	loads   singleflight.Group
}

const (
	// loadingSize is the maximum number of entries.
	loadingSize = 1000
	// loadTimeout bounds a load, because one caller's deadline must not end it for the others.
	loadTimeout = 5 * time.Second
)

func newLoading(c Config) Cache {
	return &loadingCache{keys: c.Keys, entries: newEntries(c.TTL)}
}

// Validate implements Cache.
func (c *loadingCache) Validate(ctx context.Context, text string, request *apikey.Request) apikey.Verdict {
	hash := apikey.HashOf(text)
	if record, ok := c.entries.get(hash); ok {
		return decide(record, apikey.SourceCache, request)
	}
	loaded := c.loads.DoChan(hash.Hex(), func() (any, error) { return c.load(context.WithoutCancel(ctx), hash), nil })
	select {
	case result := <-loaded:
		return decide(result.Val.(*apikey.Record), apikey.SourceFill, request)
	case <-ctx.Done():
		return apikey.Verdict{Code: apikey.Unavailable}
	}
}

// load reads a key and stores what it found. A read that fails has found nothing.
func (c *loadingCache) load(ctx context.Context, hash apikey.Hash) *apikey.Record {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	record, err := find(ctx, c.keys, hash)
	if err != nil {
		record = nil
	}
	c.entries.putWithin(hash, record, loadingSize)
	return record
}

// Run implements Cache. There is nothing to do.
func (c *loadingCache) Run(ctx context.Context) { <-ctx.Done() }
