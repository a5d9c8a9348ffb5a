package preload

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/keycache"
)

// errTooLarge: the collection cannot fit, by the smallest size a key can have.
var errTooLarge = errors.New("the collection has more keys than the cache can hold")

// reason says why a scan is asked for. It is a metric's label.
type reason string

const (
	reasonNewEpoch   reason = "new_epoch"    // the stream has been opened
	reasonAudit      reason = "audit"        // the last scan was long ago
	reasonLazy       reason = "lazy"         // the same, and the last one could not make the cache complete
	reasonMoved      reason = "many_changes" // too many unknown keys cost a read
	reasonEvicted    reason = "evicted"      // live entries were pushed out
	reasonIncomplete reason = "incomplete"   // an event did not show all of its hashes
	reasonFailed     reason = "failed"       // the last scan did not get to its end
)

// reasons are all there are.
func reasons() []reason {
	return []reason{reasonNewEpoch, reasonAudit, reasonLazy, reasonMoved, reasonEvicted, reasonIncomplete, reasonFailed}
}

// repairs reports whether the scan is asked for by what happens to the collection
// or to another scan, and not by the plan itself. Those are paced.
func (r reason) repairs() bool {
	return r != reasonNewEpoch && r != reasonAudit && r != reasonLazy
}

// request is a scan that is asked for, since when.
type request struct {
	kind  keycache.ScanKind
	why   reason
	since time.Time
}

// plan says when to scan next, and how. It remembers how the last scan ended.
type plan struct {
	config  *Config
	logger  *zap.Logger
	metrics *metrics
	// epoch is that of the last scan that was begun, zero before the first.
	epoch uint64
	// due is when the next scan of this epoch is due at the latest.
	due time.Time
	// notBefore holds back a scan that something asks for earlier.
	notBefore time.Time
	// evicted counts the scans in a row that failed since entries were pushed
	// out; lazy is set at rebuildsInARow, and until a scan succeeds.
	evicted int
	lazy    bool
	// failed: the last scan did not get to its end, for a reason of its own.
	failed bool
	pace   pace
	firsts firsts
	// asked is the scan that is asked for now. Zero: none is.
	asked request
	// said: the log has been told that asked must wait.
	said bool
}

// next waits until a scan is due. False: ctx has ended.
func (p *plan) next(ctx context.Context) (keycache.ScanKind, bool) {
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		if kind, ok := p.now(time.Now()); ok {
			return kind, true
		}
		select {
		case <-ctx.Done():
			return 0, false
		case <-ticker.C:
		}
	}
}

// now says whether a scan is due at this time.
func (p *plan) now(now time.Time) (keycache.ScanKind, bool) {
	kind, why := p.wanted(now)
	if why != p.asked.why {
		p.asked, p.said = request{kind, why, now}, false
		if why != "" {
			p.metrics.requests.WithLabelValues(string(why)).Inc()
		}
	}
	wait := max(0, p.earliest(why).Sub(now))
	p.metrics.pause.Set(wait.Seconds())
	if wait > 0 && !p.said {
		p.said = true
		p.logger.Info("a scan of the collection is asked for soon after the last one, it is put off", zap.String("reason", string(why)), zap.Duration("wait", wait))
	}
	return kind, why != "" && wait == 0
}

// earliest is when the scan that is asked for may begin. Zero: at once.
func (p *plan) earliest(why reason) time.Time {
	if why == "" {
		return time.Time{}
	}
	if why == reasonNewEpoch {
		return p.firsts.earliest(p.asked.since)
	}
	if next := p.pace.earliest(p.asked.since); why.repairs() && next.After(p.notBefore) {
		return next
	}
	return p.notBefore
}

// wanted is the scan that the state of the cache asks for, whenever it may begin.
// An empty reason: none.
func (p *plan) wanted(now time.Time) (keycache.ScanKind, reason) {
	cache := p.config.Cache
	if !cache.Trusted() {
		return 0, ""
	}
	if cache.Epoch() != p.epoch {
		// Nothing that is held is believed: begin with an empty generation.
		return keycache.ScanIntoEmpty, reasonNewEpoch
	}
	stats, due := cache.Stats(), !now.Before(p.due)
	switch {
	case p.lazy && due:
		// It may fit by now.
		return keycache.ScanAside, reasonLazy
	case p.lazy:
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

// ended takes note of how a scan went.
func (p *plan) ended(epoch uint64, kind keycache.ScanKind, err error) {
	now := time.Now()
	p.epoch = epoch
	p.due = now.Add(spread(p.config.AuditInterval))
	p.notBefore, p.failed = now, false
	p.pace.scanned(now, p.asked.why.repairs())
	if p.asked.why == reasonNewEpoch {
		p.firsts.scanned(now)
	}
	p.asked = request{}
	switch {
	case err == nil:
		p.evicted, p.lazy = 0, false
		if kind == keycache.ScanAside {
			p.notBefore = now.Add(p.config.RebuildPause)
		}
	case errors.Is(err, errTooLarge), errors.Is(err, errOpaque):
		// The same again, until somebody changes something.
		p.lazy = true
	case errors.Is(err, keycache.ErrScanEvicted):
		p.evicted++
		p.lazy = p.evicted >= rebuildsInARow
		p.notBefore = now.Add(p.config.RebuildPause)
	case errors.Is(err, keycache.ErrScanLost), errors.Is(err, keycache.ErrScanUnreadable):
		// Again, when the stream has its history, and as the pace allows.
	default:
		p.failed = true
		p.notBefore = now.Add(spread(p.config.RetryPause))
	}
}

// spread adds a jitter, so that a fleet that was started together does not scan
// together for ever.
func spread(d time.Duration) time.Duration {
	return d + time.Duration(jitter*(2*rand.Float64()-1)*float64(d))
}
