package keycache_test

// Time in the model of the complete cache: MaxAge passes. Only a step that stamps or
// evicts an entry which a scan has covered may make a miss of it.

// time passes: every entry is past its deadline, and so is an entry that a caller has
// loaded already, because now is loaded last.
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

// endsByDeadline: a step makes a miss of an entry that a scan of this epoch has
// covered, and neither a stamp nor an eviction is the cause.
func (r *rules) endsByDeadline(s, to *scanned) bool {
	return s.generations[s.current].complete.epoch == s.epoch &&
		r.isAnswered(s) && !r.isAnswered(to) && r.stampsAreValid(to)
}

// isAnswered: a request at this moment would be answered with the entry.
func (r *rules) isAnswered(s *scanned) bool {
	g := &s.generations[s.current]
	return r.stampsAreValid(s) && (!g.old || r.noDeadline(s, s.current, g.complete.epoch, g.entry.epoch))
}

func (r *rules) stampsAreValid(s *scanned) bool {
	e := s.generations[s.current].entry
	return e.epoch != 0 && r.current(e, &s.world) && r.idIsValid(e, &s.world) && r.hashIsValid(e, &s.world)
}

// noDeadline follows expired in get.go: complete is the epoch of the completeness
// that was loaded first.
func (r *rules) noDeadline(s *scanned, generation, complete, entry uint8) bool {
	if r.has(coveredStays) {
		return complete == entry
	}
	g := &s.generations[generation]
	return g.complete.epoch == s.epoch && counter(g.evictions) == g.complete.evictions
}
