package keycache_test

// guard is one of the rules of DESIGN.md that a model can leave out.
type guard uint8

const (
	noGuard guard = iota
	afterClusterTime
	majority
	seqBeforeRead
	epochAtLoss
	epochAtOpen
	floorAtOpen
	floorBeforeEpoch
	floorLoadedLast
	floorBeforeSeq
	stampsBeforeFresh
	freshFirst
	revalidation
	oddNotStored
	byIDChecked
	byHashChecked
	completeStamp
	completeByHash
	evictionCounter
	dropsAreStamps
	freshFirstInRevalidate
	freshBeforeTicket
	inspected
	completeBeforeGet
	completeEpoch
	baseSealed
	besideKnown
	slotsBirth
	birthAfterTables
	stampAside
	asideFirst
	inUseBeforeGone
	streamPastScan
	coveredStays
	frontChecked
	frontEra
	eraAfterMarker
	eraBeforeLookup
	refusalLast
	refusalAlone
	refusalSettled
	refusalOwner
	refusalEpoch
	freshFirstInRefusal
	guards
)

func (g guard) String() string {
	return [guards]string{
		noGuard:                "nothing",
		afterClusterTime:       "afterClusterTime",
		majority:               "majority",
		seqBeforeRead:          "seq0 before the read",
		epochAtLoss:            "epoch at loss",
		epochAtOpen:            "epoch at open",
		floorAtOpen:            "floor raised at open",
		floorBeforeEpoch:       "floor raised before the epoch at open",
		floorLoadedLast:        "floor loaded last in a fill",
		floorBeforeSeq:         "floor raised before seq",
		stampsBeforeFresh:      "stamps before freshAsOf",
		freshFirst:             "freshAsOf first in a hit",
		revalidation:           "the checks after a shared fill",
		oddNotStored:           "odd epochs not stored",
		byIDChecked:            "byID",
		byHashChecked:          "byHash",
		completeStamp:          "complete: its stamp",
		completeByHash:         "complete: byHash",
		evictionCounter:        "complete: nothing was evicted during the scan",
		dropsAreStamps:         "complete: drops that are stamps",
		freshFirstInRevalidate: "freshAsOf first in the checks after a shared fill",
		freshBeforeTicket:      "freshAsOf before the ticket of a read alone",
		inspected:              "the inspection of the collection after a read without history",
		completeBeforeGet:      "complete: loaded before Get",
		completeEpoch:          "complete: its epoch",
		baseSealed:             "complete: the base is not written to again",
		besideKnown:            "complete: hashes that a scan in place sees and the base does not hold",
		slotsBirth:             "slots: older entries are not valid by larger tables",
		birthAfterTables:       "slots: the tail has the tables before their birth is loaded",
		stampAside:             "slots: changes are stamped in the tables aside, too",
		asideFirst:             "slots: the tail loads the generation aside before the one in use",
		inUseBeforeGone:        "slots: a generation is in use before it is aside no longer",
		streamPastScan:         "complete: published once the stream has passed the scan's last read",
		coveredStays:           "an entry that a scan has covered has no deadline",
		frontChecked:           "front: the checks of a hit",
		frontEra:               "front: its era",
		eraAfterMarker:         "front: the era moved after the marker is stored",
		eraBeforeLookup:        "front: the era loaded before the lookup",
		refusalLast:            "refusal: the last change in its slot",
		refusalAlone:           "refusal: the only change since the entry",
		refusalSettled:         "refusal: after the entry's read",
		refusalOwner:           "refusal: of the entry's document",
		refusalEpoch:           "refusal: of the entry's epoch",
		freshFirstInRefusal:    "freshAsOf first in a refusal",
	}[g]
}

// rules are the bounds of a model and the guard that it leaves out.
type rules struct {
	without guard
	history *history
	// losses is how often the stream may lose its history without a cause in the
	// data. A dropped collection is a loss in addition.
	losses uint8
	// evictions and swaps bound the scan model, rollbacks the coarse one.
	evictions, swaps, rollbacks uint8
	// grows: a new generation may have larger slot tables.
	grows bool
	// ticks is how often MaxAge passes.
	ticks uint8
	// front adds the front to the fine model, ends is how often an entry ends without a stamp.
	front bool
	ends  uint8
	// refusals: an event that says that the key is off answers for the entry that it invalidates.
	// oneSlot: the two documents share a slot of byID.
	refusals, oneSlot bool
}

func (r *rules) has(g guard) bool { return r.without != g }

// parity reports whether odd epochs are refused. If the epoch does not move at
// open, the number does not distinguish a lost history from an open stream, so
// this check is left out with it.
func (r *rules) parity() bool { return r.has(oddNotStored) && r.has(epochAtOpen) }
