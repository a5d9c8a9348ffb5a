package preload

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/keytail/keytail/internal/keycache"
)

// errTooLarge: the collection cannot fit, by the smallest size a key can have.
var errTooLarge = errors.New("the collection has more keys than the cache can hold")

// plan says when to scan next, and how. It remembers how the last scan ended.
type plan struct {
	config *Config
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
	cache := p.config.Cache
	if !cache.Trusted() {
		return 0, false
	}
	if cache.Epoch() != p.epoch {
		// Nothing that is held is believed: begin with an empty generation.
		return keycache.ScanAnew, true
	}
	if now.Before(p.notBefore) {
		return 0, false
	}
	stats := cache.Stats()
	switch {
	case p.lazy:
		// It may fit by now.
		return keycache.ScanAside, !now.Before(p.due)
	case p.evicted > 0 || (!stats.Complete && stats.Evictions > 0):
		return keycache.ScanAside, true
	case !stats.Complete || stats.MovedShare > p.config.MovedShare:
		return keycache.ScanInPlace, true
	default:
		return keycache.ScanInPlace, !now.Before(p.due)
	}
}

// ended takes note of how a scan went.
func (p *plan) ended(epoch uint64, kind keycache.ScanKind, err error) {
	now := time.Now()
	p.epoch = epoch
	p.due = now.Add(spread(p.config.AuditInterval))
	p.notBefore = now
	switch {
	case err == nil:
		p.evicted, p.lazy = 0, false
		if kind == keycache.ScanAside {
			p.notBefore = now.Add(p.config.RebuildPause)
		}
	case errors.Is(err, errTooLarge):
		p.lazy = true
	case errors.Is(err, keycache.ErrScanEvicted):
		p.evicted++
		p.lazy = p.evicted >= rebuildsInARow
		p.notBefore = now.Add(p.config.RebuildPause)
	case errors.Is(err, keycache.ErrScanLost), errors.Is(err, keycache.ErrScanVoid):
		// Again at once, when the stream has its history.
	default:
		p.notBefore = now.Add(spread(p.config.RetryPause))
	}
}

// spread adds a jitter, so that a fleet that was started together does not scan
// together for ever.
func spread(d time.Duration) time.Duration {
	return d + time.Duration(jitter*(2*rand.Float64()-1)*float64(d))
}
