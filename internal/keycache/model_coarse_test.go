package keycache_test

// The coarse model: whole steps, but two fills, a scan, and writes that are
// rolled back before a majority has them. The log then continues with other
// writes at the same cluster times: a new primary may not know the old one's
// clock.

// coarse is a state. Each state is also checked with a lookup, which changes nothing.
type coarse struct {
	world
	// base is what the last scan has filled, found is the overlay.
	base, found, negative stored
	fills                 [2]flightState
	scan                  coarseScanState
	complete              completeState
	evictions, rollbacks  uint8
}

// coarseScanState: built is the entry of the base that it fills, or beside means that
// it has seen the hash, which the base does not hold.
type coarseScanState struct {
	scanState
	built stored
}

func coarseModel(r *rules) space[coarse] {
	m := space[coarse]{next: r.coarse}
	for _, w := range r.history.begin() {
		m.initial = append(m.initial, coarse{world: w})
	}
	return m
}

func (r *rules) coarse(s *coarse, out *steps[coarse]) {
	r.coarseWorld(s, out)
	r.coarseTail(s, out)
	for i := range s.fills {
		r.coarseFill(s, i, out)
	}
	r.coarseScan(s, out)
	r.coarseEvict(s, out)
	r.coarseLookup(s, out)
	for i := range out.list {
		r.forget(&out.list[i].to)
	}
}

// neverValidEpoch is the epoch of an entry that will never be valid again.
const neverValidEpoch = 0xff

// forget treats states as equal that differ only in entries which will never be valid
// again: stamps only rise. That there is an entry still matters, since it prevents an
// absence.
func (r *rules) forget(s *coarse) {
	if s.base.epoch != 0 && !r.coarseIsValid(s.base, s) && r.neverRefused(s.base, s) {
		s.base = stored{epoch: neverValidEpoch}
	}
	if s.found.epoch != 0 && !r.coarseIsValid(s.found, s) && r.neverRefused(s.found, s) {
		s.found = stored{epoch: neverValidEpoch}
	}
	if !r.coarseIsValid(s.negative, s) {
		s.negative = stored{}
	}
	if !r.coarseAbsent(s) {
		// Never an absence again, but it can be renewed.
		s.complete = completeState{epoch: s.complete.epoch, beside: true}
		if s.complete.epoch != s.epoch {
			s.complete = completeState{}
		}
	}
}

func (r *rules) coarseWorld(s *coarse, out *steps[coarse]) {
	r.database(&s.world, func(w world, words string, args ...uint8) {
		to := *s
		to.world = w
		out.add(to, words, args...)
	})
	if s.com < r.applied(&s.world) && s.rollbacks < r.rollbacks {
		to := *s
		to.rollbacks++
		to.log = r.history.nodes[s.log].path[s.com]
		out.add(to, "database: a new primary, what came after %d is rolled back", s.com)
	}
}

// coarseTail takes the tail's steps as one, until it is idle or has lost its history.
func (r *rules) coarseTail(s *coarse, out *steps[coarse]) {
	var take func(w world, last string, args []uint8)
	take = func(w world, words string, args []uint8) {
		if w.tail == tailIdle || w.tail == tailLost || w.tail == tailMayStore {
			r.coarseTaken(s, w, words, args, out)
			return
		}
		r.tailSteps(&w, func(to world, words string, args ...uint8) { take(to, words, args) })
	}
	r.tailSteps(&s.world, func(to world, words string, args ...uint8) { take(to, words, args) })
}

func (r *rules) coarseTaken(s *coarse, w world, words string, args []uint8, out *steps[coarse]) {
	to := *s
	to.world = w
	stores := w.tail == tailMayStore
	if stores {
		to.tail = tailIdle
	}
	if w.seq != s.seq {
		e := r.at(&s.world, s.pos+1).events[s.sub]
		words, args = "tail: applies event %d of %c as number %d", []uint8{s.pos + 1, documentLetter(e.doc), w.seq}
		if !r.has(dropsAreStamps) && s.base.epoch != 0 && s.base.epoch != neverValidEpoch && r.history.nodes[s.base.value].owner == e.doc {
			to.base, to.found = stored{}, stored{}
			words = "tail: applies event %d of %c as number %d, and deletes its entry"
		}
	}
	out.add(to, words, args...)
	if stores {
		e := stored{r.at(&w, w.pos).value, w.epoch, w.seq, r.readAt(w.pos)}
		if to.found = e; !r.has(baseSealed) && to.complete.epoch != 0 {
			to.found, to.base = s.found, e
		}
		out.add(to, words+", and stores the document", args...)
	}
}

