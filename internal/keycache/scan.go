package keycache

import (
	"errors"

	"github.com/keytail/keytail/internal/apikey"
)

// Why a scan did not make the cache complete.
var (
	// ErrScanLost: the stream lost its history meanwhile. Scan again once it is
	// open.
	ErrScanLost = errors.New("the change stream lost its history during the scan")
	// ErrScanEvicted: entries were pushed out meanwhile. Scan aside, with a fresh
	// generation; if that fails too, the collection does not fit.
	ErrScanEvicted = errors.New("entries were pushed out of the cache during the scan")
	// ErrScanVoid: an event did not show all of its hashes. Scan again.
	ErrScanUnreadable = errors.New("a document with more hashes than are tracked appeared during the scan")
)

// ScanKind says where a scan puts what it sees.
type ScanKind uint8

const (
	// ScanAnew starts with an empty generation in use at once: for the first
	// scan of an epoch, when nothing that is held is believed anyway.
	ScanIntoEmpty ScanKind = iota
	// ScanInPlace goes over the generation in use: it audits what is held, puts
	// in what is missing, and moves the completeness forward.
	ScanInPlace
	// ScanAside fills a fresh generation, which takes the place of the one in use
	// when the scan ends: for one whose dead bytes push out live entries.
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
	// seen are the hashes that were seen, as the byte store finds them, and the sum of
	// the id of the first document of each.
	seen     map[uint64]uint64
	suspects []apikey.Hash
	// unique: see IndexIsUnique.
	unique bool
	// twice are the hashes that were seen in two documents, and the documents' slots.
	duplicated map[apikey.Hash][2]uint32
	duplicates int
}

// BeginScan takes the ticket of a scan. The read must start after it, not be
// older than the ticket's floor, and see every document once (sorted by _id).
// One scan at a time. ErrScanLost when the stream has no history.
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
	// Before the ticket: what is pushed out, or cannot be read, from here on
	// shows in Finish.
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

// Doomed reports whether Finish can only fail, so that there is no use in going
// on.
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

// Finish publishes the completeness, or says why there is none. In place it also
// adds to the suspects what is believed and was not seen, if it has seen all.
//
// It must not be called before the stream has passed the end of the scan's read:
// a cursor is not one snapshot, and a hash that moves, at one cluster time, from
// a document that it has not reached to one that it has passed is seen at
// neither. The event of such a move must have stamped the hash by now.
func (s *Scan) Finish() error {
	defer s.Abandon()
	c := s.cache
	if err := s.failure(); err != nil {
		// It may have been given up half way. What it has not reached is not suspect: a
		// read for each of those entries would hold up the scan that repairs this.
		return err
	}
	if s.kind == ScanInPlace {
		s.suspectUnseen()
	}
	s.countDuplicates()
	// A loss, an eviction or an unreadable hash from here on is seen by whoever
	// uses the completeness: it carries the epoch and the counters. It comes before
	// the swap: the entries of a scan that took longer than MaxAge are past their
	// deadlines, and there must be no moment at which they are in use and uncovered.
	s.into.complete.Store(&completeness{scan: s.number, ticket: s.ticket, evictions: s.evictions, unreadable: s.unreadable})
	if s.kind == ScanAside {
		c.current.Store(s.into)
	}
	c.stampedSinceScan.Store(c.byHash.countAfter(s.ticket.seq))
	return nil
}

// Abandon ends a scan that will not finish. Harmless after Finish.
func (s *Scan) Abandon() {
	if s.kind == ScanAside {
		s.cache.aside.CompareAndSwap(s.into, nil)
	}
}

// Suspects are the hashes whose entries differed from what was read, or were not
// seen: either may have changed meanwhile, so each is to be read once more and
// given to Audit.
func (s *Scan) Suspects() []apikey.Hash { return s.suspects }

// suspectUnseen goes over what is held: an entry that is believed although the
// scan did not see its document is one whose deletion may have been missed. It
// holds no lock for longer than one entry takes.
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

// Disputed reports whether there is still something to audit: an entry of the hash
// that is believed. Most suspects have been stamped by the time that it is their turn.
func (c *Cache) NeedsAudit(h apikey.Hash) bool {
	g := c.current.Load()
	e, _, ok := c.decodeValid(g.get(&h), &h)
	return ok && e.canAnswer(g.complete.Load())
}

// Audit compares the entry that would be served with a read of its own, made
// with this ticket, after the stream has passed the time of that read. A
// difference is one that no change explains: it is counted, the entry is
// replaced, and true is reported. A read that is Ambiguous is no difference: it ends
// the entry, and is counted for what it is.
func (c *Cache) Audit(t Ticket, h apikey.Hash, f Finding) bool {
	g := c.current.Load()
	e, record, ok := c.decodeValid(g.get(&h), &h)
	if !ok || !e.canAnswer(g.complete.Load()) {
		return false
	}
	read := c.entryOf(t, h, f)
	if !c.isValid(&read, &h) {
		// It changed while it was read: nothing can be said.
		return false
	}
	if f.Ambiguous {
		c.storeAmbiguous(t, h)
		return false
	}
	value, _ := c.encode(t, h, f)
	if f.Found && sameDocument(&e, record, value) {
		return false
	}
	c.counters.mismatch.Add(1)
	if !f.Found {
		// Nothing may be believed about it in the generation any more. An entry of
		// epoch 0 never is.
		value = newMarker(Ticket{}, h, marker)
	}
	c.put(&h, value)
	return true
}
