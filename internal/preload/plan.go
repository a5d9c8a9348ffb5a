package preload

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/timing"
)

// errTooLarge means that the collection cannot fit into the cache, even with
// the smallest size that a key can have.
var errTooLarge = errors.New("the collection has more keys than the cache can hold")

// reason is why a scan is requested. It is a metric's label.
type reason string

const (
	reasonNewEpoch   reason = "new_epoch"    // the stream has been opened
	reasonAudit      reason = "audit"        // the last scan was long ago
	reasonLazy       reason = "lazy"         // the same, and the last scan could not make the cache complete
	reasonMoved      reason = "many_changes" // too many unknown keys cost a read
	reasonEvicted    reason = "evicted"      // valid entries were evicted
	reasonIncomplete reason = "incomplete"   // an event did not contain all of its hashes
	reasonFailed     reason = "failed"       // the last scan did not reach its end
)

// reasons returns all reasons.
func reasons() []reason {
	return []reason{reasonNewEpoch, reasonAudit, reasonLazy, reasonMoved, reasonEvicted, reasonIncomplete, reasonFailed}
}

// isRepair reports whether the scan is a repair: it is requested because of
// changes in the collection or a failed scan, not by the schedule. Repairs are
// paced.
func (r reason) isRepair() bool {
	return r != reasonNewEpoch && r != reasonAudit && r != reasonLazy
}

// request is a scan that was requested, and when.
type request struct {
	kind  keycache.ScanKind
	why   reason
	since time.Time
}

// plan decides when to scan next, and how. It remembers how the last scan
// ended.
type plan struct {
	config  *Config
	logger  *zap.Logger
	metrics *metrics
	// epoch is the epoch of the last scan that was begun, zero before the
	// first.
	epoch uint64
	// due is when the next scan of this epoch is due at the latest.
	due time.Time
	// notBefore delays a scan that is requested earlier.
	notBefore time.Time
	// evicted counts the scans in a row that failed because entries were
	// evicted; onDemand is set when it reaches rebuildsInARow, until a scan
	// succeeds: keys are then read on demand.
	evicted  int
	onDemand bool
	// failed means that the last scan did not reach its end, for a reason that
	// is not one of the others.
	failed        bool
	repairPace    repairPace
	firstScanPace firstScanPace
	// requested is the scan that is requested now. Zero: none.
	requested request
	// logged means that the delay of the requested scan has been logged.
	logged bool
}

// waitForScan waits until a scan is due. False: ctx has ended.
func (p *plan) waitForScan(ctx context.Context) (keycache.ScanKind, bool) {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		if kind, ok := p.dueAt(time.Now()); ok {
			return kind, true
		}
		select {
		case <-ctx.Done():
			return 0, false
		case <-ticker.C:
		}
	}
}

// dueAt returns whether a scan is due at this time.
func (p *plan) dueAt(now time.Time) (keycache.ScanKind, bool) {
	kind, why := p.requiredScan(now)
	if why != p.requested.why {
		p.requested, p.logged = request{kind, why, now}, false
		if why != "" {
			p.metrics.requests.WithLabelValues(string(why)).Inc()
		}
	}
	wait := max(0, p.earliest(why).Sub(now))
	p.metrics.pause.Set(wait.Seconds())
	if wait > 0 && !p.logged {
		p.logged = true
		p.logger.Info("a scan of the collection is delayed because the last one was a short time ago", zap.String("reason", string(why)), zap.Duration("wait", wait))
	}
	return kind, why != "" && wait == 0
}

// earliest returns when the requested scan may begin. Zero: immediately.
func (p *plan) earliest(why reason) time.Time {
	if why == "" {
		return time.Time{}
	}
	if why == reasonNewEpoch {
		return p.firstScanPace.earliest(p.requested.since)
	}
	if next := p.repairPace.earliest(p.requested.since); why.isRepair() && next.After(p.notBefore) {
		return next
	}
	return p.notBefore
}

// requiredScan returns the scan that the state of the cache requires, whenever
// it may begin. An empty reason: none.
func (p *plan) requiredScan(now time.Time) (keycache.ScanKind, reason) {
	cache := p.config.Cache
	if !cache.Trusted() {
		return 0, ""
	}
	if cache.Epoch() != p.epoch {
		// No entry of the last epoch is valid: begin with an empty generation.
		return keycache.ScanIntoEmpty, reasonNewEpoch
	}
	stats, due := cache.Stats(), !now.Before(p.due)
	switch {
	case p.onDemand && due:
		// It may fit by now.
		return keycache.ScanAside, reasonLazy
	case p.onDemand:
		return 0, ""
	case p.evicted > 0 || (!stats.Complete && stats.Evictions > 0):
		return keycache.ScanAside, reasonEvicted
	case !stats.Complete && p.failed:
		return keycache.ScanInPlace, reasonFailed
	case !stats.Complete:
		return keycache.ScanInPlace, reasonIncomplete
	case stats.MovedShare > p.config.MovedShare:
		return keycache.ScanInPlace, reasonMoved
	case due:
		return keycache.ScanInPlace, reasonAudit
	default:
		return 0, ""
	}
}

// ended records the result of a scan.
func (p *plan) ended(epoch uint64, kind keycache.ScanKind, err error) {
	now := time.Now()
	p.epoch = epoch
	p.due = now.Add(timing.Jitter(p.config.AuditInterval, jitter))
	p.notBefore, p.failed = now, false
	p.repairPace.scanned(now, p.requested.why.isRepair())
	if p.requested.why == reasonNewEpoch {
		p.firstScanPace.scanned(now)
	}
	p.requested = request{}
	switch {
	case err == nil:
		p.evicted, p.onDemand = 0, false
		if kind == keycache.ScanAside {
			p.notBefore = now.Add(p.config.RebuildPause)
		}
	case errors.Is(err, errTooLarge), errors.Is(err, errTooManyHashes):
		// A new attempt would fail, too, until the collection changes.
		p.onDemand = true
	case errors.Is(err, keycache.ErrScanEvicted):
		p.evicted++
		p.onDemand = p.evicted >= rebuildsInARow
		p.notBefore = now.Add(p.config.RebuildPause)
	case errors.Is(err, keycache.ErrScanLost), errors.Is(err, keycache.ErrScanUnreadable):
		// Scan again when the stream has its history, and when the pace allows
		// it.
	default:
		p.failed = true
		p.notBefore = now.Add(timing.Jitter(p.config.RetryPause, jitter))
	}
}