func (r *rules) coarseFill(s *coarse, i int, out *steps[coarse]) {
	to := *s
	f := &to.fills[i]
	switch f.at {
	case fillIdle:
		*f = flightState{at: fillHasTicket, epoch: s.epoch, seq: s.seq, floor: s.floor}
		out.add(ordered(to), "fill: begins with epoch %d, seq %d, floor %d", s.epoch, s.seq, s.floor)
	case fillHasTicket:
		from, until := r.snapshots(&s.world, f.floor)
		for time := from; time <= until; time++ {
			n := r.at(&s.world, time)
			f.at, f.floor, f.value, f.read = fillHasRead, 0, n.value, r.readAt(time)
			words, args := readWords(n, time)
			out.add(ordered(to), "fill: "+words, args...)
		}
	case fillHasRead:
		r.coarseStore(s, i, out)
	}
}

// coarseStore ends a fill. A caller that has just joined it gets its result if the
// stamps are still valid.
func (r *rules) coarseStore(s *coarse, i int, out *steps[coarse]) {
	to := *s
	e := stored{s.fills[i].value, s.fills[i].epoch, s.fills[i].seq, s.fills[i].read}
	if !r.has(seqBeforeRead) {
		e.seq = s.seq
	}
	if !isOdd(e.epoch) || !r.parity() {
		if e.value == absent {
			to.negative = e
		} else {
			to.found = e
		}
	}
	to.fills[i] = flightState{}
	wrong := ""
	if !r.has(revalidation) || r.coarseIsValid(e, s) {
		wrong = r.violation(&s.world, e.value, s.fresh, arrival{s.done, s.notified}, s.com)
	}
	out.answer(answerShared, ordered(to), wrong, "fill: stores what it read, with epoch %d and seq %d, and answers if it is still valid", e.epoch, e.seq)
}

// ordered: which of the two fills is which does not matter.
func ordered(s coarse) coarse {
	a, b := s.fills[0], s.fills[1]
	x := [6]uint8{a.at, a.epoch, a.seq, a.floor, a.value, a.read}
	y := [6]uint8{b.at, b.epoch, b.seq, b.floor, b.value, b.read}
	for i := range x {
		if x[i] != y[i] {
			if x[i] < y[i] {
				s.fills[0], s.fills[1] = b, a
			}
			break
		}
	}
	return s
}

func (r *rules) coarseIsValid(e stored, s *coarse) bool {
	if e.epoch == 0 || e.epoch != s.epoch || (r.parity() && isOdd(e.epoch)) {
		return false
	}
	if !r.idIsValid(e, &s.world) {
		return false
	}
	return s.byHash <= e.seq || !r.has(byHashChecked)
}

func (r *rules) coarseScan(s *coarse, out *steps[coarse]) {
	to := *s
	c := &to.scan
	switch c.at {
	case scanIdle:
		if r.parity() && isOdd(s.epoch) {
			return
		}
		c.scanState = scanState{at: scanHasTicket, epoch: s.epoch, seq: s.seq, floor: s.floor}
		out.add(to, "scan: begins to fill a base, with epoch %d, seq %d, floor %d", c.epoch, c.seq, c.floor)
		if s.complete.epoch == s.epoch {
			c.inPlace = true
			out.add(to, "scan: begins in place with epoch %d, seq %d, floor %d", c.epoch, c.seq, c.floor)
		}
	case scanHasTicket:
		r.coarseScanReads(s, docA, scanPastA, out)
	case scanPastA:
		r.coarseScanReads(s, docB, scanPastB, out)
	case scanPastB:
		*c = coarseScanState{}
		out.add(to, "scan: given up")
		if (r.has(streamPastScan) && s.done < s.scan.floor) || (s.scan.evicted && r.has(evictionCounter)) {
			return
		}
		to.complete = completeState{s.scan.epoch, s.scan.seq, s.scan.beside}
		if !s.scan.inPlace {
			to.base = s.scan.built
		}
		if !r.has(completeStamp) {
			to.complete.seq = s.seq
		}
		out.add(to, "scan: complete := epoch %d, seq %d", to.complete.epoch, to.complete.seq)
	}
}

