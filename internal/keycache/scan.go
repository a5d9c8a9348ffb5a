package keycache

import (
	"errors"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/guard"
)

// Why a scan did not make the cache complete.
var (
	// ErrScanLost: the stream lost its history during the scan. Scan again once it is open.
	ErrScanLost = errors.New("the change stream lost its history during the scan")
	// ErrScanEvicted: the collection does not fit into the base.
	ErrScanEvicted = errors.New("the collection does not fit into the cache")
	// ErrScanUnreadable: an event did not show all of its hashes. Scan again.
	ErrScanUnreadable = errors.New("a document whose hashes cannot all be tracked appeared during the scan")
	// ErrScanOutgrown: a scan in place has seen more new keys than can be remembered beside the
	// base. Scan with RebuildKind.
	ErrScanOutgrown = errors.New("there are too many new keys since the cache was filled")
	// ErrScanFits: a scan in place has found that the collection fits into a base, which the cache
	// does not have. Scan with ScanIntoEmpty.
	ErrScanFits = errors.New("the collection fits into the cache now")
)

// maxBeside is how many hashes a completeness can list that the base does not hold.
const maxBeside = 1 << 16

// ScanKind is what a scan does with the documents.
type ScanKind uint8

const (
	// ScanIntoEmpty fills an empty base that is in use immediately. It is for the first scan of an
	// epoch, when no cached entry is valid anyway, and for a rebuild without memory for two bases.
	ScanIntoEmpty ScanKind = iota
	// ScanInPlace audits the cache in use: it compares each document with its entry, stores into
	// the overlay what is missing, and renews the completeness. The base is not written to. If the
	// cache is filled on demand, it only compares and finds out whether the collection fits.
	ScanInPlace
	// ScanAside fills a second base, which replaces the one in use when the scan ends.
	ScanAside
)

// Scan is one long fill of all documents. It belongs to one goroutine.
type Scan struct {
	cache      *Cache
	kind       ScanKind
	number     uint64
	ticket     Ticket
	into       *generation
	unreadable uint64
	// base is what ScanIntoEmpty and ScanAside fill: see filler.
	base filler
	// beside are the hashes, by their keys in the byte store, that a scan in place has seen and the
	// base does not hold.
	beside map[uint64]struct{}
	// bytes is what a scan in place has seen, as a base would hold it.
	bytes int64
	// seen are the hashes that were seen, if the scan must remember them. It is made by the first.
	seen     *seenHashes
	suspects []apikey.Hash
	// expected is about how many documents there are, 0 if that is unknown.
	expected int64
	// unique: see IndexIsUnique.
	unique bool
	// duplicated maps each hash that was seen in two documents to the sums of the documents' ids.
	duplicated map[apikey.Hash][2]uint64
	duplicates int
}

// BeginScan takes the ticket of a scan. The read must start after it, must not be older than the
// ticket's floor, and must see every document once (sorted by _id). keys is about how many documents
// there are, 0 if that is unknown: the slot tables and the base get their sizes from it. Only one
// scan may run at a time. ErrScanLost: the stream has no history. ErrScanEvicted: so many keys like
// those in the base cannot fit; the base in use stays.
func (c *Cache) BeginScan(kind ScanKind, keys int64) (*Scan, error) {
	if kind != ScanInPlace && !c.mayFit(kind, keys) {
		return nil, ErrScanEvicted
	}
	s := &Scan{cache: c, number: c.scans.Add(1), kind: kind, into: c.current.Load()}
	s.expected, s.duplicated = keys, map[apikey.Hash][2]uint64{}
	if kind == ScanInPlace {
		s.beside = map[uint64]struct{}{}
	} else if err := s.makeGeneration(keys); err != nil {
		return nil, err
	}
	// Loaded before the ticket: an event that cannot be read from here on shows in Finish.
	s.unreadable = c.unreadable.Load()
	s.ticket = c.Begin()
	if s.fills() {
		s.into.scan, s.into.ticket = s.number, s.ticket
		s.into.filled.Store(s.ticket.seq)
	}
	if !s.ticket.Trusted() {
		s.Abandon()
		return nil, ErrScanLost
	}
	return s, nil
}

