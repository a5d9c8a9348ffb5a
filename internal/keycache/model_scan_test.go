package keycache_test

// The fine model of a complete cache: the tail, one scan after the other, and a
// caller. A scan reads document A, then B, each from a majority snapshot of its
// own (a cursor is not one snapshot). It fills a base, of the generation in use or
// of one that takes its place, or it renews the completeness in place. Everything
// else is stored in the overlay.

// generationState is a generation: the base's entry of the hash, and the
// completeness, which has epoch 0 if there is none.
type generationState struct {
	entry    stored
	complete completeState
	// covered is the epoch in which a scan had completed the generation before.
	covered uint8
	// open: the base is filled on demand. old: its entry is past its deadline.
	open, old bool
	// grown: it has the larger slot tables.
	grown bool
}

// completeState: beside means that the scan has seen the hash, and the base does not
// hold it.
type completeState struct {
	epoch, seq uint8
	beside     bool
}

// scanned is a state.
type scanned struct {
	world
	// current is the generation in use, aside the one aside, or none. The second
	// one exists once a scan has made it, which happens once.
	current, aside uint8
	generations    [2]generationState
	made           uint8
	overlay        stored
	overlayOld     bool
	tables         grownTables
	scan           scanState
	call           scanCaller
	evicted        uint8
	// ticks is how often MaxAge has passed.
	ticks uint8
}

const none = 0xff

type scanState struct {
	at, into          uint8
	epoch, seq, floor uint8
	value             uint8
	// inPlace: it renews the completeness. beside: see completeState. evicted: an
	// entry was evicted from the base that it fills.
	inPlace, beside, evicted bool
}

const (
	scanIdle uint8 = iota
	scanMade
	scanBegun
	scanHasEpoch
	scanHasSeq
	scanHasTicket
	scanHasReadA
	scanPastA
	scanHasReadB
	scanPastB
	scanMayFinish
	scanSwapped
	scanDone
)

func scanModel(r *rules) space[scanned] {
	m := space[scanned]{next: r.scanned}
	for _, w := range r.history.begin() {
		m.initial = append(m.initial, scanned{world: w, aside: none})
	}
	return m
}

func (r *rules) scanned(s *scanned, out *steps[scanned]) {
	r.database(&s.world, func(w world, words string, args ...uint8) {
		to := *s
		to.world = w
		out.add(to, words, args...)
	})
	r.scanTail(s, out)
	r.storesAndEvictions(s, out)
	r.scanSteps(s, out)
	r.lookupSteps(s, out)
	r.time(s, out)
	for i := range out.list {
		if e := &out.list[i]; e.wrong == "" && r.endsByDeadline(s, &e.to) {
			e.wrong = "an entry ends by its deadline, although a scan of the epoch has covered it"
		}
	}
}

// scanTail is the tail. Where it stamps depends on the generations (growSteps).
func (r *rules) scanTail(s *scanned, out *steps[scanned]) {
	if r.looks(s, out) {
		return
	}
	r.tailSteps(&s.world, func(w world, words string, args ...uint8) {
		to := *s
		to.world = w
		r.stampTables(s, &to)
		if s.tail == tailCounted && w.tail != tailCounted && !r.has(dropsAreStamps) {
			entry := &to.generations[s.current].entry
			doc := r.at(&s.world, s.pos+1).events[s.sub].doc
			if entry.epoch != 0 && r.history.nodes[entry.value].owner == doc {
				*entry, to.generations[s.current].old = stored{}, false
				words, args = "tail: deletes the entry of %c", []uint8{documentLetter(doc)}
			}
		}
		out.add(to, words, args...)
	})
}

// storesAndEvictions: the tail stores a document as put does. Entries are evicted from
// the overlay and from open bases at any time, and from a base that a scan fills,
// which the scan notices: it evicts by what it stores, so before its checks. From a base
// that nobody writes to nothing is evicted.
func (r *rules) storesAndEvictions(s *scanned, out *steps[scanned]) {
	g := &s.generations[s.current]
	if s.tail == tailMayStore {
		e := stored{r.at(&s.world, s.pos).value, s.epoch, s.seq, 0}
		to := *s
		to.tail = tailIdle
		out.add(to, "tail: does not store")
		if !g.open && r.has(baseSealed) {
			to.overlay, to.overlayOld = e, false
			out.add(to, "tail: stores the document of %d in the overlay", s.pos)
		} else {
			to.generations[s.current].entry, to.generations[s.current].old = e, false
			out.add(to, "tail: stores the document of %d in the base of generation %d", s.pos, s.current)
		}
	}
	if s.evicted == r.evictions {
		return
	}
	if s.overlay.epoch != 0 {
		to := *s
		to.evicted++
		to.overlay, to.overlayOld = stored{}, false
		out.add(to, "cache: the entry is evicted from the overlay")
	}
	for g := range s.generations[:1+s.made] {
		fills := s.scan.at >= scanHasTicket && s.scan.at <= scanPastB && !s.scan.inPlace && s.scan.into == uint8(g)
		if s.generations[g].entry.epoch == 0 || (!s.generations[g].open && !fills && r.has(baseSealed)) {
			continue
		}
		to := *s
		to.evicted++
		to.generations[g].entry, to.generations[g].old = stored{}, false
		to.scan.evicted = fills
		out.add(to, "cache: the entry is evicted from the base of generation %d", uint8(g))
	}
}
