package keycache_test

// The caller of the complete cache's model.

// askSteps follow Get in hit.go: freshAsOf, the generation, its completeness,
// the entry; held: epoch, byID, byHash; not held: epoch, byHash, the counter.
func (r *rules) askSteps(s *scanned, out *steps[scanned]) {
	to := *s
	c := &to.call
	switch c.at {
	case askIdle:
		c.at, c.arrival = askBegun, arrival{s.done, s.told}
		if r.has(freshFirst) {
			c.fresh = s.fresh
		}
		out.add(to, "hit: a caller arrives, %d is processed; freshAsOf covers %d", c.since, c.fresh)
	case askBegun:
		c.at, c.generation = askGeneration, s.current
		out.add(to, "hit: loads generation %d", c.generation)
	case askGeneration:
		c.at = askComplete
		if !r.has(completeBeforeGet) {
			r.askGets(s, out)
			return
		}
		c.complete = s.generations[c.generation].complete
		if !r.has(comparedAfterGet) && c.complete.evictions != counter(s.generations[c.generation].evictions) {
			c.complete = completeState{}
		}
		out.add(to, "hit: loads completeness, epoch %d, seq %d, eviction counter %d", c.complete.epoch, c.complete.seq, c.complete.evictions)
	case askComplete:
		r.askGets(s, out)
	case askHeld, askHeldEpoch, askHeldID:
		r.askHeld(s, out)
	case askAbsent, askAbsentComplete, askAbsentEpoch, askAbsentHash:
		r.askAbsent(s, out)
	case askLast:
		r.askAnswers(s, s.fresh, out)
	}
}

func (r *rules) askGets(s *scanned, out *steps[scanned]) {
	to := *s
	c := &to.call
	c.entry, c.old = s.generations[c.generation].entry, s.generations[c.generation].old
	switch {
	case c.entry.epoch != 0:
		// Of the completeness only its epoch matters, and only to a deadline.
		c.at, c.complete = askHeld, completeState{epoch: c.complete.epoch}
		if r.ticks == 0 {
			c.complete = completeState{}
		}
		out.add(to, "hit: loads the entry of epoch %d and seq %d", c.entry.epoch, c.entry.seq)
	case r.has(completeBeforeGet):
		c.at = askAbsentComplete
		r.askOrMiss(&to, c.complete.epoch != 0, out, "hit: no entry is held")
	default:
		c.at = askAbsent
		out.add(to, "hit: no entry is held")
	}
}

// askOrMiss goes on, or ends in a miss.
func (r *rules) askOrMiss(to *scanned, ok bool, out *steps[scanned], words string, args ...uint8) {
	if !ok {
		to.call = scanCaller{}
		out.add(*to, words+": a miss", args...)
		return
	}
	out.add(*to, words, args...)
}

func (r *rules) askHeld(s *scanned, out *steps[scanned]) {
	to := *s
	c := &to.call
	c.at++
	e := s.call.entry
	w := &s.world
	switch s.call.at {
	case askHeld:
		ok := e.epoch == w.epoch && (!r.parity() || !odd(e.epoch))
		r.askOrMiss(&to, ok, out, "hit: epoch is %d", w.epoch)
	case askHeldEpoch:
		at := w.byID[r.history.nodes[e.value].holder-docA]
		r.askOrMiss(&to, at <= e.seq || !r.has(byIDChecked), out, "hit: byID is %d", at)
	case askHeldID:
		// The deadline is looked at with the answer: now is loaded last.
		young := !s.call.old || r.noDeadline(s, s.call.generation, s.call.complete.epoch, e.epoch)
		r.askLast(s, (w.byHash <= e.seq || !r.has(byHashChecked)) && young, out, "hit: byHash is %d", w.byHash)
	}
}

func (r *rules) askAbsent(s *scanned, out *steps[scanned]) {
	to := *s
	c := &to.call
	c.at++
	g := &s.generations[c.generation]
	switch s.call.at {
	case askAbsent:
		c.complete = g.complete
		r.askOrMiss(&to, c.complete.epoch != 0, out, "hit: loads completeness, epoch %d, seq %d", c.complete.epoch, c.complete.seq)
	case askAbsentComplete:
		r.askOrMiss(&to, c.complete.epoch == s.epoch || !r.has(completeEpoch), out, "hit: epoch is %d", s.epoch)
	case askAbsentEpoch:
		r.askOrMiss(&to, s.byHash <= c.complete.seq || !r.has(completeByHash), out, "hit: byHash is %d", s.byHash)
	case askAbsentHash:
		ok := counter(g.evictions) == c.complete.evictions || !r.has(evictionCounter) || !r.has(comparedAfterGet)
		r.askLast(s, ok, out, "hit: the eviction counter is %d", counter(g.evictions))
	}
}

// askLast is the last check, and the answer with it.
func (r *rules) askLast(s *scanned, ok bool, out *steps[scanned], words string, arg uint8) {
	to := *s
	if ok && r.has(freshFirst) {
		r.askAnswers(s, s.call.fresh, out)
		return
	}
	to.call.at = askLast
	r.askOrMiss(&to, ok, out, words, arg)
}

func (r *rules) askAnswers(s *scanned, fresh uint8, out *steps[scanned]) {
	to := *s
	to.call = scanCaller{}
	value := s.call.entry.value
	kind, words := answerHit, "hit: all checks hold; answers with what is held, said to be as of %d"
	if value == absent {
		kind, words = answerAbsence, "hit: all checks hold; answers that there is no such key, said to be as of %d"
	}
	out.answer(kind, to, r.lie(&s.world, value, fresh, s.call.arrival, s.com), words, fresh)
}
