package preload

import (
	"time"

	"github.com/keytail/keytail/internal/keycache"
)

// reason is the name of a cause. It is a metric's label.
type reason string

const (
	reasonNewEpoch   reason = "new_epoch"         // the stream has been opened
	reasonLazy       reason = "lazy"              // the last scan was long ago, and could not make the cache complete
	reasonFailed     reason = "failed"            // the last scan did not reach its end
	reasonIncomplete reason = "incomplete"        // an event did not contain all of its hashes
	reasonRebuild    reason = "rebuild"           // too many keys have changed for what holds them beside the base
	reasonMoved      reason = "many_changes"      // too many unknown keys cost a read
	reasonDropped    reason = "refreshes_dropped" // too many keys cost a read
	reasonAudit      reason = "audit"             // the last scan was long ago
)

// urgency is how long a scan may be delayed (pace.go).
type urgency uint8

const (
	// urgent: until the scan, no key is in the cache.
	urgent urgency = iota
	// scheduled: the scan is due, and each instance has its own schedule.
	scheduled
	// repair: the cache is not complete, or the last scan has failed.
	repair
	// optional: the cache is complete, but more requests than usual need a read.
	optional
)

// cause is a reason for a scan, and which scan it requires.
type cause struct {
	why reason
	// kind is that of the scan.
	kind func(p *plan) keycache.ScanKind
	urgency
	// onDemand: it counts while keys are only read on demand, too.
	onDemand bool
	// requires reports whether it requires a scan now.
	requires func(p *plan, s *situation) bool
}

// situation is what causes look at.
type situation struct {
	now time.Time
	keycache.Stats
}

// causes are all causes. The first one that requires a scan decides. To add one, add it here, and to the
// table in DESIGN.md.
func causes() []cause {
	return []cause{
		// No entry of the last epoch is valid: begin with an empty generation.
		{reasonNewEpoch, intoEmpty, urgent, true, func(p *plan, s *situation) bool { return s.Epoch != p.epoch }},
		{reasonLazy, intoEmpty, scheduled, true, func(p *plan, _ *situation) bool { return p.fits }},
		// It may fit by now.
		{reasonLazy, inPlace, scheduled, true, func(p *plan, s *situation) bool { return p.onDemand && p.isDue(s.now) }},
		{reasonFailed, toRepair, repair, false, func(p *plan, s *situation) bool { return p.failed && !s.Complete }},
		{reasonIncomplete, toRepair, repair, false, func(_ *plan, s *situation) bool { return !s.Complete }},
		{reasonRebuild, toRebuild, optional, false, func(p *plan, s *situation) bool { return p.isRebuildWorthIt() && !p.drops.goOn(s.now) }},
		{reasonMoved, inPlace, optional, false, func(p *plan, s *situation) bool { return s.MovedShare > p.config.MovedShare }},
		{reasonDropped, toRenew, optional, false, func(p *plan, s *situation) bool { return p.drops.areWorthAScan(s) }},
		{reasonAudit, inPlace, scheduled, false, func(p *plan, s *situation) bool { return p.isDue(s.now) }},
	}
}

// The kinds of scans.
func intoEmpty(*plan) keycache.ScanKind   { return keycache.ScanIntoEmpty }
func inPlace(*plan) keycache.ScanKind     { return keycache.ScanInPlace }
func toRepair(p *plan) keycache.ScanKind  { return p.orIntoEmpty(p.config.Cache.RepairKind()) }
func toRebuild(p *plan) keycache.ScanKind { return p.orIntoEmpty(p.config.Cache.RebuildKind()) }

// toRenew is a scan that leaves the entries in use where they are, until it has ended.
func toRenew(p *plan) keycache.ScanKind {
	if kind := toRebuild(p); kind == keycache.ScanAside {
		return kind
	}
	return keycache.ScanInPlace
}
