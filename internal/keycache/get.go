package keycache

import (
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/guard"
)

// Answer is a believed Finding with the age of its truth.
type Answer struct {
	// Found, ID and Record are those of the Finding. ID and the Record's strings may
	// be views of one block of memory: who keeps ID for long clones it.
	Found  bool
	ID     apikey.DocID
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
	g := c.current.Load()
	// The completeness is loaded before the generation is asked, and its
	// evictions after: see absent.
	complete := g.complete.Load()
	value := g.get(&h)
	if value == nil {
		if c.isAbsent(g, complete, &h) {
			return c.answerNow(fresh)
		}
		return c.getNegative(fresh, &h)
	}
	if e, body, ok := c.decodeValid(value, &h); ok && e.canAnswer(complete) {
		// now is loaded last, in answer: the age given is never too small.
		a, ok := c.answerNow(fresh)
		if !ok || c.expired(&e, g, complete, a.Now) {
			return Answer{}, false
		}
		a.Found = true
		a.ID, a.Record = decodeFound(body)
		return a, true
	}
	// Held but not believed is a miss, never an absence.
	return c.getNegative(fresh, &h)
}

func (c *Cache) getNegative(fresh *Freshness, h *apikey.Hash) (Answer, bool) {
	e, _, ok := c.decodeValid(c.negatives.get(h), h)
	if !ok || e.kind != negative {
		return Answer{}, false
	}
	a, ok := c.answerNow(fresh)
	if !ok || c.expired(&e, nil, nil, a.Now) {
		return Answer{}, false
	}
	return a, true
}

// Revalidate answers with what a read has just found, as Get would if it were
// stored: so a caller that joined a read late never gets what is older than its
// own arrival. False: read once more, alone.
func (c *Cache) Revalidate(t Ticket, h apikey.Hash, f Finding) (Answer, bool) {
	fresh := c.fresh.Load()
	e := c.entryOf(t, h, f)
	if guard.Revalidate && !c.isValid(&e, &h) {
		return Answer{}, false
	}
	// A change of one of the documents that the Finding does not name may be a refusal.
	if guard.AmbiguousRevalidate && f.Ambiguous && c.seq.Load() != t.seq {
		return Answer{}, false
	}
	a, ok := c.answerNow(fresh)
	a.Found, a.ID, a.Record = f.Found, f.ID, f.Record
	return a, ok
}

// believed decodes a stored value and checks it against the stamps.
func (c *Cache) decodeValid(value []byte, h *apikey.Hash) (entry, []byte, bool) {
	e, body, ok := decodeEntry(value)
	if !ok || !c.isValid(&e, h) {
		return entry{}, nil, false
	}
	return e, body, true
}

// holds compares an entry with the stream's state. The loads here come after
// the entry's own, and before now.
func (c *Cache) isValid(e *entry, h *apikey.Hash) bool {
	// The byte store finds by 64 bits; another key's entry is a miss.
	if e.hash != *h {
		return false
	}
	if (guard.EvenEpoch && odd(e.epoch)) || (guard.SameEpoch && e.epoch != c.epoch.Load()) {
		return false
	}
	// A delete shows only the document, a document that appears shows its
	// hash: both stamps are needed.
	if guard.ByID && e.kind != negative && c.byID.load(e.idSlot) > e.seq {
		return false
	}
	return !guard.ByHash || c.byHash.load(c.byHash.ofHash(h)) <= e.seq
}

// past reports whether an entry has reached its deadline. There is none in a
// generation that a scan of this epoch has completed, complete still or not: with
// deadlines that were ignored until then, one eviction would make a miss of every
// entry that is older than MaxAge.
func (c *Cache) expired(e *entry, g *generation, complete *completeness, now time.Time) bool {
	if now.Sub(c.origin) < e.deadline {
		return false
	}
	if !guard.CoveredStays {
		return g == nil || !c.isComplete(g)
	}
	return !complete.covers(e)
}

// answer is the gate that every hit passes: young enough.
func (c *Cache) answerNow(fresh *Freshness) (Answer, bool) {
	return c.AnswerAsOf(fresh, c.config.Now())
}
