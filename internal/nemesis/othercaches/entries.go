package othercaches

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/keystore"
)

// entry is what a read has found. A nil record: there is no document with the hash.
type entry struct {
	record *apikey.Record
	// until is when the entry ends. Zero: never.
	until time.Time
}

// entries is a map of entries by the hash of the key.
type entries struct {
	ttl   time.Duration
	mutex sync.RWMutex
	// byHash has an entry for each hash that was read.
	byHash map[apikey.Hash]entry
}

func newEntries(ttl time.Duration) *entries {
	return &entries{ttl: ttl, byHash: map[apikey.Hash]entry{}}
}

func (e *entries) get(hash apikey.Hash) (*apikey.Record, bool) {
	e.mutex.RLock()
	defer e.mutex.RUnlock()
	found, ok := e.byHash[hash]
	if !ok || !found.until.IsZero() && time.Now().After(found.until) {
		return nil, false
	}
	return found.record, true
}

func (e *entries) put(hash apikey.Hash, record *apikey.Record) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	e.putLocked(hash, record)
}

func (e *entries) putLocked(hash apikey.Hash, record *apikey.Record) {
	fresh := entry{record: record}
	if e.ttl > 0 {
		fresh.until = time.Now().Add(e.ttl)
	}
	e.byHash[hash] = fresh
}

// putWithin is put for a map of a bounded size. An arbitrary entry makes room.
func (e *entries) putWithin(hash apikey.Hash, record *apikey.Record, size int) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	delete(e.byHash, hash) // its own place becomes free, so no other hash has to go
	for other := range e.byHash {
		if len(e.byHash) < size {
			break
		}
		delete(e.byHash, other)
	}
	e.putLocked(hash, record)
}

func (e *entries) drop(hash apikey.Hash) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	delete(e.byHash, hash)
}

func (e *entries) clear() {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	clear(e.byHash)
}

// find reads a key by its hash. A nil record: there is no document with it.
func find(ctx context.Context, keys *mongo.Collection, hash apikey.Hash) (*apikey.Record, error) {
	raw, err := keys.FindOne(ctx, bson.D{{Key: "key_hash", Value: hash.Hex()}}).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, nil //nolint:nilnil // "no such key" is a result, and cached like any other
	}
	if err != nil {
		return nil, err
	}
	document := keystore.DefaultSchema().Decode(raw)
	return &document.Record, nil
}

// decide is the verdict about a record. What depends on the clock is decided now, whenever the
// record was read.
func decide(record *apikey.Record, source apikey.Source, request *apikey.Request) apikey.Verdict {
	if record == nil {
		return apikey.Verdict{Code: apikey.NotFound, Source: source}
	}
	return apikey.Verdict{Code: apikey.Decide(record, request, time.Now()), Source: source, Record: record}
}
