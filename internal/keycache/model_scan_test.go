package keycache_test

// The fine model of a complete cache: the tail, one scan after the other, and a
// caller. A scan reads document A, then B, each from a majority snapshot of its
// own (a cursor is not one snapshot), and ends in completeness: of the
// generation in use, or of a fresh one that takes its place.

// generationState is a generation: the entry of the hash, whether it is past its
// deadline, the eviction counter, and the completeness, which has epoch 0 if there is
// none.
type generationState struct {
	old       bool
	entry     stored
	evictions uint8
	complete  completeState
}

type completeState struct{ epoch, seq, evictions uint8 }

// scanned is a state.
type scanned struct {
	world
	// current is the generation in use. The other one exists once a scan has
	// made it, which happens once.
	current     uint8
	generations [2]generationState
	made        uint8
	scan        scanState
	call        scanCaller
	evicted     uint8
	// ticks is how often MaxAge has passed.
	ticks uint8
}

type scanState struct {
	at, into                     uint8
	evictions, epoch, seq, floor uint8
	value                        uint8
}

const (
	scanIdle uint8 = iota
	scanBegun
	scanHasEvictions
	scanHasEpoch
	scanHasSeq
	scanHasTicket
	scanHasReadA
	scanPastA
	scanHasReadB
	scanPastB
	scanMayFinish
	scanSwapped
)

// scanCaller is a caller of the cache; there are no reads here.
type scanCaller struct {
	at uint8
	arrival
	fresh, generation uint8
	entry             stored
	old               bool
	complete          completeState
}

const (
	lookupIdle uint8 = iota
	lookupBegun
	lookupGeneration
	lookupComplete
	lookupPresent
	lookupPresentEpoch
	lookupPresentID
	lookupAbsent
	lookupAbsentComplete
	lookupAbsentEpoch
	lookupAbsentHash
	lookupLast
)

func scanModel(r *rules) space[scanned] {
	m := space[scanned]{next: r.scanned}
	for _, w := range r.history.begin() {
		m.initial = append(m.initial, scanned{world: w})
	}
	return m
}

func (r *rules) scanned(s *scanned, out *steps[scanned]) {
	shared := func(w world, words string, args ...uint8) {
		to := *s
		to.world = w
		if s.tail == tailCounted && w.tail != tailCounted && !r.has(dropsAreStamps) {
			entry := &to.generations[s.current].entry
			doc := r.at(&s.world, s.pos+1).events[s.sub].doc
			if entry.epoch != 0 && r.history.nodes[entry.value].owner == doc {
				*entry, to.generations[s.current].old = stored{}, false
				words, args = "tail: deletes the entry of %c", []uint8{documentLetter(doc)}
			}
		}
		out.add(to, words, args...)
	}
	r.database(&s.world, shared)
	r.tailSteps(&s.world, shared)
	for g := range s.generations[:1+s.made] {
		r.generationSteps(s, uint8(g), out)
	}
	if s.tail == tailMayStore {
		to := *s
		to.tail = tailIdle
		out.add(to, "tail: does not store")
	}
	r.scanSteps(s, out)
	r.lookupSteps(s, out)
	r.time(s, out)
	for i := range out.list {
		if e := &out.list[i]; e.wrong == "" && r.endsByDeadline(s, &e.to) {
			e.wrong = "an entry ends by its deadline, although a scan of the epoch has covered it"
		}
	}
}

// generationSteps: the tail may store into either generation, the one in use
// and the one aside. An entry may be evicted, which moves the counter under the
// same lock.
func (r *rules) generationSteps(s *scanned, g uint8, out *steps[scanned]) {
	if s.tail == tailMayStore {
		to := *s
		to.generations[g].entry, to.generations[g].old = stored{r.at(&s.world, s.pos).value, s.epoch, s.seq}, false
		out.add(to, "tail: stores the document of %d in generation %d", s.pos, g)
	}
	owed := s.generations[g].evictions&owes != 0
	if owed {
		to := *s
		to.generations[g].evictions = s.generations[g].evictions&^owes + 1
		out.add(to, "cache: the eviction counter moves")
	}
	if s.evicted == r.evictions || owed {
		return
	}
	if r.ticks > 0 {
		to := *s
		to.evicted++
		to.generations[g].evictions++
		out.add(to, "cache: another key's entry is evicted from generation %d, the counter moves to %d", g, to.generations[g].evictions)
	}
	if s.generations[g].entry.epoch != 0 {
		to := *s
		to.evicted++
		to.generations[g].entry, to.generations[g].old = stored{}, false
		if !r.has(counterWithEviction) {
			to.generations[g].evictions |= owes
			out.add(to, "cache: the entry is evicted from generation %d, the counter will move", g)
			return
		}
		to.generations[g].evictions++
		out.add(to, "cache: the entry is evicted from generation %d, the counter moves to %d", g, to.generations[g].evictions)
	}
}

