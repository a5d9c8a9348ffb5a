// Package usage keeps last_used and usage_count of keys up to date without a
// write for each request: it records uses in memory, one entry for each key,
// and writes them in the background, with up to a thousand keys in a command.
//
// A flush writes the keys that are due, every 10 s in a small fleet (FlushInterval).
// A key is due when it was not written within its interval (KeyInterval): 3 s for each
// instance of the fleet, from a minute to an hour. Both intervals have a jitter of
// a half. So the first use of a key after a while is written within 15 s, and
// last_used of a key in constant use is at most one and a half key intervals, and one and
// a half flush intervals, late. usage_count is the sum of all uses, and as late. A stop
// writes all that waits.
//
// usage.go has the Recorder; interval.go how often a key is written; record.go
// the uses in memory; flush.go and batch.go write them; status.go reports
// failures.
//
// # Guarantees
//
//   - Record does no I/O, takes no lock that all callers share, and allocates
//     nothing for a key that has an entry already.
//   - Memory is bounded: at most twice Config.MaxPending keys. Beyond that,
//     uses of further keys are counted as dropped.
//   - Nothing that keytail does makes usage_count too high, and last_used never
//     goes back.
//   - A document whose fields have another type is left unchanged.
//   - A failure is visible: it is logged when it begins, once a minute while it
//     lasts, and when it ends; Status, readyz and metrics show it.
//
// # A slow database
//
// A command has 3 s. A command that times out is not sent again: its outcome is
// unknown, so its counts are dropped and its times wait for the next flush (see
// flush.go). The next command is half as large, down to one key. The size grows
// again by a quarter whenever a whole batch took three quarters of its limit or
// less. If the time of a command is proportional to its size, the larger
// command still fits (1.25 * 0.75 < 1), so a growing batch does not cause
// time-outs; below four keys it grows by one key, and may cause one. While the
// size shrinks from a thousand keys, the counts of at most two thousand keys
// are dropped.
//
// The last flush has 5 s, and its commands 1 s: a command contains a third of
// the size that is known to work, and there is time for several attempts if no
// size is known to work yet.
//
// # What is not guaranteed
//
//   - A crash loses the uses that were not written: of each key those of at most
//     one and a half KeyIntervals, or those recorded while the database could not be
//     written to.
//   - usage_count may be too low: by what a crash loses, by uses that were
//     dropped, and by a command whose outcome is unknown (see flush.go).
//   - A write that one node acknowledged and that an election rolls back is
//     lost. No verdict depends on these fields, so waiting for a majority is
//     not worth its cost.
//   - last_used is the time of the clock of the machine that answered.
//
// The change stream's filter leaves out updates of only these two fields, so
// these writes do not reach the cache of any instance.
package usage
