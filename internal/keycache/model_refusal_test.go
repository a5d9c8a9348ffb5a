package keycache_test

import "testing"

// Refusals from events in the models: refusal.go.

// refusing are the writes of these searches: those that only a document's event shows, those that
// move the hash, and those that say that a document is off.
var refusing = []write{update, vanish, appear, handOver, refuse, enable, refuseOther}

// refusalModels are searches of two of the models, with refusals.
func refusalModels() []model {
	return []model{{
		name:   "fine with refusals",
		search: func(t *testing.T, r *rules) outcome { return search(t, fineModel(r)) },
		bounds: []bounds{
			{name: "one write, a loss", writes: 1, kinds: refusing, losses: 1, refusals: true},
			{name: "two writes", writes: 2, kinds: []write{vanish, refuse, refuseOther}, refusals: true},
			{name: "two writes of all kinds", full: true, writes: 2, kinds: refusing, refusals: true},
			{name: "two writes, one slot", full: true, writes: 2, kinds: refusing, refusals: true, oneSlot: true},
		},
		tries: []bounds{
			{writes: 2, kinds: []write{refuse, enable}, refusals: true},
			{writes: 2, kinds: []write{update, refuse}, refusals: true},
			{writes: 2, kinds: []write{appear, refuseOther}, refusals: true},
		},
		answers: []kindOfAnswer{answerHit, answerRefusal},
		guards:  []guard{refusalLast, refusalAlone, refusalSettled, freshFirstInRefusal},
	}, {
		name:   "coarse with refusals",
		search: func(t *testing.T, r *rules) outcome { return search(t, coarseModel(r)) },
		bounds: []bounds{
			{name: "two writes, one slot", writes: 2, kinds: []write{vanish, handOver, refuse, refuseOther}, refusals: true, oneSlot: true},
			{name: "two writes", full: true, writes: 2, kinds: refusing, evictions: 1, refusals: true},
			{name: "two writes of all kinds, one slot", full: true, writes: 2, kinds: refusing, refusals: true, oneSlot: true},
			{name: "two writes, a loss", full: true, writes: 2, kinds: []write{vanish, appear, refuse, refuseOther}, losses: 1, refusals: true},
			{name: "two writes, a rollback", full: true, writes: 2, kinds: []write{vanish, appear, refuse, refuseOther}, rollbacks: 1, refusals: true},
			{name: "three writes", full: true, writes: 3, kinds: []write{vanish, appear, refuse, refuseOther}, refusals: true},
		},
		tries: []bounds{
			{writes: 2, kinds: []write{update, refuse, enable}, refusals: true},
			{writes: 2, kinds: []write{appear, refuseOther}, refusals: true, oneSlot: true},
			{writes: 2, kinds: []write{vanish, refuseOther}, losses: 1, refusals: true},
		},
		answers: []kindOfAnswer{answerHit, answerRefusal},
		guards:  []guard{refusalLast, refusalAlone, refusalSettled, refusalOwner, refusalEpoch},
	}}
}

// wrongRefusal is violation for the answer of a refusal to an entry with this value: it says that
// the key is off, and everything else as the entry does.
func (r *rules) wrongRefusal(w *world, value, fresh uint8, a arrival) string {
	entry := &r.history.nodes[value]
	for time := max(fresh, a.since); time <= w.com; time++ {
		if n := r.at(w, time); n.off && n.owner == entry.owner && n.rest == entry.rest {
			return ""
		}
	}
	return "the answer is that the key is off, which it was not, or the rest of the answer is too old"
}

// noted is an update that says that its document is off. Number 0: none.
type noted struct {
	seq, doc uint8
	// steps are the refusal alone, and together with those before it.
	steps [2]notedStep
}

type notedStep struct {
	is          bool
	prev, fresh uint8
}

