package keycache

import (
	"errors"

	"github.com/keytail/keytail/internal/apikey"
)

// Why a scan did not make the cache complete.
var (
	// ErrScanLost: the stream lost its history during the scan. Scan again once it is open.
	ErrScanLost = errors.New("the change stream lost its history during the scan")
	// ErrScanEvicted: entries were evicted during the scan. Scan aside, with a fresh generation.
	// If that fails too, the collection does not fit.
	ErrScanEvicted = errors.New("entries were evicted from the cache during the scan")
	// ErrScanUnreadable: an event did not show all of its hashes. Scan again.
	ErrScanUnreadable = errors.New("a document whose hashes cannot all be tracked appeared during the scan")
)

// ScanKind is where a scan puts its entries.
type ScanKind uint8

const (
	// ScanIntoEmpty starts with an empty generation that is in use immediately. It is for the first
	// scan of an epoch, when no cached entry is valid anyway.
	ScanIntoEmpty ScanKind = iota
	// ScanInPlace uses the generation in use: it audits its entries, adds what is missing, and
	// renews the completeness.
	ScanInPlace
	// ScanAside fills a fresh generation, which replaces the one in use when the scan ends. It is
	// for a generation whose dead bytes evict live entries.
	ScanAside
)

// Scan is one long fill of all documents. It belongs to one goroutine.
type Scan struct {
	cache      *Cache
	kind       ScanKind
	number     uint64
	ticket     Ticket
	into       *generation
	evictions  uint64
	unreadable uint64
	// seen maps each hash that was seen, by its key in the byte store, to the sum of the first
	// document's id.
	seen     map[uint64]uint64
	suspects []apikey.Hash
	// unique: see IndexIsUnique.
	unique bool
	// duplicated maps each hash that was seen in two documents to the documents' slots.
	duplicated map[apikey.Hash][2]uint32
	duplicates int
}

// BeginScan takes the ticket of a scan. The read must start after it, must not be older than the
// ticket's floor, and must see every document once (sorted by _id). Only one scan may run at a
// time. ErrScanLost: the stream has no history.
func (c *Cache) BeginScan(kind ScanKind) (*Scan, error) {
	s := &Scan{cache: c, number: c.scans.Add(1), kind: kind, into: c.current.Load()}
	s.seen, s.duplicated = map[uint64]uint64{}, map[apikey.Hash][2]uint32{}
	if kind != ScanInPlace {
		fresh, err := newGeneration(c.generationMiB)
		if err != nil {
			return nil, err
		}
		s.into = fresh
		if kind == ScanIntoEmpty {
			c.current.Store(fresh)
		} else {
			c.aside.Store(fresh)
		}
	}
	// Loaded before the ticket: an eviction, or an event that cannot be read, from here on shows
	// in Finish.
	s.evictions, s.unreadable = s.into.evictions.Load(), c.unreadable.Load()
	s.ticket = c.Begin()
	if !s.ticket.Trusted() {
		s.Abandon()
		return nil, ErrScanLost
	}
	return s, nil
}

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
	case s.into.evictions.Load() != s.evictions:
		return ErrScanEvicted
	default:
		return nil
	}
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
	if err := s.failure(); err != nil {
		// The scan may have stopped halfway. What it has not reached is not suspect: reading each
		// of those entries would delay the scan that repairs this.
		return err
	}
	if s.kind == ScanInPlace {
		s.suspectUnseen()
	}
	s.countDuplicates()
	// Whoever uses the completeness notices a loss, an eviction or an unreadable event from here
	// on, because it carries the epoch and the counters. It is published before the swap: the
	// entries of a scan that took longer than MaxAge are past their deadlines, and there must be
	// no moment at which they are in use and not covered.
	s.into.complete.Store(&completeness{scan: s.number, ticket: s.ticket, evictions: s.evictions, unreadable: s.unreadable})
	if s.kind == ScanAside {
		c.current.Store(s.into)
	}
	c.stampedSinceScan.Store(c.byHash.countAfter(s.ticket.seq))
	return nil
}

// Abandon ends a scan that will not finish. After Finish it does nothing.
func (s *Scan) Abandon() {
	if s.kind == ScanAside {
		s.cache.aside.CompareAndSwap(s.into, nil)
	}
}

// Suspects are the hashes whose entries differed from what was read, or were not seen. Either may
// have changed meanwhile, so each is to be read once more and passed to Audit.
func (s *Scan) Suspects() []apikey.Hash { return s.suspects }

// suspectUnseen looks for valid entries whose document the scan did not see: their deletion may
// have been missed. It holds no lock for longer than one entry takes.
func (s *Scan) suspectUnseen() {
	for iterator := s.into.cache.Iterator(); iterator.SetNext(); {
		info, err := iterator.Value()
		if err != nil {
			continue
		}
		e, _, ok := decodeEntry(info.Value())
		if !ok || (e.kind != found && e.kind != provisional) || e.seq > s.ticket.seq {
			continue
		}
		if _, ok := s.seen[storeSum(&e.hash)]; !ok && s.cache.isValid(&e, &e.hash) {
			s.suspects = append(s.suspects, e.hash)
		}
	}
}

// NeedsAudit reports whether the hash still has an entry that requests would get. Most suspects
// have been stamped by the time that it is their turn.
func (c *Cache) NeedsAudit(h apikey.Hash) bool {
	g := c.current.Load()
	e, _, ok := c.decodeValid(g.get(&h), &h)
	return ok && e.canAnswer(g.complete.Load())
}

// Audit compares the entry that requests would get with a separate read, made with this ticket,
// after the stream has passed the time of that read. If they differ, no change explains it: the
// difference is counted, the entry is replaced, and true is returned. An Ambiguous read is not
// such a difference: it ends the entry, and counts as a duplicate.
func (c *Cache) Audit(t Ticket, h apikey.Hash, f Finding) bool {
	g := c.current.Load()
	e, record, ok := c.decodeValid(g.get(&h), &h)
	if !ok || !e.canAnswer(g.complete.Load()) {
		return false
	}
	read := c.entryOf(t, h, f)
	if !c.isValid(&read, &h) {
		// It changed during the read, so the comparison shows nothing.
		return false
	}
	if f.Ambiguous {
		c.storeAmbiguous(t, h)
		return false
	}
	value, _ := c.encode(t, h, f)
	if f.Found && isSameDocument(&e, record, value) {
		return false
	}
	c.counters.mismatch.Add(1)
	if !f.Found {
		// No entry of the hash may be valid in the generation any more. An entry of epoch 0 never
		// is.
		value = newMarker(Ticket{}, h, marker)
	}
	c.put(&h, value)
	return true
}
