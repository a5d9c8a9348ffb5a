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
func (c *Cache) Get(h apikey.Hash) (Answer, bool) {
	// The freshness is loaded before anything else. All changes that it covers had been stamped
	// when it was stored, so the checks below see those stamps. Loaded last, it could cover a
	// change whose stamp came after the checks.
	fresh := c.fresh.Load()
	g := c.current.Load()
	// The completeness is loaded before the lookup, and its eviction counter after it: see
	// isAbsent.
	complete := g.complete.Load()
	value := g.get(&h)
	if value == nil {
		if c.isAbsent(g, complete, &h) {
			return c.answerNow(fresh)
		}
		return c.getNegative(fresh, &h)
	}
	if e, body, ok := c.decodeValid(value, &h); ok && e.canAnswer(complete) {
		// answerNow reads the clock last: the reported age is never too small.
		a, ok := c.answerNow(fresh)
		if !ok || c.hasExpired(&e, g, complete, a.Now) {
			return Answer{}, false
		}
		a.Found = true
		a.ID, a.Record = decodeFound(body)
		return a, true
	}
	// An entry that is present but not valid is a miss, never an absence.
	return c.getNegative(fresh, &h)
}

func (c *Cache) getNegative(fresh *Freshness, h *apikey.Hash) (Answer, bool) {
	e, _, ok := c.decodeValid(c.negatives.get(h), h)
	if !ok || e.kind != negative {
		return Answer{}, false
	}
	a, ok := c.answerNow(fresh)
	if !ok || c.hasExpired(&e, nil, nil, a.Now) {
		return Answer{}, false
	}
	return a, true
}

// Revalidate answers with the result of a read, as Get would if it had been stored. So a caller
// that joined a read late never gets an answer from before its own arrival. False: read once more,
// alone.
func (c *Cache) Revalidate(t Ticket, h apikey.Hash, f Finding) (Answer, bool) {
	fresh := c.fresh.Load()
	e := c.entryOf(t, h, f)
	if guard.Revalidate && !c.isValid(&e, &h) {
		return Answer{}, false
	}
	// The Finding does not name all documents; a change of one of the others may be a refusal.
	if guard.AmbiguousRevalidate && f.Ambiguous && c.seq.Load() != t.seq {
		return Answer{}, false
	}
	a, ok := c.answerNow(fresh)
	a.Found, a.ID, a.Record = f.Found, f.ID, f.Record
	return a, ok
}

// decodeValid decodes a stored value and checks it against the stamps. False: it is not valid.
func (c *Cache) decodeValid(value []byte, h *apikey.Hash) (entry, []byte, bool) {
	e, body, ok := decodeEntry(value)
	if !ok || !c.isValid(&e, h) {
		return entry{}, nil, false
	}
	return e, body, true
}

// isValid compares an entry with the stream's state. Its loads come after the load of the entry,
// and before the clock is read.
func (c *Cache) isValid(e *entry, h *apikey.Hash) bool {
	// The byte store looks up by 64 bits only; an entry of another key is a miss.
	if e.hash != *h {
		return false
	}
	if (guard.EvenEpoch && isOdd(e.epoch)) || (guard.SameEpoch && e.epoch != c.epoch.Load()) {
		return false
	}
	// A delete shows only the document, and a document that appears shows its hash: both stamps
	// are needed.
	if guard.ByID && e.kind != negative && c.byID.load(e.idSlot) > e.seq {
		return false
	}
	return !guard.ByHash || c.byHash.load(c.byHash.ofHash(h)) <= e.seq
}

// hasExpired reports whether an entry has reached its deadline. There is no deadline in a generation
// that a scan of this epoch has completed, whether the cache is still complete or not. Otherwise
// one eviction would make a miss of every entry that is older than MaxAge.
func (c *Cache) hasExpired(e *entry, g *generation, complete *completeness, now time.Time) bool {
	if now.Sub(c.origin) < e.deadline {
		return false
	}
	if !guard.CoveredStays {
		return g == nil || !c.isComplete(g)
	}
	return !complete.covers(e)
}

// answerNow makes the answer if fresh is young enough.
func (c *Cache) answerNow(fresh *Freshness) (Answer, bool) {
	return c.AnswerAsOf(fresh, c.config.Now())
}
