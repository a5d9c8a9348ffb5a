package keycache_test

// The steps of a scan, in the order of scan.go: the generation and its tables, the
// birth of the tables, epoch, seq, floor, the documents, the checks, complete, swap.

func (r *rules) scanSteps(s *scanned, out *steps[scanned]) {
	to := *s
	c := &to.scan
	switch c.at {
	case scanIdle:
		r.scanBegins(s, out)
	case scanMade:
		r.tablesBegin(s, out)
	case scanBegun:
		c.at, c.epoch = scanHasEpoch, s.epoch
		if r.parity() && isOdd(s.epoch) {
			r.scanFails(s, out)
			return
		}
		out.add(to, "scan: loads epoch %d", c.epoch)
	case scanHasEpoch, scanHasSeq:
		// In either order, if the guard is left out.
		if (c.at == scanHasEpoch) == r.has(floorLoadedLast) {
			c.seq = s.seq
			out.add(advance(to), "scan: loads seq %d", c.seq)
			return
		}
		c.floor = s.floor
		out.add(advance(to), "scan: loads floor %d", c.floor)
	case scanHasTicket:
		r.scanReads(s, docA, out)
	case scanPastA:
		r.scanReads(s, docB, out)
	case scanHasReadA, scanHasReadB:
		r.scanStores(s, out)
	case scanPastB:
		r.scanChecks(s, out)
	case scanMayFinish, scanSwapped:
		r.scanFinishes(s, out)
	case scanDone:
		r.scanIsGone(s, out)
	}
}

func advance(s scanned) scanned {
	s.scan.at++
	return s
}

// scanBegins: in place if there is a completeness to renew. Otherwise into the base of
// the first generation, if nobody else has stored there, or into a second generation.
func (r *rules) scanBegins(s *scanned, out *steps[scanned]) {
	to := *s
	g := &s.generations[s.current]
	switch {
	case g.complete.epoch != 0:
		to.scan = scanState{at: scanBegun, into: s.current, inPlace: true}
		out.add(to, "scan: begins in place")
	case !g.open:
		to.scan = scanState{at: scanBegun, into: s.current}
		out.add(to, "scan: begins to fill the generation in use")
	}
	if s.made == 1 || r.swaps == 0 || (!g.open && g.complete.epoch == 0) {
		return
	}
	for _, grown := range []bool{false, true} {
		if grown && !r.grows {
			continue
		}
		to := *s
		to.made, to.scan = 1, scanState{at: scanBegun, into: 1}
		to.generations[1].covered = g.complete.epoch
		if grown {
			to.generations[1].grown, to.scan.at, to.tables.birth = true, scanMade, r.birthOf(s)
		}
		if grown && !r.has(birthAfterTables) {
			out.add(to, "scan: loads the birth %d of larger tables", to.tables.birth)
			continue
		}
		r.publish(&to, out)
	}
}

// scanFails: the generation is dropped if it is aside, or filled on demand from now on.
func (r *rules) scanFails(s *scanned, out *steps[scanned]) {
	to := *s
	to.scan = scanState{}
	if !s.scan.inPlace {
		to.generations[s.scan.into].open = true
		if s.aside == s.scan.into {
			to.aside, to.generations[s.aside] = none, generationState{}
		}
	}
	out.add(to, "scan: given up")
}

// scanReads reads a document at some snapshot, no older than the last one.
func (r *rules) scanReads(s *scanned, doc uint8, out *steps[scanned]) {
	from, until := r.snapshots(&s.world, s.scan.floor)
	if doc == docB {
		from = s.scan.floor
	}
	for time := from; time <= until; time++ {
		to := *s
		to.scan.floor = time
		if n := r.at(&s.world, time); n.owner == doc {
			to.scan.value = n.value
			out.add(advance(to), "scan: sees %c with the hash at snapshot %d", documentLetter(doc), time)
			continue
		}
		to = advance(advance(to))
		out.add(to, "scan: sees no %c with the hash at snapshot %d", documentLetter(doc), time)
	}
}

// scanStores stores into the base that the scan fills. In place it may store into the
// overlay, or leave an entry alone; a hash that the base does not hold is beside it.
func (r *rules) scanStores(s *scanned, out *steps[scanned]) {
	to := advance(*s)
	e := stored{s.scan.value, s.scan.epoch, s.scan.seq, 0}
	to.scan.value = 0
	if s.scan.inPlace {
		to.scan.beside = s.scan.beside || (s.generations[s.scan.into].entry.epoch == 0 && r.has(besideKnown))
		out.add(to, "scan: leaves the overlay alone")
		to.overlay, to.overlayOld = e, false
		out.add(to, "scan: stores it in the overlay with epoch %d and seq %d", e.epoch, e.seq)
		return
	}
	to.generations[s.scan.into].entry = e
	out.add(to, "scan: stores it in the base with epoch %d and seq %d", e.epoch, e.seq)
}

// scanChecks gives up, or continues. What uses the completeness checks the epoch again.
func (r *rules) scanChecks(s *scanned, out *steps[scanned]) {
	r.scanFails(s, out)
	// A scan is not one snapshot: a hash that a transaction moved from a later
	// document to an earlier one is seen in neither. Once the stream has passed
	// the last read, byHash shows it.
	if r.has(streamPastScan) && s.done < s.scan.floor {
		return
	}
	if s.scan.evicted && r.has(evictionCounter) {
		return
	}
	to := advance(*s)
	to.scan.floor, to.scan.evicted = 0, false
	if !r.has(completeStamp) {
		to.scan.seq = s.seq
	}
	out.add(to, "scan: has seen all, with seq %d", to.scan.seq)
}

// scanFinishes publishes the completeness, and then puts a generation aside into use.
func (r *rules) scanFinishes(s *scanned, out *steps[scanned]) {
	to := *s
	first, aside := s.scan.at == scanMayFinish, s.scan.into == s.aside
	switch {
	case first && aside:
		to = advance(to)
	case aside:
		to.scan.at = scanDone
	default:
		to.scan = scanState{}
	}
	if aside && !first {
		r.swap(&to, s.scan.into)
		out.add(to, "scan: generation %d is in use", s.scan.into)
		return
	}
	to.generations[s.scan.into].complete = completeState{s.scan.epoch, s.scan.seq, s.scan.beside}
	out.add(to, "scan: complete := epoch %d, seq %d", s.scan.epoch, s.scan.seq)
}

// swap puts the generation into use. It is aside, too, until the next step; without the
// guard, the steps are in the other order.
func (r *rules) swap(to *scanned, into uint8) {
	if r.has(inUseBeforeGone) {
		to.current = into
		return
	}
	to.aside = none
}

func (r *rules) scanIsGone(s *scanned, out *steps[scanned]) {
	to := *s
	to.current, to.aside, to.scan = s.scan.into, none, scanState{}
	out.add(to, "scan: generation %d is aside no longer", s.scan.into)
}
