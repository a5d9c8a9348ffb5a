package keycache

import (
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/guard"
)

// Answer is a valid Finding with its staleness.
type Answer struct {
	// Found, ID and Record are those of the Finding. ID and the Record's strings may be views of
	// one block of memory: clone ID before you keep it for long.
	Found  bool
	ID     apikey.DocID
	Record *apikey.Record
	// AsOf: every change acknowledged before this time is in the answer. Now is the time of the
	// answer, Staleness the time from AsOf to Now.
	AsOf      time.Time
	Now       time.Time
	Staleness time.Duration
	// Revision is the cluster time up to which all changes are in the answer. Zero: unknown.
	Revision clustertime.Time
}

// Get answers from memory. False: the database must be read.
func (c *Cache) Get(h apikey.Hash) (a Answer, ok bool) {
	// The freshness is loaded before anything else. All changes that it covers had been stamped
	// when it was stored, so the checks below see those stamps. Loaded last, it could cover a
	// change whose stamp came after the checks.
	fresh := c.fresh.Load()
	// The era is loaded before the generation and the lookup: see front.end.
	era := c.front.era.Load()
	g := c.current.Load()
	// The completeness is loaded before the lookup: see isAbsent.
	complete := g.complete.Load()
	if c.getFront(fresh, g, complete, &h, &a) {
		return a, true
	}
	found := c.lookUp(g, complete, &h)
	if found.present {
		g.base.Load().asked(&h)
	}
	if found.valid {
		// answerNow reads the clock last: the reported age is never too small.
		if !c.answerNow(fresh, &a) || c.hasExpired(&found.entry, g, complete, a.Now) {
			return Answer{}, false
		}
		f := decodeFound(&found.entry, found.body)
		a.Found, a.ID, a.Record = true, f.id, &f.record
		c.front.put(f, era, ownBytes+len(found.body))
		return a, true
	}
	if !found.present && c.isAbsent(g, complete, &h) {
		ok = c.answerNow(fresh, &a)
		return a, ok
	}
	// An entry that is present but not valid is a miss, never an absence.
	if found.present {
		if a, ok := c.getRefused(fresh, g, complete, &h); ok {
			return a, true
		}
	}
	return c.getNegative(fresh, g, &h)
}

func (c *Cache) getNegative(fresh *Freshness, g *generation, h *apikey.Hash) (Answer, bool) {
	e, _, ok := c.decodeValid(g, c.negatives.get(h), h)
	if !ok || e.kind != negative {
		return Answer{}, false
	}
	var a Answer
	if !c.answerNow(fresh, &a) || c.hasExpired(&e, nil, nil, a.Now) {
		return Answer{}, false
	}
	return a, true
}

// Revalidate answers with the result of a read, as Get would if it had been stored. So a caller
// that joined a read late never gets an answer from before its own arrival. False: read once more,
// alone.
func (c *Cache) Revalidate(t Ticket, h apikey.Hash, f Finding) (Answer, bool) {
	fresh := c.fresh.Load()
	g := c.current.Load()
	e := g.entryOf(t, h, f)
	if guard.Revalidate && !c.isValid(g, &e) {
		return Answer{}, false
	}
	// The Finding does not name all documents; a change of one of the others may be a refusal.
	if guard.AmbiguousRevalidate && f.Ambiguous && c.seq.Load() != t.seq {
		return Answer{}, false
	}
	var a Answer
	ok := c.answerNow(fresh, &a)
	a.Found, a.ID, a.Record = f.Found, f.ID, f.Record
	return a, ok
}

// decodeValid decodes a stored value and checks it against the stamps. False: it is not valid.
func (c *Cache) decodeValid(g *generation, value []byte, h *apikey.Hash) (entry, []byte, bool) {
	// The byte store looks up by 64 bits only; an entry of another key is a miss.
	e, body, ok := g.decodeEntry(value, h)
	if !ok || !c.isValid(g, &e) {
		return entry{}, nil, false
	}
	return e, body, true
}

// isValid compares an entry with the stream's state. Its loads come after the load of the entry and
// of the generation, and before the clock is read.
func (c *Cache) isValid(g *generation, e *entry) bool {
	if !c.isOfEpoch(e) {
		return false
	}
	// A delete shows only the document, and a document that appears shows its hash: both stamps
	// are needed.
	if guard.ByID && e.hasRecord() && g.slots.lastOfID(e.idSum) > e.seq {
		return false
	}
	return c.isOfHash(g, e)
}

// isOfEpoch reports whether an entry was read since the stream was opened.
func (c *Cache) isOfEpoch(e *entry) bool {
	return (!guard.EvenEpoch || !isOdd(e.epoch)) && (!guard.SameEpoch || e.epoch == c.epoch.Load())
}

// isOfHash reports whether no document has appeared with the entry's hash since it was read.
func (c *Cache) isOfHash(g *generation, e *entry) bool {
	return !guard.ByHash || g.slots.lastOfHash(&e.hash) <= e.seq
}

// hasExpired reports whether an entry has reached its deadline. There is no deadline once a scan of
// this epoch has completed the generation or the one before it, whether the cache is still complete or not. Otherwise
// one eviction would make a miss of every entry that is older than MaxAge.
func (c *Cache) hasExpired(e *entry, g *generation, complete *completeness, now time.Time) bool {
	if now.Sub(c.origin) < e.deadline {
		return false
	}
	if !guard.CoveredStays {
		return g == nil || !c.isComplete(g)
	}
	return !g.covers(complete, e)
}

// answerNow makes the answer, but for its Finding, if fresh is young enough. It writes to a, because
// copies of an Answer are a sixth of the time of a hit.
func (c *Cache) answerNow(fresh *Freshness, a *Answer) bool {
	return c.answerAsOf(fresh, c.config.Now(), a)
}
