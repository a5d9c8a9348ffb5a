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
	comparedAfterGet
	dropsAreStamps
	freshFirstInRevalidate
	freshBeforeTicket
	inspected
	completeBeforeGet
	completeEpoch
	counterWithEviction
	counterBeforeScan
	streamPastScan
	coveredStays
	completeBeforeSwap
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
		evictionCounter:        "complete: the eviction counter",
		comparedAfterGet:       "complete: the counter compared after Get",
		dropsAreStamps:         "complete: drops that are stamps",
		freshFirstInRevalidate: "freshAsOf first in the checks after a shared fill",
		freshBeforeTicket:      "freshAsOf before the ticket of a read alone",
		inspected:              "the inspection of the collection after a read without history",
		completeBeforeGet:      "complete: loaded before Get",
		completeEpoch:          "complete: its epoch",
		counterWithEviction:    "complete: the counter moves before the entry is gone",
		counterBeforeScan:      "complete: the counter loaded before the scan's first store",
		streamPastScan:         "complete: published once the stream has passed the scan's last read",
		coveredStays:           "an entry that a scan has covered has no deadline",
		completeBeforeSwap:     "complete: published before the swap",
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
	// ticks is how often MaxAge passes.
	ticks uint8
}

func (r *rules) has(g guard) bool { return r.without != g }

// parity reports whether odd epochs are refused. If the epoch does not move at
// open, the number does not distinguish a lost history from an open stream, so
// this check is left out with it.
func (r *rules) parity() bool { return r.has(oddNotStored) && r.has(epochAtOpen) }
