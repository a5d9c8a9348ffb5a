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
	// minSizeMiB: bigcache counts in whole MiB, and there are up to three of them.
	minSizeMiB = 3
	// negativeShare of the size goes to negatives: they are small, and garbage
	// must never push out a good key.
	negativeShare = 16
	// maxShards bounds the number of locks; a shard per MiB up to it keeps each
	// shard far larger than the largest entry.
	maxShards = 256
	// keyBytes of the hash are the byte store's key.
	keyBytes = 8
	// lifeWindow is longer than any process: bigcache's expiry is in seconds of
	// the wall clock, and carries no correctness here.
	lifeWindow = 100 * 365 * 24 * time.Hour
)

// split shares a size in MiB between a generation of entries found and the
// negatives. While a generation is rebuilt aside there are two, so each may take
// half; a cache that is never complete never rebuilds.
func splitSize(sizeMiB int, complete bool) (found, negative int) {
	negative = max(1, sizeMiB/negativeShare)
	found = sizeMiB - negative
	if complete {
		found /= 2
	}
	return max(1, found), negative
}

// byteStore is bigcache as a map from a hash's first 64 bits to bytes, and
// nothing more: its expiry, eviction order, Delete and Reset are not relied on.
type byteStore struct {
	cache *bigcache.BigCache
	// evictions moves each time something that was stored may be gone. It moves
	// before a reader can find it gone: bigcache calls back under the shard's
	// lock.
	evictions atomic.Uint64
}

func newByteStore(sizeMiB int) (*byteStore, error) {
	s := &byteStore{}
	cache, err := bigcache.New(context.Background(), bigcache.Config{
		Shards:     shards(sizeMiB),
		LifeWindow: lifeWindow,
		// No clean-up goroutine: nothing expires.
		CleanWindow: 0,
		// Only the first allocation: grow from small.
		MaxEntriesInWindow: 0,
		MaxEntrySize:       512,
		Hasher:             identity{},
		HardMaxCacheSize:   sizeMiB,
		// The callback runs under a shard's lock: it moves one number and
		// nothing else. Overwritten entries that are pushed out do not count:
		// bigcache calls back for live ones only.
		OnRemoveWithReason: func(string, []byte, bigcache.RemoveReason) { s.evictions.Add(1) },
	})
	if err != nil {
		return nil, fmt.Errorf("bigcache: %w", err)
	}
	s.cache = cache
	return s, nil
}

// shards is the largest power of two that gives each shard a MiB.
func shards(sizeMiB int) int {
	return min(maxShards, 1<<(bits.Len(uint(sizeMiB))-1))
}

// get returns a copy that the caller owns, nil if nothing is held. Any other
// trouble counts as held, and no entry can be read from it: an absence must be
// sure.
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

// set may fail for a value over a shard's size, which encode has refused
// already. A failed set loses the old value too.
func (s *byteStore) set(h *apikey.Hash, value []byte) {
	if err := s.cache.Set(storeKey(h), value); err != nil {
		s.evictions.Add(1)
	}
}

func (s *byteStore) len() int { return s.cache.Len() }

func (s *byteStore) capacity() int { return s.cache.Capacity() }

// storeKey is the first bytes of the hash. A view of them would be cheaper to make,
// and would move every hash that is looked for to the heap. A key of zeros
// becomes another one: bigcache v3.2.0 marks overwritten entries with the hash 0
// and skips them when it evicts.
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

// identity makes the store's 64-bit hash the key itself, so that two keys that
// share it overwrite each other in sight (the full hash in the value differs)
// instead of making one absent.
type identity struct{}

func (identity) Sum64(key string) uint64 {
	var buffer [keyBytes]byte
	copy(buffer[:], key)
	return binary.BigEndian.Uint64(buffer[:])
}
