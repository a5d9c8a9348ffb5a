package keycache_test

// The front in the fine model: a third place from which an answer may come. A caller asks it first.
// If it has to ask the store and gets its answer there, it puts a copy into the front, at any
// later time.
//
// There is also an end without a stamp: a marker takes the place of the entry, as when an audit finds
// a difference, and then the era moves. In a world without defects no entry needs such an end, so the
// model has a rule of its own for it: a caller that arrives after the end gets no copy of the entry.
//
// The caller only hits. The other ways to an answer do not ask the front; the fine model has them.

// frontCopy is a copy of an entry, in the front or on its way there.
type frontCopy struct {
	stored
	// era was loaded before the entry was looked up.
	era uint8
	// ended: the entry has been ended without a stamp. No algorithm sees this.
	ended bool
}

// frontState is what the front adds to a state.
type frontState struct {
	// held is in the front; put is what a caller that has its answer will put there.
	held, put frontCopy
	era       uint8
	// ending: of the two stores that end an entry the first has been made.
	ending bool
	ends   uint8
}

// frontCaller is what the front adds to a caller.
type frontCaller struct {
	era uint8
	// ended belongs to the entry that the caller has loaded. late: it arrived after an end.
	ended, late bool
	// fromFront: the entry is the front's.
	fromFront bool
}

func frontModel(r *rules) space[fine] {
	r.front = true
	return fineModel(r)
}

// frontSteps are those that no caller makes.
func (r *rules) frontSteps(s *fine, out *steps[fine]) {
	if !r.front {
		return
	}
	if s.front.held.epoch != 0 {
		to := *s
		to.front.held = frontCopy{}
		out.add(to, "front: another key takes the place")
	}
	if s.front.put.epoch != 0 {
		to := *s
		to.front.held, to.front.put = s.front.put, frontCopy{}
		out.add(to, "front: takes in the entry of epoch %d and seq %d", to.front.held.epoch, to.front.held.seq)
	}
	r.endSteps(s, out)
}

// endSteps end the entry: the marker, then the era.
func (r *rules) endSteps(s *fine, out *steps[fine]) {
	if !s.front.ending && s.front.ends == r.ends {
		return
	}
	to := *s
	if s.front.ending == r.has(eraAfterMarker) {
		to.front.era++
		out.add(ended(to), "end: the front's era is %d", to.front.era)
		return
	}
	to.found = stored{}
	to.front.held.ended = s.front.held.epoch != 0
	to.front.put.ended = s.front.put.epoch != 0
	to.call.front.ended = s.call.entry.epoch != 0
	out.add(ended(to), "end: a marker takes the place of the entry")
}

// ended counts an end when both of its stores have been made.
func ended(to fine) fine {
	if to.front.ending {
		to.front.ends++
	}
	to.front.ending = !to.front.ending
	return to
}

// hitFront follows getFront in front.go, and the load of the era in Get.
func (r *rules) hitFront(s *fine, out *steps[fine]) {
	to := *s
	c := &to.call
	check := func(ok bool, next uint8, words string, args ...uint8) {
		c.at = next
		if !ok {
			c.at, c.entry, c.front.ended, c.front.fromFront = hitEra, stored{}, false, false
		}
		out.add(to, words, args...)
	}
	e := s.call.entry
	switch s.call.at {
	case hitFront:
		held := s.front.held
		c.entry, c.front.ended, c.front.era, c.front.fromFront = held.stored, held.ended, held.era, true
		check(held.epoch != 0, hitFrontEntry, "hit: loads the front's entry of epoch %d, seq %d and era %d", held.epoch, held.seq, held.era)
	case hitFrontEntry:
		check(s.call.front.era == s.front.era || !r.has(frontEra), hitFrontEra, "hit: the front's era is %d", s.front.era)
	case hitFrontEra:
		check(r.current(e, &s.world) || !r.has(frontChecked), hitFrontEpoch, "hit: epoch is %d", s.epoch)
	case hitFrontEpoch:
		check(r.idIsValid(e, &s.world) || !r.has(frontChecked), hitFrontID, "hit: byID is compared with %d", e.seq)
	case hitFrontID:
		switch {
		case !r.hashIsValid(e, &s.world) && r.has(frontChecked):
			check(false, 0, "hit: byHash is higher than %d, the front does not answer", e.seq)
		case !r.has(freshFirst):
			check(true, hitLast, "hit: byHash is no higher than %d", e.seq)
		default:
			r.hitAnswers(s, s.call.fresh, out)
		}
	case hitEra:
		c.at, c.front.era = hitBegun, s.front.era
		out.add(to, "hit: the front does not answer; loads its era %d", c.front.era)
	}
}

// putLater: the caller that has its answer from the store will put it into the front. If one is on
// its way already, this one is not put: each of them alone is searched.
func (r *rules) putLater(s, to *fine) {
	c := s.call
	if !r.front || c.front.fromFront || c.entry.value == absent || s.front.put.epoch != 0 {
		return
	}
	to.front.put = frontCopy{stored: c.entry, era: c.front.era, ended: c.front.ended}
	if !r.has(eraBeforeLookup) {
		to.front.put.era = s.front.era
	}
}
