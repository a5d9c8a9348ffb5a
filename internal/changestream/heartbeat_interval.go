package changestream

import (
	"math/rand/v2"
	"time"
)

// The heartbeats of a large fleet (docs/scale.md).
const (
	// heartbeatPerInstance times the number of instances is the interval of a large fleet: all of
	// it together writes 200 heartbeats a second, up to the longest interval. Each of them is a
	// write that a majority acknowledges, and an oplog entry that the stream of every instance
	// passes over.
	heartbeatPerInstance = 5 * time.Millisecond
	// longestIntervalParts divides max_stale: the interval never grows beyond that part. Then a
	// heartbeat can take all of its time (max_stale/MaxStaleParts) and fail, and the next one
	// still arrives before answers from the cache stop.
	longestIntervalParts = 5
	// intervalJitter is the share by which an interval that follows the fleet may be shorter. When a
	// primary steps down, all instances open their streams and send a heartbeat at the same moment;
	// without jitter they would go on at the same moment, because the interval is counted from it.
	// Shorter, never longer: the interval is part of the age of answers.
	intervalJitter = 0.1
)

// HeartbeatInterval is the time between two heartbeats of each instance of a fleet of this size:
// DefaultHeartbeatInterval or a third of maxStale, whichever is shorter, and in a large fleet 5 ms
// for each instance, up to a fifth of maxStale. The staleness of answers is at most that and a round
// trip. instances below 1 counts as 1.
func HeartbeatInterval(instances int, maxStale time.Duration) time.Duration {
	least := min(DefaultHeartbeatInterval, maxStale/MaxStaleParts)
	return max(least, min(time.Duration(instances)*heartbeatPerInstance, maxStale/longestIntervalParts))
}

// Interval is the current time between two heartbeats. Safe for concurrent use.
func (h *Heartbeater) Interval() time.Duration { return h.config.interval() }

// interval is the configured one, or that of the fleet.
func (c *HeartbeaterConfig) interval() time.Duration {
	if c.Interval != 0 {
		return c.Interval
	}
	instances := 1
	if c.Instances != nil {
		instances = c.Instances()
	}
	return HeartbeatInterval(instances, c.MaxStale)
}

// pause is the time until the next heartbeat: the interval, and up to a tenth less in a fleet whose
// interval is not configured.
func (h *Heartbeater) pause() time.Duration {
	interval := h.Interval()
	if h.config.Interval != 0 || h.config.Instances == nil || h.config.Instances() < 2 {
		return interval
	}
	return interval - time.Duration(rand.Float64()*intervalJitter*float64(interval))
}