// owes marks a counter that moves only after the entry is gone.
const owes = 0x80

func counter(evictions uint8) uint8 { return evictions &^ owes }

// scanSteps follow scan.go: generation, evictions, epoch, seq, floor, the
// documents, epoch and evictions again, swap, complete.
func (r *rules) scanSteps(s *scanned, out *steps[scanned]) {
	to := *s
	c := &to.scan
	into := &to.generations[c.into]
	switch c.at {
	case scanIdle:
		r.scanBegins(s, out)
	case scanBegun:
		c.at, c.evictions = scanHasEvictions, counter(into.evictions)
		out.add(to, "scan: loads the eviction counter %d", c.evictions)
	case scanHasEvictions:
		c.at, c.epoch = scanHasEpoch, s.epoch
		if r.parity() && isOdd(s.epoch) {
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
	}
}

func advance(s scanned) scanned {
	s.scan.at++
	return s
}

func (r *rules) scanBegins(s *scanned, out *steps[scanned]) {
	to := *s
	to.scan = scanState{at: scanBegun, into: s.current}
	if !r.has(counterBeforeScan) {
		to.scan.at = scanHasEvictions
	}
	out.add(to, "scan: begins in place")
	if s.made == 0 && r.swaps > 0 {
		to.made = 1
		to.scan.into = 1
		out.add(to, "scan: begins with a fresh generation aside")
		to.current = 1
		out.add(to, "scan: begins with a fresh generation, in use immediately")
	}
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

// scanStores stores, or leaves a valid entry alone. The model allows it to leave any
// entry alone.
func (r *rules) scanStores(s *scanned, out *steps[scanned]) {
	to := advance(*s)
	e := stored{s.scan.value, s.scan.epoch, s.scan.seq}
	to.scan.value = 0
	if to.generations[s.scan.into].entry.epoch != 0 {
		out.add(to, "scan: leaves the existing entry alone")
	}
	to.generations[s.scan.into].entry, to.generations[s.scan.into].old = e, false
	out.add(to, "scan: stores it with epoch %d and seq %d", e.epoch, e.seq)
}

// scanChecks gives up, or continues. The loads are one step: what uses the completeness checks both
// again.
func (r *rules) scanChecks(s *scanned, out *steps[scanned]) {
	to := *s
	to.scan = scanState{}
	out.add(to, "scan: given up")
	// A scan is not one snapshot: a hash that a transaction moved from a later
	// document to an earlier one is seen in neither. Once the stream has passed
	// the last read, byHash shows it.
	if r.has(streamPastScan) && s.done < s.scan.floor {
		return
	}
	to = advance(*s)
	to.scan.floor = 0
	if !r.has(counterBeforeScan) {
		to.scan.evictions = counter(s.generations[s.scan.into].evictions)
	}
	if !r.has(completeStamp) {
		to.scan.seq = s.seq
	}
	out.add(to, "scan: has seen all, with seq %d and eviction counter %d", to.scan.seq, to.scan.evictions)
}

// scanFinishes publishes the completeness, and then puts a generation aside into use.
func (r *rules) scanFinishes(s *scanned, out *steps[scanned]) {
	to := *s
	first, aside := s.scan.at == scanMayFinish, s.scan.into != s.current
	if first && aside {
		to = advance(to)
	} else {
		to.scan = scanState{}
	}
	if aside && first != r.has(completeBeforeSwap) {
		to.current = s.scan.into
		out.add(to, "scan: generation %d is in use", to.current)
		return
	}
	to.generations[s.scan.into].complete = completeState{s.scan.epoch, s.scan.seq, s.scan.evictions}
	out.add(to, "scan: complete := epoch %d, seq %d, eviction counter %d", s.scan.epoch, s.scan.seq, s.scan.evictions)
}
