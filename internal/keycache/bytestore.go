package keycache

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/allegro/bigcache/v3"

	"github.com/keytail/keytail/internal/apikey"
)

const (
	// minSizeMiB: bigcache counts in whole MiB, and there are three caches.
	minSizeMiB = 3
	// negativeShare of the size goes to negatives. They are small, and requests with unknown keys
	// must never evict a good key.
	negativeShare = 16
	// overlayShare of the rest goes to the overlay. A rebuild follows when the keys that have changed
	// since the scan would fill it: that is a tenth of the keys of a full base, or more of a smaller one.
	overlayShare = 8
	// maxShards limits the number of locks. Up to this limit there is one shard per MiB, so each
	// shard is far larger than the largest entry.
	maxShards = 256
	// keyBytes is how many bytes of the hash are the byte store's key.
	keyBytes = 8
	// firstEntries is how many entries a shard has space for when it is made. It also sizes the
	// index, which then grows with the number of entries.
	firstEntries = 64
	// firstEntryBytes is the size of those entries if nothing is known about them.
	firstEntryBytes = 128
	// lifeWindow is longer than any process runs. bigcache's expiry is in seconds of the wall
	// clock, and correctness does not depend on it here.
	lifeWindow = 100 * 365 * 24 * time.Hour
)

// split is a cache's size in MiB, divided between its stores.
type split struct{ base, overlay, negatives int }

// splitSize divides a size in MiB. A cache that is never complete has no overlay.
func splitSize(sizeMiB int, complete bool) split {
	s := split{negatives: max(1, sizeMiB/negativeShare)}
	s.base = sizeMiB - s.negatives
	if complete {
		s.overlay = max(1, s.base/overlayShare)
		s.base -= s.overlay
	}
	s.base = max(1, s.base)
	return s
}

// byteStore uses bigcache as a map from the first 64 bits of a hash to bytes, and nothing more: no
// answer depends on bigcache's expiry, eviction order, Delete or Reset. A nil store holds nothing.
//
// A store is plain, and evicts what was stored first, or it is filled on demand, and evicts what is
// not asked for (admission.go).
type byteStore struct {
	// cache holds all values of a plain store.
	cache *bigcache.BigCache
	// evictions increases each time that a stored value may be gone, if only for the moment in which
	// it moves. It increases before a reader can find the value gone, because bigcache calls back
	// under the shard's lock.
	evictions atomic.Uint64
	// moved counts those of the evictions after which the value, or a newer one, was still there.
	moved atomic.Uint64
	// used is how many bytes have been stored, with those of overwritten and evicted entries.
	used atomic.Int64
	// sizeMiB is the limit of cache.
	sizeMiB int
	// admission is nil in a plain store.
	admission atomic.Pointer[admission]
	// stripes has as many elements as probation has shards. All values of a shard belong to one
	// stripe: its number is the last bits of the hash, as that of a shard is.
	stripes []stripe
}

// newByteStore makes a plain store that holds up to sizeMiB. expected is how many bytes it will hold,
// 0 if that is unknown: the store then begins small, and its parts double when they are full.
func newByteStore(sizeMiB int, expected int64) (*byteStore, error) {
	s := emptyByteStore(sizeMiB)
	var err error
	s.cache, err = newBigCache(sizeMiB, expected, s.leaveLocked)
	return s, err
}

// newSizedByteStore makes a plain store whose parts have space for so many entries of so many bytes, or
// for what fits into the limit. So neither the parts nor their indexes grow while it is filled.
func newSizedByteStore(sizeMiB int, entries, bytes int64) (*byteStore, error) {
	s := emptyByteStore(sizeMiB)
	n := int64(shards(sizeMiB))
	each := max(1, (bytes+entries-1)/entries)
	entries = min(entries, int64(sizeMiB)<<20/each)
	var err error
	s.cache, err = newBigCacheFor(sizeMiB, int(max(firstEntries, (entries+n-1)/n)), int(each), s.leaveLocked)
	return s, err
}

func emptyByteStore(sizeMiB int) *byteStore {
	return &byteStore{sizeMiB: sizeMiB, stripes: make([]stripe, shards(probationMiB(sizeMiB)))}
}

// newBigCache makes a bigcache that expires nothing. It calls onRemove under the shard's lock for
// each live entry that it removes, and not for overwritten ones.
func newBigCache(sizeMiB int, expected int64, onRemove func(key string, value []byte, why bigcache.RemoveReason)) (*bigcache.BigCache, error) {
	n := shards(sizeMiB)
	each := min(max(firstEntryBytes, int(expected)/n/firstEntries), sizeMiB<<20/n/firstEntries)
	return newBigCacheFor(sizeMiB, firstEntries, each, onRemove)
}

