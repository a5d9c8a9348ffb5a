package keycache_test

// Time in the model of the complete cache: MaxAge passes. Only a step that stamps or
// evicts an entry which a scan has covered may make a miss of it.

// time passes: every entry is past its deadline, and so is an entry that a caller has
// loaded already, because now is loaded last. The entries of a base have no deadline,
// unless it is open.
func (r *rules) time(s *scanned, out *steps[scanned]) {
	if s.ticks == r.ticks {
		return
	}
	to := *s
	to.ticks++
	for g := range to.generations {
		to.generations[g].old = to.generations[g].open && to.generations[g].entry.epoch != 0
	}
	to.overlayOld = to.overlay.epoch != 0
	to.call.old = to.call.entry.epoch != 0 && (to.call.inOverlay || to.generations[to.call.generation].open)
	out.add(to, "time: MaxAge passes")
}

// endsByDeadline: a step makes a miss of an entry that a scan of this epoch has
// covered, and neither a stamp nor an eviction is the cause.
func (r *rules) endsByDeadline(s, to *scanned) bool {
	g := &s.generations[s.current]
	return (g.complete.epoch == s.epoch || g.covered == s.epoch) &&
		r.isAnswered(s) && !r.isAnswered(to) && r.isHeld(to)
}

// isAnswered: a request at this moment would be answered with an entry.
func (r *rules) isAnswered(s *scanned) bool {
	g := &s.generations[s.current]
	if r.stampsAreValid(s, s.current, g.entry) {
		return !g.old || r.noDeadline(g, g.complete.epoch, g.entry.epoch)
	}
	return r.stampsAreValid(s, s.current, s.overlay) && (!s.overlayOld || r.noDeadline(g, g.complete.epoch, s.overlay.epoch))
}

// isHeld: there is an entry that is valid by its stamps.
func (r *rules) isHeld(s *scanned) bool {
	return r.stampsAreValid(s, s.current, s.generations[s.current].entry) || r.stampsAreValid(s, s.current, s.overlay)
}

func (r *rules) stampsAreValid(s *scanned, generation uint8, e stored) bool {
	return e.epoch != 0 && r.current(e, &s.world) &&
		(e.value == absent || !r.has(byIDChecked) || s.lastOfID(generation, r.history.nodes[e.value].owner-docA) <= e.seq) &&
		(!r.has(byHashChecked) || s.lastOfHash(generation) <= e.seq)
}

// noDeadline follows hasExpired in get.go: complete is the epoch of the completeness
// that was loaded first.
func (r *rules) noDeadline(g *generationState, complete, entry uint8) bool {
	// Without the guard: only the entries of a base that nobody writes to have none.
	return r.has(coveredStays) && (complete == entry || g.covered == entry)
}
