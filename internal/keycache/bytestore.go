package keycache

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/bits"
	"time"
	"unsafe"

	"github.com/allegro/bigcache/v3"

	"github.com/keytail/keytail/internal/apikey"
)

const (
	// minSizeMiB: bigcache counts in whole MiB, and there are two of them.
	minSizeMiB = 2
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

// split shares a size in MiB between the entries found and the negatives.
func split(sizeMiB int) (found, negative int) {
	negative = max(1, sizeMiB/negativeShare)
	return sizeMiB - negative, negative
}

// byteStore is bigcache as a map from a hash's first 64 bits to bytes, and
// nothing more: its expiry, eviction order, Delete and Reset are not relied on.
type byteStore struct {
	cache *bigcache.BigCache
}

func newByteStore(sizeMiB int) (*byteStore, error) {
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
	})
	if err != nil {
		return nil, fmt.Errorf("bigcache: %w", err)
	}
	return &byteStore{cache: cache}, nil
}

// shards is the largest power of two that gives each shard a MiB.
func shards(sizeMiB int) int {
	return min(maxShards, 1<<(bits.Len(uint(sizeMiB))-1))
}

// get returns a copy that the caller owns.
func (s *byteStore) get(h *apikey.Hash) ([]byte, bool) {
	value, err := s.cache.Get(storeKey(h))
	return value, err == nil
}

// set may fail only for a value over a shard's size, which encode has refused
// already; a failed set leaves a miss, which is always right.
func (s *byteStore) set(h *apikey.Hash, value []byte) {
	_ = s.cache.Set(storeKey(h), value)
}

func (s *byteStore) len() int { return s.cache.Len() }

func (s *byteStore) capacity() int { return s.cache.Capacity() }

// storeKey views the first bytes of the hash as a string without a copy: the
// byte store copies what it keeps, and nobody writes to a Hash.
func storeKey(h *apikey.Hash) string { return unsafe.String(&h[0], keyBytes) }

// identity makes the store's 64-bit hash the key itself, so that two keys that
// share it overwrite each other in sight (the full hash in the value differs)
// instead of making one absent.
type identity struct{}

func (identity) Sum64(key string) uint64 {
	var buffer [keyBytes]byte
	copy(buffer[:], key)
	sum := binary.BigEndian.Uint64(buffer[:])
	if sum == 0 {
		// bigcache v3.2.0 marks overwritten entries with the hash 0 and skips
		// them when it evicts.
		return 1
	}
	return sum
}
