// Package usage keeps last_used and usage_count of keys up to date without a
// write for each request: uses are noted in memory, one entry a key, and written
// behind, every 10 s and at a stop, a thousand keys to a command.
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
