package keycache_test

// The fine model of a cache that is not complete: the tail, a fill and a caller. Each
// of their loads and stores is a separate step. One fill and one caller are enough:
// callers change nothing that others see, and the validity of an entry depends on
// its own stamps alone, so only the fill that stored it last matters.

// stored is an entry: its content, and its stamps. Epoch 0: no entry.
//
// read is the snapshot of its read; only refusals depend on it.
type stored struct{ value, epoch, seq, read uint8 }

// fine is a state.
type fine struct {
	world
	found, negative stored
	fill            flightState
	call            caller
	front           frontState
}

// flightState is a shared read in progress.
type flightState struct {
	at                uint8
	epoch, seq, floor uint8
	value, read       uint8
}

const (
	fillIdle uint8 = iota
	fillHasEpoch
	fillHasTwo
	fillHasTicket
	fillHasRead
	// fillHasAll is only for a seq that is loaded after the read.
	fillHasAll
)

// caller gets an answer by a hit, by joining a shared read, or by a read alone.
type caller struct {
	at uint8
	arrival
	fresh uint8
	entry stored
	floor uint8
	front frontCaller
	// stamp is what a refused hit has loaded from byID.
	stamp uint8
}

const (
	callIdle uint8 = iota
	// A hit in the front, and the load of its era after a miss there.
	hitFront
	hitFrontEntry
	hitFrontEra
	hitFrontEpoch
	hitFrontID
	hitEra
	hitBegun
	hitEntry
	hitEpoch
	hitID
	// A hit whose entry only byID has refuted.
	hitRefused
	hitRefusedEpoch
	hitRefusedID
	hitRefusedNoted
	// A hit in the negatives.
	hitNegative
	hitNegativeEntry
	hitNegativeEpoch
	// A hit that loads freshAsOf last, when everything else is done.
	hitLast
	// A caller that waits for a shared read.
	waits
	revalidateBegun
	revalidateFresh
	revalidateEpoch
	revalidateID
	revalidateLast
	// A caller that reads alone.
	aloneBegun
	aloneFresh
	aloneEpoch
	aloneTicket
)

func fineModel(r *rules) space[fine] {
	m := space[fine]{next: r.fine}
	for _, w := range r.history.begin() {
		m.initial = append(m.initial, fine{world: w})
	}
	return m
}

func (r *rules) fine(s *fine, out *steps[fine]) {
	shared := func(w world, words string, args ...uint8) {
		to := *s
		to.world = w
		out.add(to, words, args...)
	}
	r.database(&s.world, shared)
	r.tailSteps(&s.world, shared)
	if s.tail == tailMayStore {
		to := *s
		to.tail = tailIdle
		to.found = stored{r.at(&s.world, s.pos).value, s.epoch, s.seq, r.readAt(s.pos)}
		out.add(to, "tail: stores the document of %d", s.pos)
	}
	if s.found.epoch != 0 {
		to := *s
		to.found = stored{}
		out.add(to, "cache: the entry is evicted")
	}
	if s.negative.epoch != 0 {
		to := *s
		to.negative = stored{}
		out.add(to, "cache: the negative is evicted")
	}
	r.frontSteps(s, out)
	r.fillSteps(s, out)
	r.callSteps(s, out)
}

// fillSteps follow fill.go and validator/read.go: epoch, seq, floor, read,
// store. The guards left out change the order.
func (r *rules) fillSteps(s *fine, out *steps[fine]) {
	to := *s
	f := &to.fill
	switch f.at {
	case fillIdle:
		f.at, f.epoch = fillHasEpoch, s.epoch
		out.add(to, "fill: loads epoch %d", f.epoch)
	case fillHasEpoch:
		f.at = fillHasTwo
		if r.has(floorLoadedLast) && r.has(seqBeforeRead) {
			f.seq = s.seq
			out.add(to, "fill: loads seq %d", f.seq)
			return
		}
		f.floor = s.floor
		out.add(to, "fill: loads floor %d", f.floor)
	case fillHasTwo:
		if !r.has(seqBeforeRead) {
			r.fillReads(s, out)
			return
		}
		f.at = fillHasTicket
		if r.has(floorLoadedLast) {
			f.floor = s.floor
			out.add(to, "fill: loads floor %d", f.floor)
			return
		}
		f.seq = s.seq
		out.add(to, "fill: loads seq %d", f.seq)
	case fillHasTicket:
		r.fillReads(s, out)
	case fillHasRead:
		if !r.has(seqBeforeRead) {
			f.at, f.seq = fillHasAll, s.seq
			out.add(to, "fill: loads seq %d", f.seq)
			return
		}
		r.fillStores(s, out)
	case fillHasAll:
		r.fillStores(s, out)
	}
}

func (r *rules) fillReads(s *fine, out *steps[fine]) {
	from, until := r.snapshots(&s.world, s.fill.floor)
	for time := from; time <= until; time++ {
		to := *s
		n := r.at(&s.world, time)
		to.fill.at, to.fill.floor, to.fill.value, to.fill.read = fillHasRead, 0, n.value, r.readAt(time)
		words, args := readWords(n, time)
		out.add(to, "fill: "+words, args...)
	}
}

// readWords describe what a read finds.
func readWords(n *node, time uint8) (string, []uint8) {
	if n.value == absent {
		return "reads snapshot %d: no such key", []uint8{time}
	}
	return "reads snapshot %d: document %c", []uint8{time, documentLetter(n.owner)}
}

// fillStores stores, and passes the result to the caller that waits.
func (r *rules) fillStores(s *fine, out *steps[fine]) {
	to := *s
	e := stored{s.fill.value, s.fill.epoch, s.fill.seq, s.fill.read}
	words := "fill: stores nothing, its epoch %d is odd"
	if !isOdd(e.epoch) || !r.parity() {
		words = "fill: stores what it read, with epoch %d and seq %d"
		if e.value == absent {
			to.negative = e
		} else {
			to.found = e
		}
	}
	to.fill = flightState{}
	if s.call.at != waits {
		out.add(to, words, e.epoch, e.seq)
		return
	}
	if !r.has(revalidation) {
		to.call = caller{}
		out.answer(answerShared, to, r.violation(&s.world, e.value, s.call.fresh, s.call.arrival, s.com),
			"caller: uses the result of the shared read")
		return
	}
	to.call.at, to.call.entry = revalidateBegun, e
	out.add(to, words, e.epoch, e.seq)
}
