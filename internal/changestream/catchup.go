package changestream

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/guard"
	"github.com/keytail/keytail/internal/keycache"
)

// The bounds of catching up, each with its reason.
const (
	// DefaultMinCatchUp costs more than reading a small collection again (below a second for
	// 100,000 keys), and is long enough for a failover's backlog.
	DefaultMinCatchUp = 5 * time.Second
	// DefaultMaxCatchUp is the longest time for which every key is read from the database although
	// the database works. Past it, a scan of any length serves callers better.
	DefaultMaxCatchUp = time.Minute
	// scansPerCatchUp: catching up may take as long as this many scans.
	scansPerCatchUp = 2
	// maxRepeatedBound ends the doubling of the bound after losses that did not help: a scan every
	// ten minutes is no load.
	maxRepeatedBound = 10 * time.Minute
	// progressLogInterval is the minimum time between two log lines about progress.
	progressLogInterval = 5 * time.Second
)

// errCatchUpTooSlow is why a request was cancelled when the bound had passed.
var errCatchUpTooSlow = errors.New("catching up took longer than its bound")

// errOutageOver is why a request was cancelled that an outage may have left without an answer.
var errOutageOver = errors.New("the database acknowledges heartbeats again, so the request in progress was cancelled and is repeated")

// catchUp is the clock that limits how long the stream may stay behind although the database works
// (DESIGN.md, "Catching up"). It runs while the cache is older than max_stale, in steps from one
// acknowledged heartbeat to the next: an outage of the database does not count. Both the tail and
// the heartbeater move it.
type catchUp struct {
	// minBound, maxBound and lastScan make the bound, see Config.
	minBound, maxBound time.Duration
	lastScan           func() time.Duration
	// maxStale is the age past which the stream is behind.
	maxStale time.Duration
	// step returns the most that one acknowledgement adds to the clock.
	step   func() time.Duration
	now    func() time.Time
	logger *zap.Logger

	mutex sync.Mutex
	// since is the freshness of the cache; for a new stream, the time when it was opened. Zero:
	// the history is already lost, so there is nothing to catch up.
	since time.Time
	// position is how far in the oplog the stream is. acknowledgedTime is the operationTime of the
	// last acknowledged heartbeat.
	position, acknowledgedTime clustertime.Time
	// attemptSince is since when the stream is open, or being opened. Zero: it is not, because the
	// server refused to open it. earlierAttempts is the time of attempts before that, since the
	// last acknowledgement.
	attemptSince    time.Time
	earlierAttempts time.Duration
	// startedAt is when catching up began. Zero: the stream is not behind. spent is what the clock
	// shows, bound when it is too much, loggedAt the time of the last log line.
	startedAt, loggedAt time.Time
	spent, bound        time.Duration
	// repeatedLosses counts losses by this clock since the stream was last fresh.
	repeatedLosses int
	// lastAcknowledged is when a heartbeat was last acknowledged.
	lastAcknowledged time.Time
	// tooSlow is set when the bound has passed. giveUp cancels the request, or the pause, under
	// way, with errCatchUpTooSlow or errOutageOver. Nil: none.
	tooSlow bool
	giveUp  func(why error)
}

func newCatchUp(c *Config) *catchUp {
	heart := &c.Heartbeater.config
	return &catchUp{
		minBound: c.MinCatchUp, maxBound: c.MaxCatchUp, lastScan: c.LastScan,
		maxStale: heart.MaxStale,
		step:     func() time.Duration { return heart.interval() + heart.MaxStale/MaxStaleParts },
		now:      c.Now,
		logger:   c.Logger.Named("changestream"),
	}
}

// opened: a new stream delivers everything from now on.
func (c *catchUp) opened() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.stop()
	c.since = c.now()
}

// lost: the history is lost. There is nothing to catch up until a new stream is opened. If this
// clock causes one loss after another without freshness in between, each loss makes the next bound
// longer: scans do not help then.
func (c *catchUp) lost(reason Reason) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.stop()
	c.since, c.position, c.acknowledgedTime = time.Time{}, 0, 0 // the next history may have earlier times
	if reason == reasonCatchUp {
		c.repeatedLosses++
	}
}

// stop ends catching up. The caller holds the mutex.
func (c *catchUp) stop() {
	c.startedAt, c.spent, c.tooSlow = time.Time{}, 0, false
}

// attemptStarted: the stream is being opened, or resumed.
func (c *catchUp) attemptStarted() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.attemptSince.IsZero() {
		c.attemptSince = c.now()
	}
}

// openRefused: the server has refused to open the stream. The pause until the next attempt does
// not count: the server would refuse a new stream, too.
func (c *catchUp) openRefused() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if !c.attemptSince.IsZero() {
		c.earlierAttempts += c.now().Sub(c.attemptSince)
		c.attemptSince = time.Time{}
	}
}

// positionReached: everything up to this position in the oplog has been applied.
func (c *catchUp) positionReached(position clustertime.Time) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.position = max(c.position, position)
}