// note follows noteRefusal in refusal.go.
func (r *rules) note(w *world, doc uint8) {
	last := w.refusal
	step := notedStep{true, w.byID[r.slot(doc)], w.fresh}
	w.refusal = noted{seq: w.seq, doc: doc, steps: [2]notedStep{step}}
	if last.seq != 0 && last.seq == step.prev && last.doc == doc {
		w.refusal.steps[1] = last.steps[0]
		if last.steps[1].is {
			w.refusal.steps[1] = last.steps[1]
		}
	}
}

// slot is a document's slot of byID.
func (r *rules) slot(doc uint8) uint8 {
	if r.oneSlot {
		return 0
	}
	return doc - docA
}

// readAt is the snapshot of an entry, if the model has refusals.
func (r *rules) readAt(time uint8) uint8 {
	if !r.refusals {
		return 0
	}
	return time
}

// refuses follows refusals.of and refusal.after in refusal.go: whether the refusal answers for an entry of doc and seq
// whose slot of byID has this stamp. An entry that was read before the time of a freshness has a
// snapshot that the freshness covers. That is all that the model knows of it.
func (r *rules) refuses(n noted, stamp, doc uint8, e stored) bool {
	if n.seq == 0 || n.seq != stamp && r.has(refusalLast) || n.doc != doc && r.has(refusalOwner) {
		return false
	}
	for _, step := range n.steps {
		if step.is && (step.prev <= e.seq || !r.has(refusalAlone)) && (e.read <= step.fresh || !r.has(refusalSettled)) {
			return true
		}
	}
	return false
}

// hitRefused follows getRefused in refusal.go: epoch, byID, the refusal, byHash. A miss goes on with
// the negatives.
func (r *rules) hitRefused(s *fine, out *steps[fine]) {
	to := *s
	c := &to.call
	e := s.call.entry
	next := func(ok bool, words string, arg uint8) {
		c.at++
		if !ok {
			to.call = caller{at: hitNegative, arrival: c.arrival, fresh: c.fresh}
			words += ", a miss"
		}
		out.add(to, words, arg)
	}
	switch s.call.at {
	case hitRefused:
		next(r.current(e, &s.world) || !r.has(refusalEpoch), "hit: epoch is %d", s.epoch)
	case hitRefusedEpoch:
		doc := r.history.nodes[e.value].owner
		c.stamp = s.byID[r.slot(doc)]
		next(true, "hit: byID is %d", c.stamp)
	case hitRefusedID:
		doc := r.history.nodes[e.value].owner
		c.stamp = 0
		next(r.refuses(s.refusal, s.call.stamp, doc, e), "hit: number %d refuses the key", s.refusal.seq)
	case hitRefusedNoted:
		fresh := s.call.fresh
		if !r.has(freshFirstInRefusal) {
			fresh = s.fresh
		}
		if !r.hashIsValid(e, &s.world) {
			next(false, "hit: byHash is higher than %d", e.seq)
			return
		}
		to.call = caller{}
		out.answer(answerRefusal, to, r.wrongRefusal(&s.world, e.value, fresh, s.call.arrival),
			"hit: byHash is no higher; answers that the key is off, reported as of %d", fresh)
	}
}

// coarseRefused does what getRefused does.
func (r *rules) coarseRefused(e stored, s *coarse) bool {
	if !r.refusals || e.epoch == 0 || e.epoch == neverValidEpoch || !r.hashIsValid(e, &s.world) {
		return false
	}
	doc := r.history.nodes[e.value].owner
	return (r.current(e, &s.world) || !r.has(refusalEpoch)) && r.refuses(s.refusal, s.byID[r.slot(doc)], doc, e)
}

// neverRefused reports whether no refusal will ever make an answer of an entry that is not valid. If
// a guard is left out, one may.
func (r *rules) neverRefused(e stored, s *coarse) bool {
	if !r.refusals {
		return true
	}
	all := r.has(refusalLast) && r.has(refusalAlone) && r.has(refusalSettled) && r.has(refusalOwner) && r.has(refusalEpoch)
	return all && !r.coarseRefused(e, s)
}
