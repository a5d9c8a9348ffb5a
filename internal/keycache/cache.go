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
	// DefaultMaxStale is longer than an election (about 12 s), so that a healthy
	// replica set changes its primary without an outage here.
	DefaultMaxStale = 15 * time.Second
	// DefaultMaxAge bounds how long an entry lives in a lazy cache whatever the
	// stream says: a safety net, not a promise. Each lives between half of it and
	// all of it.
	DefaultMaxAge = 10 * time.Minute
	// DefaultSlots makes each table 8 MiB. With n changes since an entry was
	// filled, about n in 2^20 unrelated keys cost one extra read.
	DefaultSlots = 1 << 20
	// DefaultRefreshQueue absorbs a bulk update of a few thousand keys; what
	// does not fit is read when it is asked for.
	DefaultRefreshQueue = 4096
)

// Config of a Cache. The zero value is usable.
type Config struct {
	// SizeMiB is the hard limit of the bytes of all entries, in MiB, not
	// counting the two slot tables (16 MiB by default). Zero: DefaultSizeMiB.
	// At least 3.
	SizeMiB int
	// MaxStale is the age past which no answer leaves the cache. Zero:
	// DefaultMaxStale.
	MaxStale time.Duration
	// MaxAge is the longest time from an entry's fill to its end, in a cache that no
	// scan has completed in this epoch. Zero: DefaultMaxAge.
	MaxAge time.Duration
	// Slots is the size of each table, a power of two. Zero: DefaultSlots.
	Slots int
	// Complete prepares for scans that make the cache complete: generations then
	// take half of the size each, so that one can be rebuilt beside the other.
	Complete bool
	// RefreshQueue is how many updated documents may wait for their refresh.
	// Zero: DefaultRefreshQueue.
	RefreshQueue int
	// Now is the clock; its times must carry a monotonic reading for ages to
	// survive a wall clock that is set. Nil: time.Now.
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
		errs = append(errs, fmt.Errorf("the refresh queue is %d long, it must be positive", c.RefreshQueue))
	}
	return errors.Join(errs...)
}

// Cache holds answers and the state that says which of them still hold. Its
// methods are safe for concurrent use, but Lose, Open and Apply must be called by
// one goroutine, the owner of the change stream. Fresh may be called by several.
type Cache struct {
	config Config
	// origin is the zero of the entries' deadlines: they are kept as a distance
	// on the monotonic clock, which a set wall clock cannot move.
	origin time.Time

	// epoch is odd while the stream has lost its history, even while it has
	// not. It starts odd: nothing is believed before the first Open.
	epoch atomic.Uint64
	// seq counts the changes applied.
	seq atomic.Uint64
	// floor is a cluster time that only rises: a read after it contains every
	// change counted by seq.
	floor atomic.Uint64
	// byID and byHash hold the seq of the last change of any document, and any
	// hash, that shares the slot.
	byID   slots
	byHash slots
	// fresh says up to when all changes have been applied. Nil: never. freshMutex
	// is held by who moves it, never by who reads it.
	fresh      atomic.Pointer[Freshness]
	freshMutex sync.Mutex

	// current answers. aside, when not nil, is being filled to take its place.
	current   atomic.Pointer[generation]
	aside     atomic.Pointer[generation]
	negatives *byteStore
	// scans numbers the scans that have begun.
	scans atomic.Uint64
	// moved counts the byHash slots that have passed the stamp of the current
	// completeness: the share of absences that cost a read.
	stampedSinceScan atomic.Int64
	// unreadable counts the events that did not show all of their hashes.
	unreadable atomic.Uint64

	generationMiB int
	refresh       chan apikey.DocID
	counters      counters
}

// New makes an empty cache that believes nothing until Open and Fresh.
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

// Finding is what one look at the database found for a hash.
type Finding struct {
	// Found is false for a negative: no document had the hash.
	Found bool
	// ID is the document's identity, empty for a negative.
	ID apikey.DocID
	// Record is nil for a negative. It is shared by readers: read only.
	Record *apikey.Record
	// Ambiguous: more than one document has the hash. The Finding is then of the
	// one that refuses, which the reader has chosen. It answers its own callers
	// (Revalidate); nothing of it is kept, so that each request reads.
	Ambiguous bool
}

// Found is the finding of a document.
func Found(id apikey.DocID, record *apikey.Record) Finding {
	return Finding{Found: true, ID: id, Record: record}
}
