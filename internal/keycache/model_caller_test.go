package keycache_test

// The caller of the fine model.

func (r *rules) callSteps(s *fine, out *steps[fine]) {
	switch at := s.call.at; {
	case at == callIdle:
		r.arrive(s, out)
	case at <= hitEra:
		r.hitFront(s, out)
	case at >= hitRefused && at <= hitRefusedNoted:
		r.hitRefused(s, out)
	case at <= hitLast:
		r.hit(s, out)
	case at <= revalidateLast:
		r.revalidate(s, out)
	default:
		r.alone(s, out)
	}
}

// arrive: a caller arrives with its first load. Anything that the instance
// processes in between could only weaken the guarantee.
func (r *rules) arrive(s *fine, out *steps[fine]) {
	to := *s
	to.call = caller{at: hitBegun, arrival: arrival{s.done, s.notified}, fresh: s.fresh}
	if !r.has(freshFirst) {
		to.call.fresh = 0
	}
	if r.front {
		to.call.at, to.call.front.late = hitFront, s.front.ends > 0
	}
	out.add(to, "hit: a caller arrives, %d is processed; freshAsOf covers %d", to.call.since, to.call.fresh)
	if r.front {
		return
	}
	// A caller joins a shared read that is in progress, or starts it.
	to.call = caller{at: waits, arrival: arrival{s.done, s.notified}}
	if !r.has(revalidation) {
		to.call.fresh = s.fresh
	}
	out.add(to, "caller: arrives and waits for the shared read, %d is processed", to.call.since)
	to.call = caller{at: aloneBegun, arrival: arrival{s.done, s.notified}}
	out.add(to, "caller: arrives and reads alone, %d is processed", to.call.since)
}

// current reports whether the epoch of an entry is that of the stream, and even.
func (r *rules) current(e stored, w *world) bool {
	return e.epoch == w.epoch && (!r.parity() || !isOdd(e.epoch))
}

func (r *rules) idIsValid(e stored, w *world) bool {
	if !r.has(byIDChecked) || e.value == absent {
		return true
	}
	return w.byID[r.slot(r.history.nodes[e.value].owner)] <= e.seq
}

func (r *rules) hashIsValid(e stored, w *world) bool {
	return !r.has(byHashChecked) || w.byHash <= e.seq
}

// hit follows Get in get.go: freshAsOf, then for each of the two stores the
// entry, epoch, byID, byHash.
func (r *rules) hit(s *fine, out *steps[fine]) {
	to := *s
	c := &to.call
	miss := func(words string, args ...uint8) {
		c.at, c.entry = hitNegative, stored{}
		if s.call.at >= hitNegative || r.front {
			to.call = caller{}
		}
		out.add(to, words, args...)
	}
	check := func(ok bool, next uint8, words, missed string, args ...uint8) {
		if !ok {
			miss(missed, args...)
			return
		}
		c.at = next
		out.add(to, words, args...)
	}
	e := s.call.entry
	switch s.call.at {
	case hitBegun, hitNegative:
		next := hitEntry
		c.entry = s.found
		if s.call.at == hitNegative {
			next, c.entry = hitNegativeEntry, s.negative
		}
		check(c.entry.epoch != 0, next, "hit: loads the entry of epoch %d and seq %d", "hit: no entry", c.entry.epoch, c.entry.seq)
	case hitEntry, hitNegativeEntry:
		next := hitEpoch
		if s.call.at == hitNegativeEntry {
			next = hitNegativeEpoch
		}
		check(r.current(e, &s.world), next, "hit: epoch is %d", "hit: epoch is %d, a miss", s.epoch)
	case hitEpoch:
		if r.refusals && !r.idIsValid(e, &s.world) {
			c.at = hitRefused
			out.add(to, "hit: byID is higher than %d, perhaps by a refusal", e.seq)
			return
		}
		check(r.idIsValid(e, &s.world), hitID, "hit: byID is no higher than %d", "hit: byID is higher than %d, a miss", e.seq)
	case hitID, hitNegativeEpoch:
		switch {
		case !r.hashIsValid(e, &s.world):
			miss("hit: byHash is higher than %d, a miss", e.seq)
		case !r.has(freshFirst):
			c.at = hitLast
			out.add(to, "hit: byHash is no higher than %d", e.seq)
		default:
			r.hitAnswers(s, s.call.fresh, out)
		}
	case hitLast:
		r.hitAnswers(s, s.fresh, out)
	}
}