// makeGeneration makes the generation that the scan fills, with slot tables for so many keys.
func (s *Scan) makeGeneration(keys int64) error {
	c, old := s.cache, s.into
	size, tables := c.sizeOf(s.kind), old.slots
	grown := slotsFor(keys, c.config.Slots) > len(tables.byID)
	if grown {
		tables = newSlots(slotsFor(keys, c.config.Slots), tables.hash)
	}
	base, err := newByteStore(size, 0)
	if err != nil {
		return err
	}
	fresh := newGeneration(base, tables, c.config.MaxAge)
	fresh.documents = keys
	fresh.covered = max(old.covered, old.complete.Load().epoch())
	s.into, s.base = fresh, filler{store: base, into: fresh, sizeMiB: size, keys: keys}
	if s.kind == ScanIntoEmpty {
		c.current.Store(fresh)
		c.front.end()
	} else {
		c.aside.Store(fresh)
	}
	if grown {
		// The tail has the tables now, so every change from the next one on is stamped in them. The
		// ticket is taken later: the scan's entries are not older than the tables.
		tables.begin(c.seq.Load())
	}
	return nil
}

// fills reports whether the scan fills a base of its own.
func (s *Scan) fills() bool { return s.kind != ScanInPlace }

// Ticket has the floor of the scan's read.
func (s *Scan) Ticket() Ticket { return s.ticket }

// WillFail reports whether Finish can only fail, so that the scan may be stopped early.
func (s *Scan) WillFail() bool { return s.failure() != nil }

func (s *Scan) failure() error {
	switch c := s.cache; {
	case c.epoch.Load() != s.ticket.epoch:
		return ErrScanLost
	case c.unreadable.Load() != s.unreadable:
		return ErrScanUnreadable
	case s.evicted():
		return ErrScanEvicted
	case len(s.beside) > maxBeside && !s.into.open.Load():
		return ErrScanOutgrown
	default:
		return nil
	}
}

// evicted reports whether the documents are more than a base holds. While a scan fills a base it is
// the only one that writes to it, so each eviction has been caused, and counted, by a call of Add.
func (s *Scan) evicted() bool {
	if s.fills() {
		return s.base.store.evictions.Load() != 0 && guard.AbsentEvictions
	}
	return s.into.open.Load() && s.bytes+s.bytes/unevenness > s.cache.GenerationBytes()
}

// Finish publishes the completeness, or returns why there is none. A scan in place also adds to
// the suspects the valid entries that it has not seen, if it has seen all documents.
//
// It must not be called before the stream has passed the end of the scan's read. A cursor is not
// one snapshot: a hash that moves, at one cluster time, from a document that the cursor has not
// reached to one that it has passed is seen in neither. The event of such a move must have stamped
// the hash by now.
func (s *Scan) Finish() error {
	defer s.Abandon()
	c := s.cache
	s.base.flush()
	if err := s.failure(); err != nil {
		// The scan may have stopped halfway. What it has not reached is not suspect: reading each
		// of those entries would delay the scan that repairs this.
		return err
	}
	if s.kind == ScanInPlace {
		s.suspectUnseen()
		s.suspectUnseenInFront()
	}
	s.countDuplicates()
	if s.kind == ScanInPlace && s.into.open.Load() {
		return ErrScanFits
	}
	// Whoever uses the completeness notices a loss or an unreadable event from here on, because it
	// carries the epoch and the counter. It is published before the swap, so that there is no moment
	// at which the cache is not complete.
	s.into.complete.Store(&completeness{scan: s.number, ticket: s.ticket, beside: s.beside, unreadable: s.unreadable, finished: c.sinceOrigin()})
	if s.kind == ScanAside {
		c.current.Store(s.into)
		c.front.end()
	}
	s.countStamps()
	return nil
}

// countStamps counts the slots that were stamped while the scan ran.
func (s *Scan) countStamps() {
	s.into.shown.Store(s.into.slots.byHash.countAfter(s.ticket.seq))
	if s.fills() {
		s.into.changed.Store(s.into.slots.byID.countAfter(s.ticket.seq))
	}
}

// Abandon ends a scan that will not finish: what it has filled is dropped if it was aside, or an
// open base if it is in use. After Finish it does nothing.
func (s *Scan) Abandon() {
	switch s.kind {
	case ScanAside:
		s.cache.aside.CompareAndSwap(s.into, nil)
	case ScanIntoEmpty:
		s.base.flush()
		if s.into.openAt(s.cache.sinceOrigin()) {
			s.cache.front.end()
		}
	case ScanInPlace:
	}
}

// Suspects are the hashes whose entries differed from what was read, or were not seen. Either may
// have changed meanwhile, so each is to be read once more and passed to Audit.
func (s *Scan) Suspects() []apikey.Hash { return s.suspects }
