package keycache

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

// Defaults of Config, each with its reason.
const (
	// DefaultSizeMiB holds two million keys of the seed's layout, or half of them with space for a
	// rebuild beside the base in use.
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
	// DefaultRefreshQueue has space for a bulk update of this many keys, and takes 1 MiB. What does
	// not fit is read when it is requested, or by a scan (preload/DESIGN.md).
	DefaultRefreshQueue = 1 << 16
)

// Config of a Cache. The zero value is usable.
type Config struct {
	// SizeMiB is the hard limit for the bytes of all entries, in MiB, without their index and
	// without the slot tables. Zero: DefaultSizeMiB. At least 3.
	SizeMiB int
	// MaxStale is the maximum staleness of an answer from the cache. Zero: DefaultMaxStale.
	MaxStale time.Duration
	// MaxAge is the longest time from an entry's fill to its end, in a cache that no scan has
	// completed in this epoch. Zero: DefaultMaxAge.
	MaxAge time.Duration
	// Slots is the least size of each slot table, a power of two. A scan of more keys makes larger
	// ones, with 16 to 32 bytes for each key. Zero: DefaultSlots.
	Slots int
	// SlotSeed selects the slots of documents and hashes, so that a simulation repeats. Who knows it can choose keys that
	// share a slot. Zero: random.
	SlotSeed uint64
	// Complete prepares for scans that make the cache complete: an eighth of the size is then for
	// keys that have changed since the scan.
	Complete bool
	// RefreshQueue is how many updated documents may wait for their refresh. Zero:
	// DefaultRefreshQueue.
	RefreshQueue int
	// FrontEntries is how many decoded records are kept for keys that are requested often, a power
	// of two that is at least 4. Each takes at most 1 KiB beside SizeMiB, and typically 600 bytes. Zero: 128 for each
	// MiB of SizeMiB, at most 65,536. Negative: none.
	FrontEntries int
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
	if c.FrontEntries == 0 {
		c.FrontEntries = defaultFrontEntries(c.SizeMiB)
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
	if !isFrontSize(c.FrontEntries) {
		errs = append(errs, fmt.Errorf("the front has %d entries, it must be a power of two that is at least %d", c.FrontEntries, frontWays))
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
	// refusals are the last updates that said by themselves that a key is refused.
	refusals refusals
	// fresh is the time up to which all changes have been applied. Nil: there was none yet.
	// Writers hold freshMutex, readers do not.
	fresh      atomic.Pointer[Freshness]
	freshMutex sync.Mutex

	// current serves requests. aside, if not nil, is being filled to replace it.
	current atomic.Pointer[generation]
	aside   atomic.Pointer[generation]
	// overlay holds what is stored while current is not open. Nil in a cache that is never complete.
	overlay   *byteStore
	negatives *byteStore
	// front is asked before current.
	front front
	// scans numbers the scans that have begun.
	scans atomic.Uint64
	// unreadable counts the events that did not show all of their hashes.
	unreadable atomic.Uint64

	sizes    split
	refresh  chan apikey.DocID
	counters counters
}

// New makes an empty cache. No entry is valid before Open and Fresh have been called.
func New(config Config) (*Cache, error) {
	config.setDefaults()
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("key cache: %w", err)
	}
	c := &Cache{
		config:  config,
		origin:  config.Now(),
		sizes:   splitSize(config.SizeMiB, config.Complete),
		front:   newFront(config.FrontEntries),
		refresh: make(chan apikey.DocID, config.RefreshQueue),
	}
	c.refusals.make(refusalPlaces)
	if err := c.makeStores(); err != nil {
		return nil, fmt.Errorf("key cache: %w", err)
	}
	c.epoch.Store(1)
	return c, nil
}

// makeStores makes the stores of a cache that is filled on demand until a scan begins.
func (c *Cache) makeStores() (err error) {
	if c.negatives, err = newByteStore(c.sizes.negatives, 0); err != nil {
		return err
	}
	if c.config.Complete {
		if c.overlay, err = newByteStore(c.sizes.overlay, 0); err != nil {
			return err
		}
	}
	tables := newSlots(c.config.Slots, newSlotHash(c.config.SlotSeed))
	tables.begin(0)
	var base *byteStore
	if c.config.Complete {
		base, err = newByteStore(c.sizes.base, 0)
	} else {
		base, err = newOnDemandStore(c.sizes.base)
	}
	if err != nil {
		return err
	}
	first := newGeneration(base, tables, c.config.MaxAge)
	first.openAt(0)
	c.current.Store(first)
	return nil
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
