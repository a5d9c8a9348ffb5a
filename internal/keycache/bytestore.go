package keycache

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/allegro/bigcache/v3"

	"github.com/keytail/keytail/internal/apikey"
)

const (
	// minSizeMiB: bigcache counts in whole MiB, and there are up to three caches.
	minSizeMiB = 3
	// negativeShare of the size goes to negatives. They are small, and requests with unknown keys
	// must never evict a good key.
	negativeShare = 16
	// maxShards limits the number of locks. Up to this limit there is one shard per MiB, so each
	// shard is far larger than the largest entry.
	maxShards = 256
	// keyBytes is how many bytes of the hash are the byte store's key.
	keyBytes = 8
	// lifeWindow is longer than any process runs. bigcache's expiry is in seconds of the wall
	// clock, and correctness does not depend on it here.
	lifeWindow = 100 * 365 * 24 * time.Hour
)

// splitSize divides a size in MiB between one generation of found entries and the negatives. There
// are two generations while one is rebuilt aside, so each may take half. A cache that is never
// complete never rebuilds.
func splitSize(sizeMiB int, complete bool) (found, negative int) {
	negative = max(1, sizeMiB/negativeShare)
	found = sizeMiB - negative
	if complete {
		found /= 2
	}
	return max(1, found), negative
}

// byteStore uses bigcache as a map from the first 64 bits of a hash to bytes, and nothing more:
// keytail does not rely on bigcache's expiry, eviction order, Delete or Reset.
type byteStore struct {
	cache *bigcache.BigCache
	// evictions increases each time that a stored value may be gone. It increases before a reader
	// can find the value gone, because bigcache calls back under the shard's lock.
	evictions atomic.Uint64
}

func newByteStore(sizeMiB int) (*byteStore, error) {
	s := &byteStore{}
	cache, err := bigcache.New(context.Background(), bigcache.Config{
		Shards:     shards(sizeMiB),
		LifeWindow: lifeWindow,
		// No clean-up goroutine: nothing expires.
		CleanWindow: 0,
		// These two size only the first allocation: start small and grow.
		MaxEntriesInWindow: 0,
		MaxEntrySize:       512,
		Hasher:             identity{},
		HardMaxCacheSize:   sizeMiB,
		// The callback runs under a shard's lock, so it only increments a number. Overwritten
		// entries that are evicted do not count: bigcache calls back for live ones only.
		OnRemoveWithReason: func(string, []byte, bigcache.RemoveReason) { s.evictions.Add(1) },
	})
	if err != nil {
		return nil, fmt.Errorf("bigcache: %w", err)
	}
	s.cache = cache
	return s, nil
}

// shards is the largest power of two that leaves at least one MiB for each shard.
func shards(sizeMiB int) int {
	return min(maxShards, 1<<(bits.Len(uint(sizeMiB))-1))
}

// get returns a copy that the caller owns, or nil if there is no value. Any other error counts as
// a value from which no entry can be read, because an absence must be certain.
func (s *byteStore) get(h *apikey.Hash) []byte {
	value, err := s.cache.Get(storeKey(h))
	if errors.Is(err, bigcache.ErrEntryNotFound) {
		return nil
	}
	if err != nil {
		return []byte{}
	}
	return value
}

// set can only fail for a value over a shard's size, which encode has already rejected. A failed
// set loses the old value too.
func (s *byteStore) set(h *apikey.Hash, value []byte) {
	if err := s.cache.Set(storeKey(h), value); err != nil {
		s.evictions.Add(1)
	}
}

func (s *byteStore) len() int { return s.cache.Len() }

func (s *byteStore) capacity() int { return s.cache.Capacity() }

// storeKey is the first bytes of the hash. A view of those bytes would be cheaper, but would move
// every requested hash to the heap. A key of zeros is replaced by another one: bigcache v3.2.0
// marks overwritten entries with the hash 0 and skips them when it evicts.
func storeKey(h *apikey.Hash) string {
	key := string(h[:keyBytes])
	if key == keyOfZeros {
		return keyForZeros
	}
	return key
}

const (
	keyOfZeros  = "\x00\x00\x00\x00\x00\x00\x00\x00"
	keyForZeros = "\x00\x00\x00\x00\x00\x00\x00\x01"
)

// identity makes the key itself the store's 64-bit hash. Two keys with the same 64 bits then
// overwrite each other, and keytail notices (the full hash in the value differs), instead of one
// of them being reported absent.
type identity struct{}

func (identity) Sum64(key string) uint64 {
	var buffer [keyBytes]byte
	copy(buffer[:], key)
	return binary.BigEndian.Uint64(buffer[:])
}
