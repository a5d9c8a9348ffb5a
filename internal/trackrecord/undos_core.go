package main

const (
	pkgKeycache  = "./internal/keycache"
	pkgPreload   = "./internal/preload"
	pkgTail      = "./internal/changestream"
	pkgValidator = "./internal/validator"
)

// coreUndos are repairs of the packages that decide whether a key is valid.
var coreUndos = []undo{
	{
		name: "frozen-primary",
		edits: []edit{{
			"internal/validator/linearizable.go",
			"v.config.Store.FindLinearizable(ctx, hash)",
			"v.config.Store.FindByHash(ctx, hash, 0)",
		}},
		pkg: pkgValidator, test: "TestWithoutAMajorityAStaleInstanceIsUnavailable", shows: "got VALID",
	},
	{
		name: "collection-came-back",
		edits: []edit{{
			"internal/validator/read.go",
			"if document, found, err = read(); err == nil && !found {",
			"if false {",
		}},
		pkg: pkgValidator, test: "TestARecreatedCollectionIsReadAgain", shows: "NOT_FOUND of a key that was never gone",
	},
	{
		name: "scan-published-early",
		edits: []edit{{
			"internal/preload/scan.go",
			"if err := p.waitFreshAfter(ctx, now); err != nil {\n\t\treturn fmt.Errorf(\"the change stream did not pass the time of the scan",
			"_ = now\n\tif err := error(nil); err != nil {\n\t\treturn fmt.Errorf(\"the change stream did not pass the time of the scan",
		}},
		pkg: pkgPreload, test: "TestAHashThatMovesBehindTheCursorIsNotUnknown", shows: "a hash that was never absent is known to be absent",
	},
	{
		name: "read-before-index-check",
		edits: []edit{{
			"internal/preload/scan.go",
			"after = max(after, now)",
			"_ = now",
		}},
		pkg: pkgPreload, test: "TestAScanReadsNothingFromBeforeTheIndexCheck", shows: "and the index was seen at",
	},
	{
		name: "scans-after-losses",
		edits: []edit{{
			"internal/preload/plan.go",
			"latest(p.requested.spread, p.firstScanPace.earliest(since))",
			"p.requested.spread",
		}},
		pkg: pkgPreload, test: "TestManyLossesCauseFewScans", shows: "600 scans in ten minutes",
	},
	{
		name: "ambiguous-beside-marker",
		edits: []edit{{
			"internal/keycache/ownership.go",
			"if known && ended {",
			"_ = ended\n\tif known && !c.lookUp(g, g.complete.Load(), &h).valid {",
		}},
		pkg: pkgKeycache, test: "TestAnAmbiguousReadEndsWhatTheBaseSaysAboutTheOwner", shows: "want a miss, got {Found:true",
	},
	{
		name: "overlay-of-an-open-base",
		edits: []edit{{
			"internal/keycache/overlay.go",
			"if g.open.Load() && c.overlay.get(h) != nil {",
			"if false {",
		}},
		pkg: pkgKeycache, test: "TestTheAuditEndsAnEntryOfTheOverlayOfAnOpenBase", shows: "want a miss, got {Found:true",
	},
	{
		name: "index-being-built",
		edits: []edit{{
			"internal/keycache/scan_add.go",
			"if s.conflictsWithCache(&h, f.ID, other) {",
			"if false {",
		}},
		pkg: pkgKeycache, test: "TestAScanWithAnIndexInvalidatesAHashThatASecondDocumentHas", shows: "three documents have the hash, and one of them is the answer",
	},
	{
		name: "marker-kept-back",
		edits: []edit{{
			"internal/keycache/front.go",
			"if len(s.base.kept) > 0 {",
			"if false {",
		}},
		pkg: pkgKeycache, test: "TestAMarkerIsStoredBeforeTheFrontEnds", shows: "the era has moved, and the base has no marker yet",
	},
	{
		name: "ended-list-overflow",
		edits: []edit{{
			"internal/keycache/overlay.go",
			"return !c.namesOwner(g, value, h) || g.ended.Load().has(h)",
			"return value == nil || g.ended.Load().has(h)",
		}},
		pkg: pkgKeycache, test: "TestAuditsOfManyDuplicatesDoNotEndTheBase", shows: "want a hit for \"u1\", got a miss",
	},
	{
		name: "suspended-clock",
		edits: []edit{{
			"internal/keycache/freshness.go",
			"return max(to.Sub(from), wall, 0)",
			"_ = wall\n\treturn max(to.Sub(from), 0)",
		}},
		pkg: pkgKeycache, test: "TestSuspendIsAnAge", shows: "data from before the suspend are used after it",
	},
	{
		name: "processed-of-a-lost-history",
		edits: []edit{{
			"internal/changestream/loss.go",
			"t.token, t.newest, t.fruitless = nil, 0, 0",
			"t.token, t.fruitless = nil, 0",
		}},
		pkg: pkgTail, test: "TestCollectionScopeATokenAheadOfTheLogIsALoss", shows: "as processed, a time of the lost history",
	},
	{
		name: "error-of-the-driver",
		edits: []edit{{
			"internal/changestream/loss.go",
			"case code != 0 && known.class != classTransient",
			"case known.class != classTransient",
		}},
		pkg: pkgTail, test: "TestWhichErrorsAreLosses", shows: "the driver's own, without a code: got",
	},
	{
		name: "overtaken-heartbeat",
		edits: []edit{{
			"internal/changestream/chain.go",
			"bson.E{Key: fieldSeq, Value: bson.D{{Key: \"$lt\", Value: b.seq}}}, ",
			"",
		}},
		pkg: pkgTail, test: "TestAHeartbeatThatIsOvertakenKeepsTheHistory/devmongo", shows: "does not hold its last acknowledged heartbeat",
	},
	{
		name: "request-of-an-outage",
		edits: []edit{{
			"internal/changestream/catchup.go",
			"if wasDown && c.startedAt.IsZero() && c.giveUp != nil {",
			"if wasDown && false {",
		}},
		pkg: pkgTail, test: "TestARequestThatAnOutageLeftHangingIsNoLoss/database", shows: "Reason:catch_up_too_slow",
	},
	{
		name: "resumed-by-the-driver",
		edits: []edit{{
			"internal/changestream/stream.go",
			"if id != s.cursor && id != 0 {",
			"if false {",
		}, {
			"internal/changestream/tail_test.go",
			"const patience = 20 * time.Second",
			"const patience = 8 * time.Second",
		}},
		pkg: pkgTail, test: "TestResumesByTheDriverAreCountedAndPaced/database", shows: "it is not counted",
	},
	{
		name: "unknown-type-onto-the-keys",
		edits: []edit{{
			"internal/changestream/interpret.go",
			"case e.renamedTo == schema.Collection:",
			"case false:",
		}},
		pkg: pkgTail, test: "TestEventsThatAreLosses/unknown_type_onto_the_collection", shows: "got \"\", want \"unknown_event_type\"",
	},
	{
		name: "cursor-of-one-batch",
		edits: []edit{{
			"internal/changestream/stream.go",
			"if got && id == 0 && s.cursor != 0 {",
			"if false {",
		}},
		pkg: pkgTail, test: "TestACursorThatEndsWithItsFirstBatchProvesNothing", shows: "fresh 1 times by a cursor that was opened after the heartbeat",
	},
	{
		name: "slow-majority",
		edits: []edit{{
			"internal/changestream/tracker.go",
			"return proves && m.isOverdue(since, now, limit)",
			"return (proves || true) && m.isOverdue(since, now, limit)",
		}},
		pkg: pkgTail, test: "TestAStreamIsNotOverdueBeforeItsPositionsProve", shows: "overdue although no heartbeat was sent over the cursor",
	},
	{
		name: "first-loss-invisible",
		edits: []edit{{
			"internal/changestream/metrics.go",
			"for _, reason := range reasons {",
			"for _, reason := range reasons[:0] {",
		}},
		pkg: pkgTail, test: "TestSeriesExistFromTheStart", shows: "keytail_losses_total: 0 series",
	},
	{
		name: "malformed-part-of-an-update",
		edits: []edit{{
			"internal/changestream/event.go",
			"return nil, v.Type == bson.TypeNull",
			"return nil, true",
		}},
		pkg: pkgTail, test: "TestEventsThatCannotBeDecoded", shows: "removedFields of a type: got",
	},
	{
		name: "short-document-in-an-event",
		edits: []edit{{
			"internal/changestream/event.go",
			"if raw.Validate() != nil {",
			"if false {",
		}},
		pkg: pkgTail, test: "TestEventsThatCannotBeDecoded", shows: "Call of bsoncore.Value.Document on invalid type",
	},
	{
		name: "malformed-resume-token",
		edits: []edit{{
			"internal/changestream/stream.go",
			"if t.token != nil && !isEncodable(t.token) {",
			"if false {",
		}},
		pkg: pkgTail, test: "TestATokenThatIsNotBSONIsALoss", shows: "not enough bytes available",
	},
}
