package keycache_test

// The tail, one store after the other, in the order of change.go and epoch.go.

// tailSteps are the tail's next steps. Storing a document is left to the model,
// which has the entries.
func (r *rules) tailSteps(w *world, add stepWorld) {
	switch w.tail {
	case tailIdle:
		r.deliver(w, add)
		r.freshen(w, w.pos, add)
		if w.losses < r.losses && w.sub == 0 {
			to := *w
			to.losses++
			r.lose(&to)
			add(to, "tail: the history is lost; epoch := %d", to.epoch)
		}
	case tailBegun, tailCounted, tailNoted, tailStamped:
		r.change(w, add)
	case tailLost, tailOpened, tailHalfOpen:
		r.open(w, add)
	}
}

// deliver begins with the next event, if a majority has it.
func (r *rules) deliver(w *world, add stepWorld) {
	if w.pos >= w.com {
		return
	}
	to := *w
	switch n := r.at(w, w.pos+1); {
	case n.kind == dropAll:
		to.notified = w.pos + 1
		r.lose(&to)
		add(to, "tail: event %d, the collection is dropped; epoch := %d", to.notified, to.epoch)
	case len(n.events) == 0:
		to.pos++
		to.done = to.pos
		add(to, "tail: no event of the hash at %d", to.pos)
	case r.has(floorBeforeSeq):
		r.raise(&to, w.pos+1)
		to.tail = tailBegun
		add(to, "tail: event %d of %c; floor := %d", w.pos+1, documentLetter(n.events[w.sub].doc), to.floor)
	default:
		to.seq++
		to.tail = tailBegun
		add(to, "tail: event %d of %c; seq := %d", w.pos+1, documentLetter(n.events[w.sub].doc), to.seq)
	}
}

// change goes on with an event: seq, byID, byHash.
func (r *rules) change(w *world, add stepWorld) {
	to := *w
	e := r.at(w, w.pos+1).events[w.sub]
	if !r.has(stampsBeforeFresh) && w.tail != tailBegun {
		r.freshen(w, w.pos+1, add)
	}
	switch {
	case w.tail == tailBegun && r.has(floorBeforeSeq):
		to.seq++
		to.tail = tailCounted
		add(to, "tail: seq := %d", to.seq)
	case w.tail == tailBegun:
		r.raise(&to, w.pos+1)
		to.tail = tailCounted
		add(to, "tail: floor := %d", to.floor)
	case w.tail == tailCounted && e.off && r.refusals:
		r.note(&to, e.doc)
		to.tail = tailNoted
		add(to, "tail: notes that number %d refuses %c, after %d", to.refusal.seq, documentLetter(e.doc), to.refusal.steps[0].prev)
	case w.tail == tailCounted, w.tail == tailNoted:
		to.byID[r.slot(e.doc)] = to.seq
		to.tail = tailStamped
		if !e.hash {
			r.applyEnds(&to)
		}
		add(to, "tail: byID[%c] := %d", documentLetter(e.doc), to.seq)
	default:
		to.byHash = to.seq
		r.applyEnds(&to)
		add(to, "tail: byHash := %d", to.seq)
		if e.whole {
			to.tail = tailMayStore
			add(to, "tail: byHash := %d, and is about to store the document", to.seq)
		}
	}
}

// applyEnds: the change is processed when its last stamp is stored.
func (r *rules) applyEnds(w *world) {
	w.tail = tailIdle
	w.sub++
	if int(w.sub) == len(r.at(w, w.pos+1).events) {
		w.sub = 0
		w.pos++
		w.done = w.pos
	}
}

// freshen: a heartbeat that was sent when a majority had the log up to pos has
// arrived. An older one proves less, so it need not be modelled.
func (r *rules) freshen(w *world, pos uint8, add stepWorld) {
	covered := min(pos, w.com)
	if covered <= w.fresh {
		return
	}
	to := *w
	to.fresh = covered
	add(to, "tail: freshAsOf covers %d", to.fresh)
}

func (r *rules) lose(w *world) {
	if r.has(epochAtLoss) && (!isOdd(w.epoch) || !r.has(epochAtOpen)) {
		w.epoch++
	}
	// The position of the lost stream has no meaning any more.
	w.pos, w.sub, w.tail = w.done, 0, tailLost
}

// open: the stream, the floor, the epoch. The collection is inspected after the
// stream exists, and a missing one is rejected.
func (r *rules) open(w *world, add stepWorld) {
	to := *w
	switch {
	case w.tail == tailLost:
		to.pos = r.applied(w)
		to.tail = tailOpened
		add(to, "tail: opens a stream, which begins after %d", to.pos)
	case w.tail == tailOpened && r.at(w, r.applied(w)).owner == missing:
		to.pos, to.tail = to.done, tailLost
		add(to, "tail: the collection is missing, the stream is given up")
	case w.tail == tailOpened && !r.has(floorAtOpen):
		r.bump(&to)
		r.opened(&to)
		add(to, "tail: epoch := %d, open", to.epoch)
	case w.tail == tailOpened && r.has(floorBeforeEpoch):
		r.raise(&to, w.pos)
		to.tail = tailHalfOpen
		add(to, "tail: floor := %d", to.floor)
	case w.tail == tailOpened:
		r.bump(&to)
		to.tail = tailHalfOpen
		add(to, "tail: epoch := %d", to.epoch)
	case r.has(floorBeforeEpoch):
		r.bump(&to)
		r.opened(&to)
		add(to, "tail: epoch := %d, open", to.epoch)
	default:
		r.raise(&to, w.pos)
		r.opened(&to)
		add(to, "tail: floor := %d, open", to.floor)
	}
}

func (r *rules) opened(w *world) { w.tail, w.done = tailIdle, w.pos }

func (r *rules) raise(w *world, time uint8) { w.floor = max(w.floor, time) }

func (r *rules) bump(w *world) {
	if r.has(epochAtOpen) && isOdd(w.epoch) {
		w.epoch++
	}
}
