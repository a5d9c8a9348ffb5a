package keycache_test

// The caller in the model of the complete cache.

// scanCaller is a caller of the cache; there are no reads here.
type scanCaller struct {
	at uint8
	arrival
	fresh, generation uint8
	entry             stored
	complete          completeState
	// old: the entry is past its deadline. inOverlay: it is the overlay's. present: the
	// base has one, which is not valid.
	old, inOverlay, present bool
}

const (
	lookupIdle uint8 = iota
	lookupBegun
	lookupGeneration
	lookupComplete
	lookupEntry
	lookupEntryEpoch
	lookupEntryID
	lookupOverlay
	lookupAbsent
	lookupAbsentComplete
	lookupAbsentEpoch
	lookupLast
)

// lookupSteps follow Get in get.go: freshAsOf, the generation, its completeness, the
// base's entry and, if that is not valid, the overlay's. With an entry: epoch, byID,
// byHash. Without: epoch, byHash.
func (r *rules) lookupSteps(s *scanned, out *steps[scanned]) {
	to := *s
	c := &to.call
	switch c.at {
	case lookupIdle:
		c.at, c.arrival = lookupBegun, arrival{s.done, s.notified}
		if r.has(freshFirst) {
			c.fresh = s.fresh
		}
		out.add(to, "hit: a caller arrives, %d is processed; freshAsOf covers %d", c.since, c.fresh)
	case lookupBegun:
		c.at, c.generation = lookupGeneration, s.current
		out.add(to, "hit: loads generation %d", c.generation)
	case lookupGeneration:
		c.at = lookupComplete
		if !r.has(completeBeforeGet) {
			r.lookupLoads(s, out)
			return
		}
		c.complete = s.generations[c.generation].complete
		out.add(to, "hit: loads completeness, epoch %d, seq %d", c.complete.epoch, c.complete.seq)
	case lookupComplete:
		r.lookupLoads(s, out)
	case lookupEntry, lookupEntryEpoch, lookupEntryID:
		r.lookupEntry(s, out)
	case lookupOverlay:
		r.lookupOverlay(s, out)
	case lookupAbsent, lookupAbsentComplete, lookupAbsentEpoch:
		r.lookupAbsent(s, out)
	case lookupLast:
		r.lookupAnswers(s, s.fresh, out)
	}
}

func (r *rules) lookupLoads(s *scanned, out *steps[scanned]) {
	to := *s
	c := &to.call
	c.entry, c.old = s.generations[c.generation].entry, s.generations[c.generation].old
	if c.entry.epoch == 0 {
		c.at = lookupOverlay
		out.add(to, "hit: the base has no entry")
		return
	}
	c.at, c.present = lookupEntry, true
	out.add(to, "hit: loads the base's entry of epoch %d and seq %d", c.entry.epoch, c.entry.seq)
}

func (r *rules) lookupOverlay(s *scanned, out *steps[scanned]) {
	to := *s
	c := &to.call
	c.inOverlay, c.entry, c.old = true, s.overlay, s.overlayOld
	switch {
	case c.entry.epoch != 0:
		c.at = lookupEntry
		out.add(to, "hit: loads the overlay's entry of epoch %d and seq %d", c.entry.epoch, c.entry.seq)
	case c.present:
		r.lookupOrMiss(&to, false, out, "hit: the overlay has no entry")
	case r.has(completeBeforeGet):
		c.at = lookupAbsentComplete
		r.lookupOrMiss(&to, c.complete.epoch != 0, out, "hit: the overlay has no entry")
	default:
		c.at = lookupAbsent
		out.add(to, "hit: the overlay has no entry")
	}
}

// lookupOrMiss goes on, or ends in a miss.
func (r *rules) lookupOrMiss(to *scanned, ok bool, out *steps[scanned], words string, args ...uint8) {
	if !ok {
		to.call = scanCaller{}
		out.add(*to, words+": a miss", args...)
		return
	}
	out.add(*to, words, args...)
}

// lookupOrOverlay goes on, or to the overlay if the entry is the base's.
func (r *rules) lookupOrOverlay(to *scanned, ok bool, out *steps[scanned], words string, args ...uint8) {
	if !ok && !to.call.inOverlay {
		to.call.at, to.call.entry, to.call.old = lookupOverlay, stored{}, false
		out.add(*to, words+": it is not valid", args...)
		return
	}
	r.lookupOrMiss(to, ok, out, words, args...)
}

func (r *rules) lookupEntry(s *scanned, out *steps[scanned]) {
	to := *s
	c := &to.call
	c.at++
	e := s.call.entry
	w := &s.world
	switch s.call.at {
	case lookupEntry:
		r.lookupOrOverlay(&to, r.current(e, w), out, "hit: epoch is %d", w.epoch)
	case lookupEntryEpoch:
		at := s.lastOfID(c.generation, r.history.nodes[e.value].owner-docA)
		r.lookupOrOverlay(&to, at <= e.seq || !r.has(byIDChecked), out, "hit: byID is %d", at)
	case lookupEntryID:
		at := s.lastOfHash(c.generation)
		if at > e.seq && r.has(byHashChecked) {
			r.lookupOrOverlay(&to, false, out, "hit: byHash is %d", at)
			return
		}
		// The deadline is checked with the answer: now is loaded last.
		young := !s.call.old || r.noDeadline(&s.generations[c.generation], s.call.complete.epoch, e.epoch)
		r.lookupLast(s, young, out, "hit: byHash is %d", at)
	}
}

func (r *rules) lookupAbsent(s *scanned, out *steps[scanned]) {
	to := *s
	c := &to.call
	c.at++
	switch s.call.at {
	case lookupAbsent:
		c.complete = s.generations[c.generation].complete
		r.lookupOrMiss(&to, c.complete.epoch != 0, out, "hit: loads completeness, epoch %d, seq %d", c.complete.epoch, c.complete.seq)
	case lookupAbsentComplete:
		r.lookupOrMiss(&to, c.complete.epoch == s.epoch || !r.has(completeEpoch), out, "hit: epoch is %d", s.epoch)
	case lookupAbsentEpoch:
		at := s.lastOfHash(c.generation)
		ok := (at <= c.complete.seq || !r.has(completeByHash)) && !c.complete.beside
		r.lookupLast(s, ok, out, "hit: byHash is %d", at)
	}
}

// lookupLast is the last check, and the answer with it.
func (r *rules) lookupLast(s *scanned, ok bool, out *steps[scanned], words string, arg uint8) {
	to := *s
	if ok && r.has(freshFirst) {
		r.lookupAnswers(s, s.call.fresh, out)
		return
	}
	to.call.at = lookupLast
	r.lookupOrMiss(&to, ok, out, words, arg)
}

func (r *rules) lookupAnswers(s *scanned, fresh uint8, out *steps[scanned]) {
	to := *s
	to.call = scanCaller{}
	value := s.call.entry.value
	kind, words := answerHit, "hit: all checks pass; answers with the entry, reported as of %d"
	if value == absent {
		kind, words = answerAbsence, "hit: all checks pass; answers that there is no such key, reported as of %d"
	}
	out.answer(kind, to, r.violation(&s.world, value, fresh, s.call.arrival, s.com), words, fresh)
}
