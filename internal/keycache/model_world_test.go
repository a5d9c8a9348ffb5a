package keycache_test

// The world that all models share: a log of writes to two documents that have one
// hash in turn, how much of the log a majority has, and the tail.

// Which document has the hash. A collection that does not exist is not the same as
// a collection without the hash: "no" would be wrong.
const (
	noDocument uint8 = iota
	docA
	docB
	missing
)

// write is a kind of log entry. Each represents all writes that look the same to the cache: an
// update that moves the hash away shows the document alone, as a delete does; one that moves it
// back shows the hash, as an insert does whose document happens not to be stored.
type write uint8

const (
	start write = iota
	update
	replace
	vanish
	appear
	handOver
	dropAll
	create
	unrelated
	// refuse is an update whose event says that the key is off; enable is one that switches it on
	// again, and looks like any other.
	refuse
	enable
	// refuseOther is a refuse of a document that does not have the hash.
	refuseOther
)

// event is what the stream shows of a log entry.
type event struct {
	doc         uint8
	hash, whole bool
	// off: the event says that the key is off.
	off bool
}

// node is a log: the entries on the way from its root. Cluster time t is the
// t-th entry.
type node struct {
	kind  write
	owner uint8
	// value is the state of the hash, named by the node that made it; absent: none.
	value uint8
	// rest is the state of everything but the switch, named in the same way. off: the switch is off.
	rest uint8
	off  bool
	// dropped is the time at which the collection vanished, if it is missing.
	dropped  uint8
	depth    uint8
	path     [maxWrites + 1]uint8
	events   []event
	children []uint8
}

const (
	maxWrites = 3
	absent    = 0
)

// history is the tree of all logs. Nodes have numbers, so a whole log is one
// byte of a state. Number 0 is no node, since it means absent.
type history struct {
	nodes []node
	roots []uint8
}

// newHistory makes all logs of so many of these writes, from a start at which A has
// the hash and from one at which no document has it.
func newHistory(writes int, kinds ...write) *history {
	h := &history{nodes: make([]node, 1)}
	allowed := map[write]bool{}
	for _, kind := range kinds {
		allowed[kind] = true
	}
	for _, owner := range []uint8{docA, noDocument} {
		root := h.grow(0, start, owner)
		h.roots = append(h.roots, root)
		h.extend(root, writes, allowed)
	}
	if len(h.nodes) > 256 {
		panic("more logs than fit a byte")
	}
	return h
}

func (h *history) extend(at uint8, writes int, allowed map[write]bool) {
	if writes == 0 {
		return
	}
	var children []uint8
	grow := func(kind write, owner uint8) {
		if allowed[kind] {
			children = append(children, h.grow(at, kind, owner))
		}
	}
	switch owner := h.nodes[at].owner; owner {
	case docA, docB:
		grow(update, owner)
		grow(refuse, owner)
		if h.nodes[at].off {
			grow(enable, owner)
		}
		grow(replace, owner)
		grow(vanish, noDocument)
		if owner == docB {
			grow(refuseOther, owner)
		}
		grow(handOver, docA+docB-owner)
		grow(dropAll, missing)
	case noDocument:
		grow(appear, docA)
		grow(appear, docB)
		grow(refuseOther, owner)
		grow(dropAll, missing)
	case missing:
		grow(create, noDocument)
	}
	grow(unrelated, h.nodes[at].owner)
	h.nodes[at].children = children
	for _, child := range children {
		h.extend(child, writes-1, allowed)
	}
}

func (h *history) grow(parent uint8, kind write, owner uint8) uint8 {
	from := h.nodes[parent]
	n := node{kind: kind, owner: owner, value: from.value, rest: from.rest, off: from.off, dropped: from.dropped, path: from.path}
	number := uint8(len(h.nodes))
	if kind != start {
		n.depth = from.depth + 1
	}
	n.path[n.depth] = number
	switch {
	case kind == unrelated, kind == refuseOther:
	case owner == docA || owner == docB:
		n.value = number
	default:
		n.value = absent
	}
	switch kind {
	case unrelated, refuseOther:
	case refuse, enable:
		n.off = kind == refuse
	default:
		n.rest, n.off = n.value, from.off && kind == update
	}
	if kind == dropAll {
		n.dropped = n.depth
	}
	switch kind {
	case refuse:
		n.events = []event{{doc: owner, off: true}}
	case refuseOther:
		n.events = []event{{doc: docA, off: true}}
	case update, enable, vanish:
		n.events = []event{{doc: from.owner}}
	case replace, appear:
		n.events = []event{{doc: owner, hash: true, whole: true}}
	case handOver:
		// One transaction, one cluster time, two events.
		n.events = []event{{doc: from.owner}, {doc: owner, hash: true, whole: true}}
	default:
	}
	h.nodes = append(h.nodes, n)
	return number
}