func (r *rules) hitAnswers(s *fine, fresh uint8, out *steps[fine]) {
	to := *s
	to.call = caller{}
	r.putLater(s, &to)
	kind, words := answerHit, "hit: byHash too; answers with the entry, reported as of %d"
	if s.call.entry.value == absent {
		kind, words = answerNegative, "hit: byHash too; answers that there is no such key, reported as of %d"
	}
	if !r.has(freshFirst) {
		words = "hit: loads freshAsOf last and answers as of %d"
	}
	if s.call.front.fromFront {
		kind = answerFront
	}
	wrong := r.violation(&s.world, s.call.entry.value, fresh, s.call.arrival, s.com)
	if s.call.front.late && s.call.front.ended {
		wrong = "the answer is an entry that had been ended when the caller arrived"
	}
	out.answer(kind, to, wrong, words, fresh)
}

// revalidate follows Revalidate in get.go.
func (r *rules) revalidate(s *fine, out *steps[fine]) {
	to := *s
	c := &to.call
	check := func(ok bool, next uint8, words, failed string, args ...uint8) {
		c.at = next
		if !ok {
			to.call = caller{at: aloneBegun, arrival: s.call.arrival}
			words = failed
		}
		out.add(to, words, args...)
	}
	e := s.call.entry
	switch s.call.at {
	case waits:
	case revalidateBegun:
		c.at = revalidateFresh
		if r.has(freshFirstInRevalidate) {
			c.fresh = s.fresh
		}
		out.add(to, "caller: freshAsOf covers %d", c.fresh)
	case revalidateFresh:
		check(r.current(e, &s.world), revalidateEpoch, "caller: epoch is %d", "caller: epoch is %d, reads once more", s.epoch)
	case revalidateEpoch:
		check(r.idIsValid(e, &s.world), revalidateID, "caller: byID is no higher than %d", "caller: byID is higher than %d, reads once more", e.seq)
	case revalidateID:
		switch {
		case !r.hashIsValid(e, &s.world):
			check(false, 0, "", "caller: byHash is higher than %d, reads once more", e.seq)
		case !r.has(freshFirstInRevalidate):
			check(true, revalidateLast, "caller: byHash is no higher than %d", "", e.seq)
		default:
			r.revalidateAnswers(s, s.call.fresh, out)
		}
	case revalidateLast:
		r.revalidateAnswers(s, s.fresh, out)
	}
}

func (r *rules) revalidateAnswers(s *fine, fresh uint8, out *steps[fine]) {
	to := *s
	to.call = caller{}
	out.answer(answerShared, to, r.violation(&s.world, s.call.entry.value, fresh, s.call.arrival, s.com),
		"caller: uses the result of the shared read, as of %d", fresh)
}

// alone follows the read alone in validator/read.go: freshAsOf, epoch, floor, read,
// and an inspection of the collection if there is no history that would report
// its end.
func (r *rules) alone(s *fine, out *steps[fine]) {
	to := *s
	c := &to.call
	switch s.call.at {
	case aloneBegun:
		c.at = aloneFresh
		if r.has(freshBeforeTicket) {
			c.fresh = s.fresh
		}
		out.add(to, "caller: freshAsOf covers %d", c.fresh)
	case aloneFresh:
		// Only whether it is odd matters from here on.
		c.at, c.entry.epoch = aloneEpoch, s.epoch&1
		out.add(to, "caller: loads epoch %d", s.epoch)
	case aloneEpoch:
		c.at, c.floor = aloneTicket, s.floor
		out.add(to, "caller: loads floor %d", c.floor)
	case aloneTicket:
		r.aloneReads(s, out)
	}
}

func (r *rules) aloneReads(s *fine, out *steps[fine]) {
	fresh := s.call.fresh
	if !r.has(freshBeforeTicket) {
		fresh = s.fresh
	}
	from, until := r.snapshots(&s.world, s.call.floor)
	for time := from; time <= until; time++ {
		to := *s
		to.call = caller{}
		n := r.at(&s.world, time)
		words, args := readWords(n, time)
		if n.value == absent && s.call.entry.epoch == 1 && r.has(inspected) &&
			r.at(&s.world, r.applied(&s.world)).owner == missing {
			continue
		}
		out.answer(answerAlone, to, r.violation(&s.world, n.value, fresh, s.call.arrival, s.com), "caller: "+words, args...)
	}
}
