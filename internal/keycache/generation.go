package keycache

import (
	"sync/atomic"
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/guard"
)

// generation is a base of entries, what is known of its completeness, and the slot tables by which
// entries are valid while it is in use. Epoch, floor and freshness belong to the Cache.
//
// A generation is of one of two kinds, and never becomes one of the first kind again:
//
//   - A scan fills the base. Only the scan writes to it, and when the scan has published the
//     completeness, nobody does: so nothing is evicted from it. What is stored meanwhile and
//     afterwards goes to the overlay.
//   - The base is open: fills and changes store there, and old entries are evicted when it is full.
//     It is never complete. This is a cache that is filled on demand.
type generation struct {
	// base is replaced once, before the first entry, by a store of the right size.
	base atomic.Pointer[byteStore]
	// slots are immutable, their contents are not.
	slots *slots
	// scan and ticket are those of the scan that fills the base. They are written before its first
	// entry, and read by who has found one.
	scan   uint64
	ticket Ticket
	// open: the base is open. opened is when the scan that was to fill it has failed, as a distance
	// from the cache's origin; maxAge is that of the cache.
	open   atomic.Bool
	opened atomic.Int64
	maxAge time.Duration
	// documents is about how many documents its scan expected, 0 if that is unknown. Not all of them need
	// have a hash.
	documents int64
	// covered is the epoch in which a scan had completed the generation before this one. Entries of
	// the overlay that it has covered have no deadline here either.
	covered uint64
	// complete is the completeness that the last successful scan published, nil before the first.
	// It stays when the completeness has ended.
	complete atomic.Pointer[completeness]
	// filled is the ticket's seq, for the tail. changed counts the slots of documents that have been
	// stamped since, shown those of hashes since the scan that published the completeness. For
	// unknown hashes in the latter an absence costs a read.
	filled         atomic.Uint64
	changed, shown atomic.Int64
	// ended are the hashes whose entries in the base do not count any more. Nil: none.
	ended atomic.Pointer[endedSet]
}

// completeness means: for every document that a majority read could see at the ticket's floor, the
// base has an entry of its hash, or beside lists the hash. From then on a hash of which neither is
// true is not in the database, unless a change has shown it since.
type completeness struct {
	// scan is the number of the scan that published it.
	scan   uint64
	ticket Ticket
	// finished is when the scan had read everything, as a distance from the cache's origin.
	finished time.Duration
	// beside are hashes, by their keys in the byte store, that the scan has seen and the base does
	// not hold. Nil: none.
	beside map[uint64]struct{}
	// unreadable is how many events had not shown all of their hashes. One more, and no hash is
	// certainly absent.
	unreadable uint64
}

// epoch is that of the scan, or 0 without a completeness.
func (c *completeness) epoch() uint64 {
	if c == nil {
		return 0
	}
	return c.ticket.epoch
}

// covers reports whether the scan belongs to the entry's epoch.
func (c *completeness) covers(e *entry) bool {
	return c != nil && c.ticket.epoch == e.epoch
}

// seq is the number of the last change before the scan. Without a completeness it is 0.
func (c *completeness) seq() uint64 {
	if c == nil {
		return 0
	}
	return c.ticket.seq
}

func newGeneration(base *byteStore, tables *slots, maxAge time.Duration) *generation {
	g := &generation{slots: tables, maxAge: maxAge}
	g.base.Store(base)
	return g
}

func (g *generation) get(h *apikey.Hash) []byte { return g.base.Load().get(h) }

// covers reports whether a scan of the entry's epoch has completed this generation, or the one before
// it. complete is what was loaded of this one.
func (g *generation) covers(complete *completeness, e *entry) bool {
	return complete.covers(e) || (g != nil && g.covered == e.epoch)
}

func (g *generation) find(key string) []byte { return g.base.Load().find(key) }

// openAt makes the base an open one, and reports whether it was not. A generation that is complete stays
// as it is, and one that is open keeps its deadlines.
func (g *generation) openAt(now time.Duration) bool {
	if g.complete.Load() != nil || g.open.Load() {
		return false
	}
	g.opened.Store(int64(now))
	g.open.Store(true)
	return true
}

// deadline is that of the base's entries: as long as the scan that stores them runs, or once it has
// succeeded, they have none. If it fails, they live for up to maxAge from then on.
func (g *generation) deadline(h *apikey.Hash) time.Duration {
	if !g.open.Load() {
		return forever
	}
	return time.Duration(g.opened.Load()) + lifetime(g.maxAge, h)
}

// forever is longer than any process runs.
const forever = lifeWindow

// isAbsent reports whether a hash that neither the base nor the overlay held is therefore known to be
// absent. complete must have been loaded before the lookup in the base: a scan that ended in between
// may have put the hash there. Nothing is evicted from a base that is complete, so what it does not
// hold it never held. What was evicted from the overlay is newer than the scan, and its stamp shows
// it.
func (c *Cache) isAbsent(g *generation, complete *completeness, h *apikey.Hash) bool {
	if complete == nil || (guard.AbsentEpoch && complete.ticket.epoch != c.epoch.Load()) {
		return false
	}
	// A document that appeared after the scan showed its hash in its event.
	if guard.AbsentByHash && g.slots.lastOfHash(h) > complete.ticket.seq {
		return false
	}
	if len(complete.beside) > 0 && guard.AbsentBeside {
		if _, ok := complete.beside[storeSum(h)]; ok {
			return false
		}
	}
	return !guard.AbsentUnread || complete.unreadable == c.unreadable.Load()
}

// isComplete reports whether the generation is complete now.
func (c *Cache) isComplete(g *generation) bool {
	return c.isFilled(g) && g.complete.Load().unreadable == c.unreadable.Load()
}
