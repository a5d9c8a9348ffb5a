package keycache_test

import (
	"flag"
	"testing"
)

// MODEL.md describes what is modelled, and what is not.

var fullModel = flag.Bool("model.full", false, "search the models of the cache with all bounds (some ten minutes, more than 16 GiB of memory)")

// everything is all kinds of writes; documents leaves out those that end the
// collection.
var (
	everything = []write{update, replace, vanish, appear, handOver, dropAll, create}
	documents  = []write{update, replace, vanish, appear, handOver}
	few        = []write{update, vanish, appear, handOver}
	withOthers = []write{update, vanish, appear, handOver, unrelated}
)

// bounds are one search of a model with all guards.
type bounds struct {
	name                                string
	full                                bool
	writes                              int
	kinds                               []write
	losses, evictions, swaps, rollbacks uint8
	ticks, ends                         uint8
	grows, refusals, oneSlot            bool
}

func (b *bounds) rules(without guard) *rules {
	return &rules{
		without: without, history: newHistory(b.writes, b.kinds...),
		losses: b.losses, evictions: b.evictions, swaps: b.swaps, rollbacks: b.rollbacks,
		ticks: b.ticks, grows: b.grows, ends: b.ends, refusals: b.refusals, oneSlot: b.oneSlot,
	}
}

// model is one of the models, and what it has to show.
type model struct {
	name   string
	search func(t *testing.T, r *rules) outcome
	// bounds are searched completely. tries are searched, in their order, until
	// leaving out a guard shows a violation.
	bounds, tries []bounds
	// answers are the kinds of answers that must occur.
	answers []kindOfAnswer
	guards  []guard
}

func models() []model {
	return append(refusalModels(), []model{{
		name:   "fine",
		search: func(t *testing.T, r *rules) outcome { return search(t, fineModel(r)) },
		bounds: []bounds{
			{name: "one write, a loss", writes: 1, kinds: everything, losses: 1},
			{name: "two writes", writes: 2, kinds: documents},
			{name: "two writes, a loss", full: true, writes: 2, kinds: everything, losses: 1},
		},
		tries: []bounds{
			{writes: 1, kinds: everything, losses: 1},
			{writes: 2, kinds: everything, losses: 1},
		},
		answers: []kindOfAnswer{answerHit, answerNegative, answerShared, answerAlone},
		guards: []guard{
			afterClusterTime, majority, seqBeforeRead, epochAtLoss, epochAtOpen, floorAtOpen, floorBeforeEpoch,
			floorLoadedLast, floorBeforeSeq, stampsBeforeFresh, freshFirst, revalidation, oddNotStored, byIDChecked,
			byHashChecked, freshFirstInRevalidate, freshBeforeTicket, inspected,
		},
	}, {
		name:   "front",
		search: func(t *testing.T, r *rules) outcome { return search(t, frontModel(r)) },
		bounds: []bounds{
			{name: "one update, an end", writes: 1, kinds: []write{update}, ends: 1},
			{name: "one update, a loss", writes: 1, kinds: []write{update}, losses: 1},
			{name: "one write, a loss", full: true, writes: 1, kinds: few, losses: 1},
			{name: "one write, a loss, an end", full: true, writes: 1, kinds: everything, losses: 1, ends: 1},
			{name: "two writes", full: true, writes: 2, kinds: documents},
		},
		tries: []bounds{
			{writes: 0, kinds: few, ends: 1},
			{writes: 1, kinds: few, losses: 1},
		},
		answers: []kindOfAnswer{answerHit, answerFront},
		guards: []guard{
			afterClusterTime, majority, seqBeforeRead, epochAtLoss, epochAtOpen, floorAtOpen, floorBeforeEpoch,
			floorLoadedLast, floorBeforeSeq, stampsBeforeFresh, freshFirst, byIDChecked,
			frontChecked, frontEra, eraAfterMarker, eraBeforeLookup,
		},
	}, {
		name:   "scan",
		search: func(t *testing.T, r *rules) outcome { return search(t, scanModel(r)) },
		bounds: []bounds{
			{name: "one write, a loss", writes: 1, kinds: few, losses: 1, evictions: 1},
			{name: "one write, time", writes: 1, kinds: few, evictions: 1, ticks: 1},
			{name: "a swap, time", writes: 0, kinds: few, swaps: 1, evictions: 1, ticks: 2},
			{name: "one write, a loss, a swap, time", full: true, writes: 1, kinds: few, losses: 1, swaps: 1, ticks: 1},
			{name: "one write, a swap", writes: 1, kinds: few, swaps: 1, evictions: 1},
			{name: "two writes that come and go", writes: 2, kinds: []write{vanish, appear}, evictions: 1},
			{name: "two writes", full: true, writes: 2, kinds: few, evictions: 1},
			{name: "one write, a loss, a swap", full: true, writes: 1, kinds: few, losses: 1, evictions: 1, swaps: 1},
			{name: "one write, larger slots", writes: 1, kinds: []write{update, appear}, swaps: 1, grows: true},
			{name: "two writes that come and go, larger slots", full: true, writes: 2, kinds: []write{vanish, appear}, swaps: 1, grows: true},
			{name: "two writes, a loss, nothing evicted", full: true, writes: 2, kinds: []write{vanish, appear}, losses: 1},
		},
		tries: []bounds{
			{writes: 1, kinds: few, losses: 1, evictions: 1},
			{writes: 2, kinds: few, evictions: 1},
			{writes: 1, kinds: few, swaps: 1, grows: true},
			{writes: 1, kinds: few, swaps: 1, evictions: 1, ticks: 1},
		},
		answers: []kindOfAnswer{answerHit, answerAbsence},
		guards: []guard{
			afterClusterTime, majority, epochAtLoss, epochAtOpen, floorAtOpen, floorBeforeEpoch, floorLoadedLast,
			floorBeforeSeq, stampsBeforeFresh, freshFirst, byIDChecked, completeStamp, completeByHash,
			evictionCounter, dropsAreStamps, completeBeforeGet, completeEpoch, streamPastScan, coveredStays,
			baseSealed, besideKnown, slotsBirth, birthAfterTables, stampAside, asideFirst, inUseBeforeGone,
		},
	}, {
		name:   "coarse",
		search: func(t *testing.T, r *rules) outcome { return search(t, coarseModel(r)) },
		bounds: []bounds{
			{name: "one write, a loss, a rollback", writes: 1, kinds: withOthers, losses: 1, evictions: 1, rollbacks: 1},
			{name: "two writes that come and go", writes: 2, kinds: []write{vanish, appear}, evictions: 1},
			{name: "two writes", full: true, writes: 2, kinds: few, evictions: 1},
			{name: "two writes, a rollback", full: true, writes: 2, kinds: withOthers, evictions: 1, rollbacks: 1},
			{name: "two writes, a loss", full: true, writes: 2, kinds: few, losses: 1, evictions: 1},
			{name: "three writes", full: true, writes: 3, kinds: few},
		},
		tries: []bounds{
			{writes: 1, kinds: withOthers, losses: 1, evictions: 1, rollbacks: 1},
			{writes: 2, kinds: few, evictions: 1, rollbacks: 1},
		},
		answers: []kindOfAnswer{answerHit, answerNegative, answerShared, answerAbsence},
		guards: []guard{
			afterClusterTime, majority, seqBeforeRead, epochAtLoss, epochAtOpen, floorAtOpen, revalidation,
			byIDChecked, byHashChecked, completeStamp, completeByHash, evictionCounter, dropsAreStamps,
			completeEpoch, streamPastScan, baseSealed, besideKnown,
		},
	}}...)
}

