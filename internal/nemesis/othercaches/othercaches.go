// Package othercaches has caches of API keys that services have instead of keytail, each written the
// way a competent engineer writes it first. The nemesis puts them under the same faults as
// keytail and judges them by the same oracle (internal/integration/nemesis, bench row other-caches).
// Nothing of the product uses this package.
//
// All of them decode documents and decide as keytail does. They differ in when they read the
// database, and in when they stop believing what they have read.
package othercaches

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/keytail/keytail/internal/apikey"
)

// Cache is one process with a cache. It is safe for concurrent use.
type Cache interface {
	// Validate answers a request. Verdicts have no age: no cache of this package knows
	// how old its data are. A Code of Unavailable means that the database could not be read.
	Validate(ctx context.Context, text string, request *apikey.Request) apikey.Verdict
	// Run does what the cache does beside answering, until ctx ends. It returns when all of
	// its goroutines have stopped.
	Run(ctx context.Context)
}

// Config is what a cache needs.
type Config struct {
	// Keys is the collection of key documents.
	Keys *mongo.Collection
	// TTL is how long an entry may be used. Zero: as long as Kind.TTL says.
	TTL time.Duration
}

// Kind is a kind of cache.
type Kind struct {
	// Name is how flags, tables and files name it.
	Name string
	// Title names it for readers, Strength is what it does well.
	Title, Strength string
	// TTL is how long an entry may be used unless Config says otherwise. Zero: without a limit.
	TTL time.Duration
	new func(Config) Cache
}

// New returns a cache with no entries.
func (k *Kind) New(c Config) Cache {
	if c.TTL == 0 {
		c.TTL = k.TTL
	}
	return k.new(c)
}

// Kinds are all kinds, in the order of the report.
func Kinds() []Kind {
	return []Kind{
		{
			Name: "ttl", Title: "cache with a time to live of 60 s", TTL: time.Minute, new: newTTL,
			Strength: "It needs no connection but the one for reads, any database will do, and it answers through a short outage. Its promise is a number that everybody understands: the time to live",
		},
		{
			Name: "cleared", Title: "cache of 120 s that every write of the process clears", TTL: 2 * time.Minute, new: newCleared,
			Strength: "While the database is there, it is nearly as fresh as no cache at all, because it writes last_used once a second and forgets everything each time",
		},
		{
			Name: "stream", Title: "change-stream cache: an event drops the entry", new: newStream,
			Strength: "It reads each key once, and a revocation arrives within milliseconds while the stream runs. It answers through outages of any length",
		},
		{
			Name: "stream-emptied", Title: "the same, emptied when its stream cannot resume", new: newEmptiedStream,
			Strength: "It does not miss what happened while no stream was open",
		},
		{
			Name: "loading", Title: "loading cache of 60 s, as in RESTHeart's mongoRealmAuthenticator", TTL: time.Minute, new: newLoading,
			Strength: "Requests for one key share one read, the number of entries is bounded, and keys that do not exist are cached too. (RESTHeart has this cache off unless its configuration turns it on: then each request reads the database and none is late)",
		},
	}
}
