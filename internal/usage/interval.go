package usage

import "time"

// How often uses are written, by the size of the fleet (docs/scale.md).
const (
	// flushPerInstance times the number of instances is the time between two flushes of a large
	// fleet. When all of it starts at once, each instance writes all keys in use for the first time
	// in its first flush: 1,000 instances with 1,000 keys then make 10,000 writes a second, for
	// the first 100 s.
	flushPerInstance = 100 * time.Millisecond
	// longestFlushInterval is how late a use may be that no other one preceded.
	longestFlushInterval = 5 * time.Minute
	// keyIntervalPerInstance times the number of instances is the time between two writes of a key
	// by each instance. A key that all of them see all the time is then written once in three
	// seconds, by whichever instance, however many there are: 1,000 such keys are 333 writes a
	// second.
	keyIntervalPerInstance = 3 * time.Second
	// leastKeyInterval is for small fleets, where a write each ten seconds would be affordable and
	// would tell nobody more.
	leastKeyInterval = time.Minute
	// longestKeyInterval limits how late the times and counts of a busy key are. People ask in
	// days when a key was last used.
	longestKeyInterval = time.Hour
	// Jitter is the share of both intervals by which each one is shorter or longer. It is large, so
	// that the writes of instances that were started together, and of keys that were first used
	// together, are spread over the whole interval from the first one on.
	Jitter = 0.5
)

// FlushInterval is the time between two flushes of each instance of a fleet of this size:
// DefaultInterval, and 100 ms for each instance beyond a hundred, up to five minutes.
func FlushInterval(instances int) time.Duration {
	return min(max(DefaultInterval, time.Duration(instances)*flushPerInstance), longestFlushInterval)
}

// KeyInterval is the time between two writes of the use of one key by each instance of a fleet of
// this size: 3 s for each instance, from a minute to an hour.
func KeyInterval(instances int) time.Duration {
	return min(max(leastKeyInterval, time.Duration(instances)*keyIntervalPerInstance), longestKeyInterval)
}

// flushInterval is the configured one, or that of the fleet.
func (c *Config) flushInterval() time.Duration {
	if c.Interval != 0 {
		return c.Interval
	}
	return FlushInterval(c.Instances())
}

// keyInterval is the configured one, or that of the fleet.
func (c *Config) keyInterval() time.Duration {
	if c.KeyInterval != 0 {
		return c.KeyInterval
	}
	return KeyInterval(c.Instances())
}