// TestModelHolds searches every interleaving within the bounds: no answer is a
// violation.
func TestModelHolds(t *testing.T) {
	for _, m := range models() {
		for _, b := range m.bounds {
			t.Run(m.name+"/"+b.name, func(t *testing.T) {
				if b.full && !*fullModel {
					t.Skip("only with -model.full")
				}
				if raceEnabled && (b.writes > 1 || b.swaps > 0) {
					t.Skip("too slow under the race detector, and there is nothing to race")
				}
				t.Parallel()
				f := m.search(t, b.rules(noGuard))
				t.Log(f.String(), f.answers)
				if f.wrong != "" {
					f.log(t)
					t.Fatal("a violation with all guards in place")
				}
				for _, kind := range m.answers {
					if f.answers[kind] == 0 {
						t.Errorf("no %v: the model shows nothing about them", kind)
					}
				}
			})
		}
	}
}

// TestModelNeedsEachGuard leaves out one guard at a time. Each time there is an
// interleaving that ends in a violation, and it is printed.
func TestModelNeedsEachGuard(t *testing.T) {
	for _, m := range models() {
		for _, g := range m.guards {
			t.Run(m.name+"/"+g.String(), func(t *testing.T) {
				if raceEnabled && g == streamPastScan {
					t.Skip("too slow under the race detector")
				}
				t.Parallel()
				tries := m.tries
				switch g {
				case streamPastScan:
					// A hash that returns to an earlier document needs two writes.
					tries = tries[1:]
				case refusalSettled, refusalOwner:
					tries = tries[1:]
				case refusalEpoch:
					tries = tries[2:]
				case slotsBirth, birthAfterTables, stampAside, asideFirst, inUseBeforeGone:
					tries = tries[2:3]
				case coveredStays:
					tries = tries[3:]
				default:
				}
				for _, b := range tries {
					if f := m.search(t, b.rules(g)); f.wrong != "" {
						f.log(t)
						return
					}
				}
				t.Error("no counterexample: the guard is not needed, or the model is too small")
			})
		}
	}
}
