package keycache_test

// The caller in the model of the complete cache.

// lookupSteps follow Get in get.go: freshAsOf, the generation, its completeness,
// the entry. With an entry: epoch, byID, byHash. Without: epoch, byHash, the counter.
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
		if !r.has(comparedAfterGet) && c.complete.evictions != counter(s.generations[c.generation].evictions) {
			c.complete = completeState{}
		}
		out.add(to, "hit: loads completeness, epoch %d, seq %d, eviction counter %d", c.complete.epoch, c.complete.seq, c.complete.evictions)
	case lookupComplete:
		r.lookupLoads(s, out)
	case lookupPresent, lookupPresentEpoch, lookupPresentID:
		r.lookupPresent(s, out)
	case lookupAbsent, lookupAbsentComplete, lookupAbsentEpoch, lookupAbsentHash:
		r.lookupAbsent(s, out)
	case lookupLast:
		r.lookupAnswers(s, s.fresh, out)
	}
}

func (r *rules) lookupLoads(s *scanned, out *steps[scanned]) {
	to := *s
	c := &to.call
	c.entry, c.old = s.generations[c.generation].entry, s.generations[c.generation].old
	switch {
	case c.entry.epoch != 0:
		// Only the epoch of the completeness matters here, and only for a deadline.
		c.at, c.complete = lookupPresent, completeState{epoch: c.complete.epoch}
		if r.ticks == 0 {
			c.complete = completeState{}
		}
		out.add(to, "hit: loads the entry of epoch %d and seq %d", c.entry.epoch, c.entry.seq)
	case r.has(completeBeforeGet):
		c.at = lookupAbsentComplete
		r.lookupOrMiss(&to, c.complete.epoch != 0, out, "hit: there is no entry")
	default:
		c.at = lookupAbsent
		out.add(to, "hit: there is no entry")
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

func (r *rules) lookupPresent(s *scanned, out *steps[scanned]) {
	to := *s
	c := &to.call
	c.at++
	e := s.call.entry
	w := &s.world
	switch s.call.at {
	case lookupPresent:
		ok := e.epoch == w.epoch && (!r.parity() || !isOdd(e.epoch))
		r.lookupOrMiss(&to, ok, out, "hit: epoch is %d", w.epoch)
	case lookupPresentEpoch:
		at := w.byID[r.history.nodes[e.value].owner-docA]
		r.lookupOrMiss(&to, at <= e.seq || !r.has(byIDChecked), out, "hit: byID is %d", at)
	case lookupPresentID:
		// The deadline is checked with the answer: now is loaded last.
		young := !s.call.old || r.noDeadline(s, s.call.generation, s.call.complete.epoch, e.epoch)
		r.lookupLast(s, (w.byHash <= e.seq || !r.has(byHashChecked)) && young, out, "hit: byHash is %d", w.byHash)
	}
}

func (r *rules) lookupAbsent(s *scanned, out *steps[scanned]) {
	to := *s
	c := &to.call
	c.at++
	g := &s.generations[c.generation]
	switch s.call.at {
	case lookupAbsent:
		c.complete = g.complete
		r.lookupOrMiss(&to, c.complete.epoch != 0, out, "hit: loads completeness, epoch %d, seq %d", c.complete.epoch, c.complete.seq)
	case lookupAbsentComplete:
		r.lookupOrMiss(&to, c.complete.epoch == s.epoch || !r.has(completeEpoch), out, "hit: epoch is %d", s.epoch)
	case lookupAbsentEpoch:
		r.lookupOrMiss(&to, s.byHash <= c.complete.seq || !r.has(completeByHash), out, "hit: byHash is %d", s.byHash)
	case lookupAbsentHash:
		ok := counter(g.evictions) == c.complete.evictions || !r.has(evictionCounter) || !r.has(comparedAfterGet)
		r.lookupLast(s, ok, out, "hit: the eviction counter is %d", counter(g.evictions))
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
