package preload

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/timing"
)

// errTooLarge means that the collection cannot fit into the cache, even with
// the smallest size that a key can have.
var errTooLarge = errors.New("the collection has more documents than the cache can hold keys")

// request is a scan that was requested.
type request struct {
	*cause
	// kind is what the cause required at the last look.
	kind keycache.ScanKind
	// since is when it was requested. spread is the time before which it does not begin, so that the
	// instances of a fleet do not scan at once.
	since, spread time.Time
}

// plan decides when to scan next, and how. It remembers how the last scan
// ended.
type plan struct {
	config  *Config
	logger  *zap.Logger
	metrics *metrics
	causes  []cause
	drops   drops
	// lastScan is how long the last complete scan took, zero before the first.
	lastScan func() time.Duration
	// epoch is the epoch of the last scan that was begun, zero before the
	// first.
	epoch uint64
	// due is when the next scan of this epoch is due at the latest.
	due time.Time
	// notBefore delays a scan that is requested earlier.
	notBefore time.Time
	// onDemand means that the collection does not fit: keys are read on demand
	// until a scan succeeds. fits means that an audit has found that it fits now.
	onDemand, fits bool
	// outgrown means that an audit has seen too many new keys. noRoom means that
	// a second base did not fit beside the one in use.
	outgrown, noRoom bool
	// failed means that the last scan did not reach its end, for a reason that
	// is not one of the others.
	failed        bool
	repairPace    repairPace
	firstScanPace firstScanPace
	// optionalNext is when the next optional scan may begin.
	optionalNext time.Time
	// requested is the scan that is requested now. Its cause is nil if there is none.
	requested request
	// logged means that the delay of the requested scan has been logged.
	logged bool
}

func newPlan(config *Config, logger *zap.Logger, m *metrics, lastScan func() time.Duration) *plan {
	return &plan{
		config: config, logger: logger, metrics: m, causes: causes(), lastScan: lastScan,
		drops: drops{config: config, logger: logger}, repairPace: repairPace{longest: config.RebuildPause, random: config.Random},
	}
}

