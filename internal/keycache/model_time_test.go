package keycache_test

// Time in the model of the complete cache: MaxAge passes, and no step may make a miss
// of an entry that a scan has covered, but one that stamps it or pushes it out.

// time passes: what is held is past its deadline, and so is what a caller has in its
// hands, since now is loaded last.
func (r *rules) time(s *scanned, out *steps[scanned]) {
	if s.ticks == r.ticks {
		return
	}
	to := *s
	to.ticks++
	for g := range to.generations {
		to.generations[g].old = to.generations[g].entry.epoch != 0
	}
	to.call.old = to.call.entry.epoch != 0
	out.add(to, "time: MaxAge passes")
}

// cliff: a step makes a miss of an entry that a scan of this epoch has covered, and
// neither a stamp nor an eviction has done it.
func (r *rules) cliff(s, to *scanned) bool {
	return s.generations[s.current].complete.epoch == s.epoch &&
		r.answered(s) && !r.answered(to) && r.stampsHold(to)
}

// answered: a caller who asked now would be answered with the entry.
func (r *rules) answered(s *scanned) bool {
	g := &s.generations[s.current]
	return r.stampsHold(s) && (!g.old || r.noDeadline(s, s.current, g.complete.epoch, g.entry.epoch))
}

func (r *rules) stampsHold(s *scanned) bool {
	e := s.generations[s.current].entry
	return e.epoch != 0 && r.current(e, &s.world) && r.idHolds(e, &s.world) && r.hashHolds(e, &s.world)
}

// noDeadline follows past in hit.go: complete is the epoch of the completeness that
// was loaded first.
func (r *rules) noDeadline(s *scanned, generation, complete, entry uint8) bool {
	if r.has(coveredStays) {
		return complete == entry
	}
	g := &s.generations[generation]
	return g.complete.epoch == s.epoch && counter(g.evictions) == g.complete.evictions
}
