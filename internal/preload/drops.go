package preload

import (
	"time"

	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/keycache"
)

const (
	// quietTime without a dropped refresh is the end of a bulk change: longer than the time between two
	// batches of events.
	quietTime = 500 * time.Millisecond
	// measureInterval is the least time between two measurements of the share of keys that need a read,
	// each of which takes some milliseconds.
	measureInterval = time.Second
	// longestWait limits for how long a rebuild waits for the end of a bulk change: a collection that is
	// changed all the time needs one, too.
	longestWait = 10 * time.Second
)

// drops decides whether refreshes that were dropped are worth a scan: a bulk change of many keys
// fills the queue of refreshes, and each key that did not fit into it costs the next request for it a
// read. Its state belongs to the Loader's goroutine.
type drops struct {
	config *Config
	logger *zap.Logger
	// dropped is how many refreshes had been dropped when the last scan began, covered when the last
	// complete one did: a scan reads what was dropped before it.
	dropped, covered uint64
	// rest is the share that the last complete scan has left: keys that were deleted.
	rest float64
	// seen is how many had been dropped at the last look, and changed when that number last rose.
	seen    uint64
	changed time.Time
	// busy is when a bulk change was last seen to go on, and began when this one began.
	busy, began time.Time
	// worth is the result of the last measurement, at measured.
	worth    bool
	measured time.Time
}

// scanBegins notes what a scan that begins now will cover.
func (d *drops) scanBegins() { d.dropped = d.config.Cache.Stats().RefreshesDropped }

// scanEnded notes that a scan has ended. Entries of deleted keys stay in a generation that is scanned
// in place. They need a read before and after a scan, so they are no reason for one. What was dropped
// during the scan is not told from them, so that is not measured then.
func (d *drops) scanEnded(kind keycache.ScanKind, complete bool) {
	d.worth = false
	if !complete {
		return
	}
	d.covered = d.dropped
	if kind != keycache.ScanInPlace {
		d.rest = 0
		return
	}
	if stats := d.config.Cache.Stats(); stats.RefreshesDropped == d.covered && stats.RefreshesWaiting == 0 {
		d.rest = d.config.Cache.OutdatedShare()
	}
}

// look notes whether more refreshes were dropped since the last look, or many wait.
func (d *drops) look(s *situation) {
	dropped := s.RefreshesDropped != d.seen
	if dropped {
		d.seen, d.changed = s.RefreshesDropped, s.now
	}
	if !dropped && float64(s.RefreshesWaiting) <= d.config.OutdatedShare*float64(s.Entries) {
		return
	}
	if s.now.Sub(d.busy) >= quietTime {
		d.began = s.now
	}
	d.busy = s.now
}

// goOn reports whether a bulk change goes on, and has not for too long: what a scan reads before its end
// is outdated soon, and the next optional scan must wait.
func (d *drops) goOn(now time.Time) bool {
	return now.Sub(d.busy) < quietTime && now.Sub(d.began) < longestWait
}

// areWorthAScan reports whether refreshes were dropped since the last complete scan began, no more of them
// are being dropped, and the share of keys that need a read, and for which no refresh waits, exceeds
// OutdatedShare. While refreshes are dropped all the time, a scan would be outdated when it ends.
func (d *drops) areWorthAScan(s *situation) bool {
	if s.RefreshesDropped == d.covered || (!d.worth && s.now.Sub(d.changed) < quietTime) {
		return false
	}
	if s.now.Sub(d.measured) < measureInterval {
		return d.worth
	}
	waiting := float64(s.RefreshesWaiting) / float64(max(1, s.Entries+s.Overlay))
	share, before := d.config.Cache.OutdatedShare()-d.rest-waiting, d.worth
	d.worth, d.measured = share > d.config.OutdatedShare, s.now
	if d.worth && !before {
		d.logger.Info("more keys changed at once than were read again, so that many need a read on their next request: all keys are read again",
			zap.Float64("share", share), zap.Uint64("dropped", s.RefreshesDropped-d.covered))
	}
	return d.worth
}