// waitForScan waits until a scan is due. False: ctx has ended.
func (p *plan) waitForScan(ctx context.Context) (keycache.ScanKind, bool) {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		if kind, ok := p.dueAt(time.Now()); ok {
			p.drops.scanBegins()
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
	required := p.requiredScan(now)
	if required != p.requested.cause {
		p.request(required, now)
	}
	if required == nil {
		p.metrics.pause.Set(0)
		return 0, false
	}
	p.requested.kind = required.kind(p)
	wait := max(0, p.earliest().Sub(now))
	p.metrics.pause.Set(wait.Seconds())
	if wait > 0 && !p.logged {
		p.logged = true
		p.logger.Info("a scan of the collection is delayed, because the last one was a short time ago or other instances scan, too",
			zap.String("reason", string(required.why)), zap.Duration("wait", wait), zap.Int("instances", p.config.Instances()))
	}
	return p.requested.kind, wait == 0
}

// request notes that this scan is required from now on. Nil: none is.
func (p *plan) request(required *cause, now time.Time) {
	last := p.requested
	p.requested, p.logged = request{cause: required, since: now, spread: last.spread}, false
	if required == nil {
		p.requested.spread = time.Time{}
		return
	}
	p.metrics.requests.WithLabelValues(string(required.why)).Inc()
	if required.urgency == scheduled {
		return
	}
	// One cause that follows another one does not delay the scan once more. A new epoch does, because it
	// begins on all instances at once.
	if last.spread.IsZero() || required.urgency == urgent {
		p.requested.spread = now.Add(spread(p.config.Instances(), p.lastScan(), p.config.Random()))
	}
}

// earliest returns when the requested scan may begin.
func (p *plan) earliest() time.Time {
	since := p.requested.since
	switch p.requested.urgency {
	case urgent:
		return latest(p.requested.spread, p.firstScanPace.earliest(since))
	case scheduled:
		return p.notBefore
	case repair:
		return latest(p.requested.spread, p.notBefore, p.repairPace.earliest(since))
	case optional:
		return latest(p.requested.spread, p.notBefore, p.repairPace.earliest(since), p.optionalNext)
	}
	return time.Time{}
}

// latest returns the latest of these times.
func latest(times ...time.Time) time.Time { return slices.MaxFunc(times, time.Time.Compare) }

// requiredScan returns why the state of the cache requires a scan, whenever it may begin. Nil: it
// requires none.
func (p *plan) requiredScan(now time.Time) *cause {
	s := &situation{now: now, Stats: p.config.Cache.Stats()}
	if !s.Trusted() {
		return nil
	}
	p.drops.look(s)
	for i := range p.causes {
		c := &p.causes[i]
		if (c.onDemand || !p.onDemand) && c.requires(p, s) {
			return c
		}
	}
	return nil
}

// isDue reports whether the last scan is so long ago that the next one is due.
func (p *plan) isDue(now time.Time) bool { return !now.Before(p.due) }

// ended records the result of the requested scan, of this epoch.
func (p *plan) ended(epoch uint64, err error) {
	now, scan := time.Now(), p.requested
	p.epoch = epoch
	p.due = now.Add(p.auditPause(scan.urgency))
	p.notBefore, p.failed, p.fits = now, false, false
	p.repairPace.scanned(now, scan.urgency == repair || scan.urgency == optional)
	switch scan.urgency {
	case urgent:
		p.firstScanPace.scanned(now)
	case optional:
		p.optionalNext = now.Add((optionalShare - 1) * p.lastScan())
	case scheduled, repair:
	}
	p.drops.scanEnded(scan.kind, err == nil)
	p.requested = request{}
	switch {
	case err == nil:
		p.onDemand, p.outgrown, p.noRoom = false, false, false
		if scan.kind == keycache.ScanAside {
			p.notBefore = now.Add(p.config.RebuildPause)
		}
	case errors.Is(err, errTooLarge), errors.Is(err, errTooManyHashes):
		// A new attempt would fail, too, until the collection changes.
		p.onDemand = true
	case errors.Is(err, keycache.ErrScanEvicted):
		p.noRoom = scan.kind == keycache.ScanAside
		p.onDemand = scan.kind != keycache.ScanAside
		p.notBefore = now.Add(p.config.RebuildPause)
	case errors.Is(err, keycache.ErrScanOutgrown):
		p.outgrown = true
	case errors.Is(err, keycache.ErrScanFits):
		p.fits = true
	case errors.Is(err, keycache.ErrScanLost), errors.Is(err, keycache.ErrScanUnreadable):
		// Scan again when the stream has its history, and when the pace allows
		// it.
	default:
		p.failed = true
		p.notBefore = now.Add(timing.JitterBy(p.config.Random, p.config.RetryPause, jitter))
	}
	if p.onDemand {
		p.fillOnDemand()
	}
}

// auditPause is the time from the end of a scan to the next audit. Audits follow one another with a
// tenth of jitter. After any other scan, which all instances of a fleet have made at about the same time,
// the audits are spread over a whole interval, which ends no later than that.
func (p *plan) auditPause(urgency urgency) time.Duration {
	interval := auditInterval(p.config.AuditInterval, p.config.Instances(), p.lastScan())
	if urgency == scheduled {
		return timing.JitterBy(p.config.Random, interval, jitter)
	}
	return time.Duration((jitter + p.config.Random()) * float64(interval))
}

// fillOnDemand gives the cache a base for the keys in use.
func (p *plan) fillOnDemand() {
	if err := p.config.Cache.FillOnDemand(); err != nil {
		p.logger.Error("the cache has no space for keys that are read on demand, so most requests read the database: restart keytail", zap.Error(err))
	}
}

// isRebuildWorthIt reports whether a new base is worth a scan.
func (p *plan) isRebuildWorthIt() bool {
	_, worth := p.config.Cache.Rebuild()
	return worth || p.outgrown
}

// orIntoEmpty is the kind of a scan, without a second base if that did not fit
// beside the one in use.
func (p *plan) orIntoEmpty(kind keycache.ScanKind) keycache.ScanKind {
	if kind == keycache.ScanAside && p.noRoom {
		return keycache.ScanIntoEmpty
	}
	return kind
}
