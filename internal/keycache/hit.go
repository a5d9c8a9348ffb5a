package keycache

import (
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
)

// Answer is a believed Finding with the age of its truth.
type Answer struct {
	// Found and Record are those of the Finding.
	Found  bool
	Record *apikey.Record
	// AsOf is the time at which the answer was the truth at the latest, Now the
	// time at which it was given, Staleness what lies between.
	AsOf      time.Time
	Now       time.Time
	Staleness time.Duration
	// Revision is the cluster time up to which all changes are in the answer.
	// Zero: not known.
	Revision clustertime.Time
}

// Get answers from memory, or reports false: then the database must be asked.
func (c *Cache) Get(h apikey.Hash) (Answer, bool) {
	// Freshness is loaded before anything else. All changes up to it had been
	// stamped when it was stored, so the checks below see those stamps. Loaded
	// last, it could vouch for a change whose stamp came after the checks.
	fresh := c.fresh.Load()
	if e, value, ok := c.believed(c.found, &h); ok {
		// now is loaded last: the age given is never too small.
		if a, ok := c.answer(fresh, e.deadline); ok {
			a.Found, a.Record = true, decodeRecord(value)
			return a, true
		}
		return Answer{}, false
	}
	if e, _, ok := c.believed(c.negatives, &h); ok {
		return c.answer(fresh, e.deadline)
	}
	return Answer{}, false
}

// Vouch answers with what a read has just found, as Get would if it were
// stored: so a caller that joined a read late never gets what is older than its
// own arrival. False: read once more, alone.
func (c *Cache) Vouch(t Ticket, h apikey.Hash, f Finding) (Answer, bool) {
	fresh := c.fresh.Load()
	e := entry{epoch: t.epoch, seq: t.seq, hash: h, found: f.Found}
	if f.Found {
		e.idSlot = c.byID.ofID(f.ID)
	}
	if !c.holds(&e, &h) {
		return Answer{}, false
	}
	a, ok := c.answer(fresh, noDeadline)
	a.Found, a.Record = f.Found, f.Record
	return a, ok
}

// believed loads an entry and checks it against the stamps.
func (c *Cache) believed(store *byteStore, h *apikey.Hash) (entry, []byte, bool) {
	value, ok := store.get(h)
	if !ok {
		return entry{}, nil, false
	}
	e, record, ok := decodeEntry(value)
	if !ok || !c.holds(&e, h) {
		return entry{}, nil, false
	}
	return e, record, true
}

// holds compares an entry with the stream's state. The loads here come after
// the entry's own, and before now.
func (c *Cache) holds(e *entry, h *apikey.Hash) bool {
	// The byte store finds by 64 bits; another key's entry is a miss.
	if e.hash != *h {
		return false
	}
	if odd(e.epoch) || e.epoch != c.epoch.Load() {
		return false
	}
	// A delete shows only the document, a document that appears shows its
	// hash: both stamps are needed.
	if e.found && c.byID.load(e.idSlot) > e.seq {
		return false
	}
	return c.byHash.load(c.byHash.ofHash(h)) <= e.seq
}

// answer is the gate that every hit passes: young enough, and not past its own
// deadline.
func (c *Cache) answer(fresh *Freshness, deadline time.Duration) (Answer, bool) {
	now := c.config.Now()
	if deadline != noDeadline && now.Sub(c.origin) >= deadline {
		return Answer{}, false
	}
	return c.Age(fresh, now)
}
