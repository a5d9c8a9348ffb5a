package keycache_test

// Slot tables that grow, in the model of the complete cache. The tables of the world
// are those of the first generation. The second one may have larger ones.

// grownTables are the larger tables, and what the tail knows about them while it
// applies a change.
type grownTables struct {
	byID          [2]uint8
	byHash, birth uint8
	// looked counts the tail's loads. aside and current are what it has loaded.
	looked, aside, current uint8
}

// birthOf is the birth of tables that are made now. No entry is valid by them before it is
// known.
func (r *rules) birthOf(s *scanned) uint8 {
	switch {
	case !r.has(slotsBirth):
		return 0
	case !r.has(birthAfterTables):
		return s.seq
	default:
		return none
	}
}

// tablesBegin loads the birth of the tables, which the tail has. Without the guard the
// birth is known already, and the tail gets the tables now.
func (r *rules) tablesBegin(s *scanned, out *steps[scanned]) {
	to := advance(*s)
	switch {
	case !r.has(birthAfterTables):
		r.publish(&to, out)
		return
	case r.has(slotsBirth):
		to.tables.birth = s.seq
	}
	out.add(to, "scan: the larger tables begin with seq %d", to.tables.birth)
}

// publish makes the second generation known.
func (r *rules) publish(to *scanned, out *steps[scanned]) {
	to.aside = 1
	out.add(*to, "scan: a second generation is aside")
	to.aside, to.current = none, 1
	out.add(*to, "scan: a second generation is in use immediately")
}

// looks are the loads of the tail between seq and its stamps: the generation aside,
// then the one in use. False: it takes another step.
func (r *rules) looks(s *scanned, out *steps[scanned]) bool {
	if s.tail != tailCounted || !r.grows || s.tables.looked == 2 {
		return false
	}
	to := *s
	to.tables.looked++
	if (s.tables.looked == 0) == r.has(asideFirst) {
		to.tables.aside = s.aside
		out.add(to, "tail: loads the generation aside, %d", s.aside)
		return true
	}
	to.tables.current = s.current
	out.add(to, "tail: loads the generation in use, %d", s.current)
	return true
}

// stampTables moves the stamps of a step of the tail to the tables that it has loaded.
func (r *rules) stampTables(s, to *scanned) {
	if !r.grows || (s.tail != tailCounted && s.tail != tailStamped) {
		return
	}
	current := s.generations[s.tables.current].grown
	aside := s.tables.aside != none && s.generations[s.tables.aside].grown && r.has(stampAside)
	byID, byHash := to.byID, to.byHash
	if current {
		to.byID, to.byHash = s.byID, s.byHash
	}
	if current || aside {
		if byID != s.byID {
			doc := r.at(&s.world, s.pos+1).events[s.sub].doc - docA
			to.tables.byID[doc] = byID[doc]
		}
		if byHash != s.byHash {
			to.tables.byHash = byHash
		}
	}
	if to.tail == tailIdle || to.tail == tailMayStore {
		to.tables.looked, to.tables.aside, to.tables.current = 0, 0, 0
	}
}

// lastOfID and lastOfHash follow slots.go.
func (s *scanned) lastOfID(generation, doc uint8) uint8 {
	if s.generations[generation].grown {
		return max(s.tables.byID[doc], s.tables.birth)
	}
	return s.byID[doc]
}

func (s *scanned) lastOfHash(generation uint8) uint8 {
	if s.generations[generation].grown {
		return max(s.tables.byHash, s.tables.birth)
	}
	return s.byHash
}
