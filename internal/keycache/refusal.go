package keycache

import (
	"sync/atomic"
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/guard"
)

// refusalPlaces is the size of the table of refusals, a power of two: as many as refreshes may wait.
// A refusal is needed until the refresh of its document has been stored. While 16,384 wait for that,
// nine of ten have kept their place, and of 50,000 two thirds; each of the others costs a read. The
// table takes 0.5 MiB, and some 10 MiB when it is full (BenchmarkRefusals).
const refusalPlaces = 1 << 16

// refusal is an update that says by itself that the key of its document is refused. While it is the
// last change in its slot of byID, an entry that only its stamp has invalidated is the document as it
// was, except for what the update says.
type refusal struct {
	// seq is the number of the change.
	seq uint64
	id  apikey.DocID
	// steps are two ways from an entry to the document after the change: over the change alone, and
	// over the refusals of the document just before it, too. The second may be zero, and says nothing.
	steps [2]refusalStep
}

// refusalStep leads from an entry that was read before it to the document after it.
type refusalStep struct {
	// prev is the number of the last change in the slot before the step.
	prev uint64
	// settled: what was read before it, as a distance from the cache's origin, contains only changes
	// that had been applied when the step began.
	settled time.Duration
	says    apikey.Refusal
}

// refusals is a fixed table. A refusal that takes the place of another costs the other's key a read,
// never a wrong answer.
type refusals struct {
	// places are a power of two.
	places []atomic.Pointer[refusal]
	// answered counts the answers.
	answered atomic.Uint64
}

func (r *refusals) make(places int) { r.places = make([]atomic.Pointer[refusal], places) }

// place is the place of a slot of byID.
func (r *refusals) place(slot uint64) *atomic.Pointer[refusal] {
	return &r.places[slot&uint64(len(r.places)-1)]
}

// noteRefusal keeps a change that refuses its key. The change has not stamped the document's slot
// yet, so whoever sees the stamp finds the refusal.
func (c *Cache) noteRefusal(change *Change, seq uint64) {
	says, fresh := change.Refusal, c.fresh.Load()
	if says == (apikey.Refusal{}) || fresh == nil || guard.RefusalDue && !says.Refuses(c.config.Now()) {
		return
	}
	if uint64(change.Time) < c.floor.Load() {
		// A later change has been applied already, so this one is delivered a second time.
		return
	}
	// This change is not applied yet, so the freshness does not cover it.
	g := c.current.Load()
	sum := g.slots.sumOfID(change.ID)
	step := refusalStep{prev: g.slots.lastOfID(sum), settled: fresh.AsOf.Sub(c.origin), says: says}
	noted := refusal{seq: seq, id: change.ID, steps: [2]refusalStep{step}}
	place := c.refusals.place(g.slots.slotOfID(sum))
	if last := place.Load(); last != nil && last.seq == step.prev && last.id == noted.id {
		noted.steps[1] = last.first()
		noted.steps[1].says = noted.steps[1].says.Then(says)
	}
	place.Store(&noted)
}

// first is the longest of the steps.
func (r *refusal) first() refusalStep {
	if r.steps[1] != (refusalStep{}) {
		return r.steps[1]
	}
	return r.steps[0]
}

// getRefused answers with an entry that is valid but for its document's stamp, if the change with this
// stamp refuses the key and does nothing else (DESIGN.md, "A refusal from the event"). False: the
// database must be read. Its loads have the order of those of Get, which come before it.
func (c *Cache) getRefused(fresh *Freshness, g *generation, complete *completeness, h *apikey.Hash) (Answer, bool) {
	key := storeKey(h)
	value := c.overlay.find(key)
	if a, ok := c.refuse(fresh, g, complete, h, value); ok {
		return a, true
	}
	value = g.find(key)
	if g.ended.Load().has(h) {
		return Answer{}, false
	}
	return c.refuse(fresh, g, complete, h, value)
}

// refuse is getRefused with one stored value of the hash.
func (c *Cache) refuse(fresh *Freshness, g *generation, complete *completeness, h *apikey.Hash, value []byte) (Answer, bool) {
	e, body, ok := g.decodeEntry(value, h)
	if !ok || !e.canAnswer(complete) || !c.isOfEpoch(&e) {
		return Answer{}, false
	}
	stamp := g.slots.lastOfID(e.idSum)
	last := c.refusals.of(g.slots.slotOfID(e.idSum), stamp, ownerOf(body))
	if last == nil || !c.isOfHash(g, &e) {
		return Answer{}, false
	}
	says, ok := last.after(&e, c.readBefore(&e, complete))
	if !ok {
		return Answer{}, false
	}
	var a Answer
	if !c.answerNow(fresh, &a) || c.hasExpired(&e, g, complete, a.Now) {
		return Answer{}, false
	}
	f := decodeFound(&e, body)
	a.Found, a.ID, a.Record = true, f.id, &f.record
	says.ApplyTo(a.Record)
	// The update may have repaired a defect.
	if a.Record.Defect != "" || guard.RefusalDue && !says.Refuses(a.Now) {
		return Answer{}, false
	}
	c.refusals.answered.Add(1)
	return a, true
}

// of returns the refusal of document id, if it is the change that has stamped the document's slot, or
// nil. It is loaded after the stamp.
func (r *refusals) of(slot, stamp uint64, id apikey.DocID) *refusal {
	last := r.place(slot).Load()
	if last == nil || guard.RefusalLast && last.seq != stamp || guard.RefusalOwner && last.id != id {
		return nil
	}
	return last
}

// after returns what has been said since an entry that was read before this time. False: the entry may
// contain less than the document before the refusal, or more.
func (r *refusal) after(e *entry, read time.Duration) (apikey.Refusal, bool) {
	for _, step := range r.steps {
		// Less: another change lies between, such as one that moved the hash away.
		alone := !guard.RefusalAlone || step.prev <= e.seq
		// More: the read was ahead of the stream.
		settled := !guard.RefusalSettled || read < step.settled
		if alone && settled && step.says != (apikey.Refusal{}) {
			return step.says, true
		}
	}
	return apikey.Refusal{}, false
}

// readBefore is a time by which the read of an entry had ended, as a distance from the cache's origin.
// For an entry of a scan it is known once a scan has succeeded.
func (c *Cache) readBefore(e *entry, complete *completeness) time.Duration {
	switch {
	case e.scan == 0:
		return e.deadline - lifetime(c.config.MaxAge, &e.hash)
	case complete.covers(e) && e.scan <= complete.scan:
		return complete.finished
	default:
		return forever
	}
}
