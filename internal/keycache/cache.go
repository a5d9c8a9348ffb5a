package keycache

import (
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

// Defaults of Config, each with its reason.
const (
	// DefaultSizeMiB holds about a million keys of the seed's layout.
	DefaultSizeMiB = 512
	// DefaultMaxStale is longer than an election (about 12 s), so a healthy replica set changes
	// its primary without an outage of keytail.
	DefaultMaxStale = 15 * time.Second
	// DefaultMaxAge limits how long an entry lives in a cache that is not complete, whatever the
	// stream reports. It is a safety net, not a guarantee. Each entry lives between half of it and
	// all of it.
	DefaultMaxAge = 10 * time.Minute
	// DefaultSlots makes each table 8 MiB. With n changes since an entry was filled, about n in
	// 2^20 unrelated keys cost one extra read.
	DefaultSlots = 1 << 20
	// DefaultRefreshQueue has space for a bulk update of a few thousand keys. What does not fit is
	// read when it is requested.
	DefaultRefreshQueue = 4096
)

// Config of a Cache. The zero value is usable.
type Config struct {
	// SizeMiB is the hard limit for the bytes of all entries, in MiB, without the two slot tables
	// (16 MiB by default). Zero: DefaultSizeMiB. At least 3.
	SizeMiB int
	// MaxStale is the maximum staleness of an answer from the cache. Zero: DefaultMaxStale.
	MaxStale time.Duration
	// MaxAge is the longest time from an entry's fill to its end, in a cache that no scan has
	// completed in this epoch. Zero: DefaultMaxAge.
	MaxAge time.Duration
	// Slots is the size of each table, a power of two. Zero: DefaultSlots.
	Slots int
	// Complete prepares for scans that make the cache complete: each generation then takes half of
	// the size, so that one can be rebuilt beside the other.
	Complete bool
	// RefreshQueue is how many updated documents may wait for their refresh. Zero:
	// DefaultRefreshQueue.
	RefreshQueue int
	// Now is the clock. Its times must carry a monotonic reading, so that ages stay right when the
	// wall clock is set. Nil: time.Now.
	Now func() time.Time
}

func (c *Config) setDefaults() {
	if c.SizeMiB == 0 {
		c.SizeMiB = DefaultSizeMiB
	}
	if c.MaxStale == 0 {
		c.MaxStale = DefaultMaxStale
	}
	if c.MaxAge == 0 {
		c.MaxAge = DefaultMaxAge
	}
	if c.Slots == 0 {
		c.Slots = DefaultSlots
	}
	if c.RefreshQueue == 0 {
		c.RefreshQueue = DefaultRefreshQueue
	}
	if c.Now == nil {
		c.Now = time.Now
	}
}

func (c *Config) validate() error {
	var errs []error
	if c.SizeMiB < minSizeMiB {
		errs = append(errs, fmt.Errorf("the cache size is %d MiB, it must be at least %d", c.SizeMiB, minSizeMiB))
	}
	if c.MaxStale < 0 {
		errs = append(errs, fmt.Errorf("max stale is %v, it must be positive", c.MaxStale))
	}
	if c.MaxAge < 0 {
		errs = append(errs, fmt.Errorf("max age is %v, it must be positive", c.MaxAge))
	}
	if c.Slots < 1 || c.Slots&(c.Slots-1) != 0 {
		errs = append(errs, fmt.Errorf("the number of slots is %d, it must be a power of two", c.Slots))
	}
	if c.RefreshQueue < 0 {
		errs = append(errs, fmt.Errorf("the refresh queue has length %d, it must be positive", c.RefreshQueue))
	}
	return errors.Join(errs...)
}

// Cache holds entries, and the state that decides which of them are still valid. Its methods are
// safe for concurrent use, with one exception: only one goroutine, the owner of the change stream,
// may call Lose, Open and Apply. Several may call Fresh.
type Cache struct {
	config Config
	// origin is the zero of the entries' deadlines. Deadlines are kept as a distance on the
	// monotonic clock, so setting the wall clock does not move them.
	origin time.Time

	// epoch is odd while the stream's history is lost, and even while a stream is open. It starts
	// odd: no entry is valid before the first Open.
	epoch atomic.Uint64
	// seq counts the applied changes.
	seq atomic.Uint64
	// floor is a cluster time that only rises. A read at or after it contains every change that
	// seq counts.
	floor atomic.Uint64
	// byID and byHash hold the seq of the last change of any document, and of any hash, in each
	// slot.
	byID   slots
	byHash slots
	// fresh is the time up to which all changes have been applied. Nil: there was none yet.
	// Writers hold freshMutex, readers do not.
	fresh      atomic.Pointer[Freshness]
	freshMutex sync.Mutex

	// current serves requests. aside, if not nil, is being filled to replace it.
	current   atomic.Pointer[generation]
	aside     atomic.Pointer[generation]
	negatives *byteStore
	// scans numbers the scans that have begun.
	scans atomic.Uint64
	// stampedSinceScan counts the byHash slots whose stamp is newer than the current completeness.
	// For hashes in those slots an absence costs a read.
	stampedSinceScan atomic.Int64
	// unreadable counts the events that did not show all of their hashes.
	unreadable atomic.Uint64

	generationMiB int
	refresh       chan apikey.DocID
	counters      counters
}

// New makes an empty cache. No entry is valid before Open and Fresh have been called.
func New(config Config) (*Cache, error) {
	config.setDefaults()
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("key cache: %w", err)
	}
	generationMiB, negativeMiB := splitSize(config.SizeMiB, config.Complete)
	first, err := newGeneration(generationMiB)
	if err != nil {
		return nil, fmt.Errorf("key cache: %w", err)
	}
	negatives, err := newByteStore(negativeMiB)
	if err != nil {
		return nil, fmt.Errorf("key cache for negatives: %w", err)
	}
	seed := maphash.MakeSeed()
	c := &Cache{
		config:        config,
		origin:        config.Now(),
		byID:          newSlots(config.Slots, seed),
		byHash:        newSlots(config.Slots, seed),
		negatives:     negatives,
		generationMiB: generationMiB,
		refresh:       make(chan apikey.DocID, config.RefreshQueue),
	}
	c.current.Store(first)
	c.epoch.Store(1)
	return c, nil
}

// Finding is the result of one database lookup by hash.
type Finding struct {
	// Found is false for a negative: no document had the hash.
	Found bool
	// ID is the document's identity, empty for a negative.
	ID apikey.DocID
	// Record is nil for a negative. Readers share it: do not modify it.
	Record *apikey.Record
	// Ambiguous: more than one document has the hash. The Finding then describes the one that
	// refuses, which the reader has chosen. It answers the callers of that read (Revalidate). It
	// is not stored, so each request reads the database.
	Ambiguous bool
}

// Found makes the Finding of a document.
func Found(id apikey.DocID, record *apikey.Record) Finding {
	return Finding{Found: true, ID: id, Record: record}
}