func (h *history) words(n uint8) string {
	return [...]string{
		start: "starts", update: "updates %c, which does not show the hash",
		replace: "replaces %c", vanish: "deletes %c, or moves its hash away",
		appear: "inserts %c with the hash", handOver: "gives the hash to %c in a transaction",
		dropAll: "drops the collection", create: "creates the collection",
		unrelated: "writes something else",
		refuse:    "switches %c off", enable: "switches %c on again",
		refuseOther: "switches %c off, which does not have the hash",
	}[h.nodes[n].kind]
}

// subject is the document in words, as a letter.
func (h *history) subject(n uint8) uint8 {
	from := h.nodes[n]
	if from.kind == vanish || from.kind == refuseOther {
		return documentLetter(from.events[0].doc)
	}
	return documentLetter(from.owner)
}

func documentLetter(doc uint8) uint8 { return 'A' - docA + doc }

// world is the shared part of a state.
type world struct {
	// log is what the primary has applied, com how much of it a majority has.
	log, com uint8
	// pos is how much of the log the stream has delivered, sub how many events
	// of the entry after it, done what the instance may report as processed.
	pos, sub, done uint8
	tail           uint8
	epoch, seq     uint8
	floor, fresh   uint8
	byID           [2]uint8
	byHash         uint8
	// refusal is the only place of the table.
	refusal noted
	// notified is the time of the last drop that the tail has received. It is not
	// processed: a loss moves neither floor nor processed.
	notified uint8
	losses   uint8
}

// The tail's position within a change, or within an open.
const (
	tailIdle uint8 = iota
	tailBegun
	tailCounted
	tailNoted
	tailStamped
	tailMayStore
	tailLost
	tailOpened
	tailHalfOpen
)

func (h *history) begin() []world {
	var all []world
	for _, root := range h.roots {
		all = append(all, world{log: root, tail: tailLost, epoch: 1})
	}
	return all
}

func (r *rules) at(w *world, time uint8) *node {
	return &r.history.nodes[r.history.nodes[w.log].path[time]]
}

func (r *rules) applied(w *world) uint8 { return r.history.nodes[w.log].depth }

// snapshots is the range of times that a read may see.
func (r *rules) snapshots(w *world, floor uint8) (from, to uint8) {
	from, to = floor, w.com
	if !r.has(afterClusterTime) {
		from = 0
	}
	if !r.has(majority) {
		to = r.applied(w)
	}
	return from, to
}

// arrival is what the instance knew when a caller arrived.
type arrival struct{ since, notified uint8 }

// violation returns what is wrong with the answer that the hash has this value, with an age that
// covers fresh. until is the last state that counts: the majority's.
func (r *rules) violation(w *world, value, fresh uint8, a arrival, until uint8) string {
	bound := max(fresh, a.since)
	for time := bound; time <= until; time++ {
		n := r.at(w, time)
		if n.owner != missing && n.value == value {
			return ""
		}
		// A read may find nothing because the collection has just been dropped. That
		// is no valid "no" once the instance knows, unless it has been created again.
		gone := r.at(w, r.applied(w)).owner == missing
		if n.owner == missing && value == absent && (!gone || n.dropped > max(bound, a.notified)) {
			return ""
		}
	}
	switch {
	case r.existed(w, value, until+1, r.applied(w)):
		return "the answer is a state that no majority has"
	case value == absent && a.notified > a.since:
		return "the answer is no, although the instance had received the drop of the collection"
	case fresh > a.since:
		return "the answer is older than the reported age"
	default:
		return "the answer is older than what the instance had processed when the caller arrived"
	}
}

func (r *rules) existed(w *world, value, from, to uint8) bool {
	for time := from; time <= to; time++ {
		if r.at(w, time).value == value {
			return true
		}
	}
	return false
}

// stepWorld adds a step of the world.
type stepWorld func(to world, words string, args ...uint8)

// database writes, and replicates writes to a majority.
func (r *rules) database(w *world, add stepWorld) {
	for _, child := range r.history.nodes[w.log].children {
		to := *w
		to.log = child
		add(to, "writer: "+r.history.words(child), r.history.subject(child))
	}
	if w.com < r.applied(w) {
		to := *w
		to.com++
		add(to, "database: a majority has the log up to %d", to.com)
	}
}

func isOdd(epoch uint8) bool { return epoch&1 == 1 }
