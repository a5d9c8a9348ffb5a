package othercaches

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/keystore"
)

// streamCache stands for the change-stream cache that everybody writes first: requests fill it by reads,
// and a change event drops the entry. When the stream fails it resumes, and when it cannot
// resume it opens a new one.
//
// Two things can go wrong. A read that overlaps a change can be stored after the event has
// dropped nothing: then no event will ever drop it. And nothing tells what happened between a stream that
// could not resume and the next one.
type streamCache struct {
	keys    *mongo.Collection
	entries *entries
	// opened: there has been a stream. Nothing is stored before.
	opened atomic.Bool
	// empties: the cache is emptied when the stream could not resume.
	empties bool

	mutex sync.Mutex
	// hashes maps the _id of each document in the cache to its key's hash, because the event of a
	// deletion has the _id alone.
	hashes map[string]apikey.Hash
}

// reopenPause is the pause after an error of the stream.
const reopenPause = 500 * time.Millisecond

func newStream(c Config) Cache {
	return &streamCache{keys: c.Keys, entries: newEntries(c.TTL), hashes: map[string]apikey.Hash{}}
}

func newEmptiedStream(c Config) Cache {
	cache := newStream(c).(*streamCache)
	cache.empties = true
	return cache
}

// Validate implements Cache.
func (c *streamCache) Validate(ctx context.Context, text string, request *apikey.Request) apikey.Verdict {
	hash := apikey.HashOf(text)
	if record, ok := c.entries.get(hash); ok {
		return decide(record, apikey.SourceCache, request)
	}
	record, err := find(ctx, c.keys, hash)
	if err != nil {
		return apikey.Verdict{Code: apikey.Unavailable}
	}
	c.store(hash, record)
	return decide(record, apikey.SourceFill, request)
}

func (c *streamCache) store(hash apikey.Hash, record *apikey.Record) {
	if !c.opened.Load() {
		return
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if record != nil {
		c.hashes[record.KeyID] = hash
	}
	c.entries.put(hash, record)
}

// Run implements Cache: it follows the change stream.
func (c *streamCache) Run(ctx context.Context) {
	var token bson.Raw
	for ctx.Err() == nil {
		token = c.follow(ctx, token)
		select {
		case <-ctx.Done():
		case <-time.After(reopenPause):
		}
	}
}

// follow reads one stream until it ends, and returns the token to resume it with. Nil: it cannot be
// resumed, so the next one begins at the present.
func (c *streamCache) follow(ctx context.Context, token bson.Raw) bson.Raw {
	o := options.ChangeStream()
	if token != nil {
		o.SetResumeAfter(token)
	}
	stream, err := c.keys.Watch(ctx, mongo.Pipeline{}, o)
	if err != nil {
		return resumable(err, token)
	}
	defer func() { _ = stream.Close(context.WithoutCancel(ctx)) }() // it has ended, or the process ends
	c.opened.Store(true)
	if token == nil && c.empties {
		c.entries.clear()
	}
	for stream.Next(ctx) {
		if !c.apply(stream.Current) {
			return nil
		}
		token = stream.ResumeToken()
	}
	return resumable(stream.Err(), token)
}

// notResumable are CappedPositionLost, InvalidResumeToken, ChangeStreamFatalError and
// ChangeStreamHistoryLost.
var notResumable = []int{136, 260, 280, 286}

// resumable returns the token, unless the server said that it cannot be resumed.
func resumable(err error, token bson.Raw) bson.Raw {
	command, ok := errors.AsType[mongo.ServerError](err)
	if ok && slices.ContainsFunc(notResumable, command.HasErrorCode) {
		return nil
	}
	return token
}

// apply drops what an event is about. False: the stream has ended with the collection.
func (c *streamCache) apply(event bson.Raw) bool {
	kind, _ := event.Lookup("operationType").StringValueOK()
	switch kind {
	case "drop", "rename", "dropDatabase":
		c.entries.clear()
		return true
	case "invalidate":
		return false
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if id, ok := event.Lookup("documentKey", "_id").StringValueOK(); ok {
		if hash, known := c.hashes[id]; known {
			c.entries.drop(hash)
		}
		delete(c.hashes, id)
	}
	// The document's new hash may be in the cache as an unknown key.
	for _, path := range [][]string{{"fullDocument", "key_hash"}, {"updateDescription", "updatedFields", "key_hash"}} {
		if hash, ok := keystore.DefaultSchema().HashValue(event.Lookup(path...)); ok {
			c.entries.drop(hash)
		}
	}
	return true
}