func (r *rules) coarseScanReads(s *coarse, doc, then uint8, out *steps[coarse]) {
	from, until := r.snapshots(&s.world, s.scan.floor)
	if doc == docB {
		from = s.scan.floor
	}
	for time := from; time <= until; time++ {
		to := *s
		to.scan.at, to.scan.floor = then, time
		n := r.at(&s.world, time)
		if n.owner != doc {
			out.add(to, "scan: sees no %c with the hash at snapshot %d", documentLetter(doc), time)
			continue
		}
		e := stored{n.value, s.scan.epoch, s.scan.seq, r.readAt(time)}
		if s.scan.inPlace {
			to.found, to.scan.beside = e, s.scan.beside || (s.base.epoch == 0 && r.has(besideKnown))
		} else {
			to.scan.built = e
		}
		out.add(to, "scan: sees %c with the hash at snapshot %d, and stores it", documentLetter(doc), time)
	}
}

func (r *rules) coarseEvict(s *coarse, out *steps[coarse]) {
	to := *s
	to.evictions++
	if s.evictions < r.evictions {
		if to.found = (stored{}); s.found.epoch != 0 {
			out.add(to, "cache: the entry is evicted from the overlay")
		}
		to.found = s.found
		if to.scan.built, to.scan.evicted = (stored{}), true; s.scan.built.epoch != 0 {
			out.add(to, "cache: the entry is evicted from the base that a scan fills")
		}
		to.scan = s.scan
		if to.base = (stored{}); s.base.epoch != 0 && !r.has(baseSealed) {
			out.add(to, "cache: the entry is evicted from the base")
		}
	}
	to = *s
	if s.negative.epoch != 0 {
		to.negative = stored{}
		out.add(to, "cache: the negative is evicted")
	}
}

// coarseLookup does what Get does, in one step.
func (r *rules) coarseLookup(s *coarse, out *steps[coarse]) {
	answer := func(kind kindOfAnswer, value uint8, words string) {
		out.answer(kind, *s, r.violation(&s.world, value, s.fresh, arrival{s.done, s.notified}, s.com), words, s.fresh)
	}
	switch {
	case r.coarseIsValid(s.base, s):
		answer(answerHit, s.base.value, "hit: answers with the base's entry, reported as of %d")
	case r.coarseIsValid(s.found, s):
		answer(answerHit, s.found.value, "hit: answers with the overlay's entry, reported as of %d")
	case r.coarseRefused(s.found, s):
		out.answer(answerRefusal, *s, r.wrongRefusal(&s.world, s.found.value, s.fresh, arrival{s.done, s.notified}), "hit: answers by the overlay's entry that the key is off, reported as of %d", s.fresh)
	case r.coarseRefused(s.base, s):
		out.answer(answerRefusal, *s, r.wrongRefusal(&s.world, s.base.value, s.fresh, arrival{s.done, s.notified}), "hit: answers by the base's entry that the key is off, reported as of %d", s.fresh)
	case s.base.epoch == 0 && s.found.epoch == 0 && r.coarseAbsent(s):
		answer(answerAbsence, absent, "hit: there is no entry: answers that there is no such key, reported as of %d")
	case r.coarseIsValid(s.negative, s):
		answer(answerNegative, absent, "hit: answers from the negative that there is no such key, reported as of %d")
	}
}

func (r *rules) coarseAbsent(s *coarse) bool {
	c := s.complete
	return c.epoch != 0 &&
		(c.epoch == s.epoch || !r.has(completeEpoch)) &&
		(s.byHash <= c.seq || !r.has(completeByHash)) && !c.beside
}