// newBigCacheFor is newBigCache with space in each shard for so many entries of so many bytes.
func newBigCacheFor(sizeMiB, entries, each int, onRemove func(key string, value []byte, why bigcache.RemoveReason)) (*bigcache.BigCache, error) {
	n := shards(sizeMiB)
	cache, err := bigcache.New(context.Background(), bigcache.Config{
		Shards:     n,
		LifeWindow: lifeWindow,
		// No clean-up goroutine: nothing expires.
		CleanWindow: 0,
		// These two size only the first allocation.
		MaxEntriesInWindow: n * entries,
		MaxEntrySize:       each,
		Hasher:             identity{},
		HardMaxCacheSize:   sizeMiB,
		OnRemoveWithReason: onRemove,
	})
	if err != nil {
		return nil, fmt.Errorf("bigcache: %w", err)
	}
	return cache, nil
}

// shards is the largest power of two that leaves at least one MiB for each shard.
func shards(sizeMiB int) int {
	return min(maxShards, 1<<(bits.Len(uint(sizeMiB))-1))
}

// get returns a copy that the caller owns, or nil if there is no value.
func (s *byteStore) get(h *apikey.Hash) []byte { return s.find(storeKey(h)) }

// find is get with the store's key of the hash.
func (s *byteStore) find(key string) []byte {
	if s == nil {
		return nil
	}
	value := getBytes(s.cache, key)
	if a := s.admission.Load(); value == nil && a != nil {
		return getBytes(a.probation, key)
	}
	return value
}

// getBytes returns a copy that the caller owns, or nil if there is no value. Any other error counts
// as a value from which no entry can be read, because an absence must be certain.
func getBytes(cache *bigcache.BigCache, key string) []byte {
	value, err := cache.Get(key)
	if errors.Is(err, bigcache.ErrEntryNotFound) {
		return nil
	}
	if err != nil {
		return []byte{}
	}
	return value
}

// getIfUsed is get for a store into which nothing may have been set yet. used increases before a value
// can be found, so nothing can be missed.
func (s *byteStore) getIfUsed(h *apikey.Hash) []byte {
	if s == nil || s.used.Load() == 0 {
		return nil
	}
	return s.get(h)
}

func (s *byteStore) set(h *apikey.Hash, value []byte) {
	if s == nil {
		return
	}
	st := s.stripeOf(storeSum(h))
	st.mutex.Lock()
	defer st.mutex.Unlock()
	s.used.Add(int64(len(value) + storeOverhead))
	if a := s.admission.Load(); a != nil {
		s.admitLocked(a, st, h, value)
		return
	}
	s.placeLocked(s.cache, storeKey(h), value)
}

// setAlone is set for the only writer of a plain store, which needs no stripe: those are for the moves
// of a store that is filled on demand.
func (s *byteStore) setAlone(key string, value []byte) {
	s.used.Add(int64(len(value) + storeOverhead))
	s.placeLocked(s.cache, key, value)
}

// placeLocked can only fail for a value over a shard's size, which encode has already rejected. If
// it fails it loses the old value too.
func (s *byteStore) placeLocked(cache *bigcache.BigCache, key string, value []byte) {
	if cache.Set(key, value) != nil {
		s.evictions.Add(1)
	}
}

// all are the stored values with their keys. Meanwhile no lock is held.
func (s *byteStore) all() iter.Seq2[string, []byte] {
	return func(yield func(key string, value []byte) bool) {
		for _, cache := range s.caches() {
			for iterator := cache.Iterator(); iterator.SetNext(); {
				if info, err := iterator.Value(); err == nil && !yield(info.Key(), info.Value()) {
					return
				}
			}
		}
	}
}

func (s *byteStore) caches() []*bigcache.BigCache {
	if s == nil {
		return nil
	}
	if a := s.admission.Load(); a != nil {
		return []*bigcache.BigCache{s.cache, a.probation}
	}
	return []*bigcache.BigCache{s.cache}
}

func (s *byteStore) len() (n int) {
	for _, cache := range s.caches() {
		n += cache.Len()
	}
	return n
}

func (s *byteStore) capacity() (n int) {
	for _, cache := range s.caches() {
		n += cache.Capacity()
	}
	return n
}

// dropped is the number of live values that are gone.
func (s *byteStore) dropped() uint64 {
	// moved first, so that the difference is not negative.
	moved := s.moved.Load()
	return s.evictions.Load() - moved
}

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

// storeSum is the number by which the byte store finds a hash.
func storeSum(h *apikey.Hash) uint64 {
	if string(h[:keyBytes]) == keyOfZeros {
		return 1
	}
	return binary.BigEndian.Uint64(h[:keyBytes])
}