// fresh: the cache is as of this time.
func (c *catchUp) fresh(asOf time.Time) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if asOf.After(c.since) {
		c.since = asOf
	}
	if c.isBehind(c.now()) {
		return
	}
	c.repeatedLosses = 0
	if !c.startedAt.IsZero() {
		c.logger.Info("the change stream has caught up", zap.Duration("took", c.now().Sub(c.startedAt)))
	}
	c.stop()
}

func (c *catchUp) isBehind(now time.Time) bool { return keycache.Elapsed(c.since, now) > c.maxStale }

// acknowledged: a majority has accepted a heartbeat, as of this operationTime. It moves the clock.
// The first acknowledgement after an outage cancels the request in progress: otherwise a dead
// connection would be waited for until the bound has passed. Only the acknowledgement that starts
// the clock does so: where heartbeats are rare, no resume would ever finish otherwise.
func (c *catchUp) acknowledged(at clustertime.Time) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.acknowledgedTime = max(c.acknowledgedTime, at)
	now := c.now()
	step := c.step()
	wasDown := now.Sub(c.lastAcknowledged) > step
	c.lastAcknowledged = now
	active := c.earlierAttempts
	c.earlierAttempts = 0
	if !c.attemptSince.IsZero() {
		active += now.Sub(c.attemptSince)
		c.attemptSince = now
	}
	if c.since.IsZero() || c.tooSlow || !c.isBehind(now) {
		return
	}
	if wasDown && c.startedAt.IsZero() && c.giveUp != nil {
		c.giveUp(errOutageOver)
	}
	switch {
	case c.startedAt.IsZero():
		if !c.attemptSince.IsZero() {
			c.start(now)
		}
	default:
		c.spent += min(active, step)
		c.checkBound(now)
	}
}

// start starts the clock.
func (c *catchUp) start(now time.Time) {
	c.startedAt, c.loggedAt, c.spent = now, now, 0
	c.bound = c.currentBound()
	c.logger.Warn("the change stream is behind and is catching up; until then every key is read from the database",
		zap.Duration("behind", keycache.Elapsed(c.since, now)), zap.Duration("backlog", c.backlog()), zap.Duration("bound", c.bound))
}

// checkBound gives the stream up when the bound has passed, and logs the progress.
func (c *catchUp) checkBound(now time.Time) {
	if c.spent > c.bound && guard.CatchUpBound {
		c.tooSlow = true
		if c.giveUp != nil {
			c.giveUp(errCatchUpTooSlow)
		}
		return
	}
	if now.Sub(c.loggedAt) >= progressLogInterval {
		c.loggedAt = now
		c.logger.Info("the change stream is still catching up",
			zap.Duration("backlog", c.backlog()), zap.Duration("spent", c.spent), zap.Duration("bound", c.bound))
	}
}

// currentBound is how long catching up may take now.
func (c *catchUp) currentBound() time.Duration {
	bound := c.minBound
	if c.lastScan != nil {
		bound = min(max(scansPerCatchUp*c.lastScan(), c.minBound), c.maxBound)
	}
	for range c.repeatedLosses {
		if bound >= maxRepeatedBound {
			break
		}
		bound = min(2*bound, maxRepeatedBound)
	}
	return bound
}

// backlog is how far in the oplog the stream is behind the last acknowledged heartbeat, to the
// second. The caller holds the mutex.
func (c *catchUp) backlog() time.Duration {
	if c.acknowledgedTime <= c.position || c.position == 0 {
		return 0
	}
	return time.Duration(c.acknowledgedTime.Seconds()-c.position.Seconds()) * time.Second
}

// arm registers giveUp, to be called when the bound passes or an outage is over; if the bound has
// already passed, it is called immediately. disarm must be called before the next arm.
func (c *catchUp) arm(giveUp func(why error)) (disarm func()) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.giveUp = giveUp
	if c.tooSlow {
		giveUp(errCatchUpTooSlow)
	}
	return func() {
		c.mutex.Lock()
		defer c.mutex.Unlock()
		c.giveUp = nil
	}
}

// exceededErr is a loss when the bound has passed, else nil.
func (c *catchUp) exceededErr() error {
	c.mutex.Lock()
	slow := c.tooSlow
	c.mutex.Unlock()
	if !slow {
		return nil
	}
	return c.tooSlowLoss()
}

// tooSlowLoss is the loss of a stream that was given up because the bound has passed.
func (c *catchUp) tooSlowLoss() error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return lost(reasonCatchUp, fmt.Errorf("%w of %v, while heartbeats are acknowledged; the backlog is %v", errCatchUpTooSlow, c.bound, c.backlog()))
}

// progress is for the metrics: the backlog, and how long catching up has taken. Both are zero when
// the stream is not behind.
func (c *catchUp) progress() (backlog, took time.Duration) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.startedAt.IsZero() {
		return 0, 0
	}
	return c.backlog(), c.now().Sub(c.startedAt)
}
