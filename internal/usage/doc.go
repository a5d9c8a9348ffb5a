// Package usage keeps last_used and usage_count of keys up to date without a
// write for each request: uses are noted in memory, one entry a key, and written
// behind, every 10 s and at a stop, up to a thousand keys to a command.
//
// # Promises
//
//   - Touch does no I/O, takes no lock that all callers share, and allocates
//     nothing for a key that is noted already.
//   - Memory is bounded: at most twice Config.Most keys. Past that, uses of further
//     keys are counted as dropped.
//   - usage_count is never too high by what keytail does, and last_used never goes
//     back.
//   - A document whose fields are of another type is left as it is.
//   - A failure is not silent: it is logged when it begins, once a minute while it
//     lasts, and when it ends; Status, readyz and metrics show it.
//
// # A slow database
//
// A command has 3 s. One that times out is not sent again: its outcome is not
// known, so its counts are given up and its times wait for the next flush (see
// flush.go). The next command is half as large, down to one key, and the size
// grows again by a quarter whenever a whole batch took three quarters of its limit
// or less. If the time of a command is proportional to its size, the larger one
// still fits (1.25 * 0.75 < 1), so a growing batch does not cause time-outs; below
// four keys it grows by one, and may. On the way down from a thousand keys the
// counts of at most two thousand are given up.
//
// The last flush has 5 s, and its commands 1 s: a third of the size that is known
// to work is sent, and several attempts fit if nothing is known yet.
//
// # Non-promises
//
//   - A crash loses what was not written: at most one interval (and a tenth, for
//     the jitter), or what has gathered while the database could not be written to.
//   - usage_count may be too low: by what a crash loses, by what did not fit, and by
//     a command whose outcome is not known (see flush.go).
//   - A write that was acknowledged by one node and is rolled back by an election is
//     lost. Nobody is let in or refused by these fields, so the wait for a majority
//     is not worth having.
//   - last_used is by the clock of the machine that answered.
//
// The change stream's filter leaves out updates of these two fields alone, so what
// is written here does not come back to any instance's cache.
package usage
