// Package keycache decides what may be believed about an API key without
// asking the database. It is a byte store (bigcache) plus the stamps that say
// when a stored answer stopped being one.
//
// # Promises
//
//   - An answer of Get is a state that the key had at or after the answer's
//     AsOf, and at or after everything that the change stream had delivered
//     when Get was called.
//   - No interleaving of a database read with a change leaves an old value that
//     Get would return.
//   - An answer is not that of one document when another one with the same hash
//     refused before the answer's AsOf, even if the unique index is gone.
//   - Lose makes all that was cached before it unbelievable, in O(1).
//   - Within an epoch, what a scan has covered stays believed until it is changed or
//     pushed out, whether the cache is complete or not.
//   - Get takes no lock that all callers share, and does no I/O.
//
// # Non-promises
//
//   - No order between answers for different keys.
//   - An instance may skip intermediate states of a document.
//   - A write with w: 1 that is rolled back never happened.
//   - A machine restored from a memory snapshot may believe its old clock until
//     the freshness moves again.
//   - On a sharded cluster AsOf is only as good as the lag between shards.
//
// The order of the atomic loads and stores in epoch.go, change.go, fill.go and
// hit.go is the algorithm; DESIGN.md beside this file has the argument for it.
//
// keycache imports neither a MongoDB driver nor the package that tails the change
// stream. It is fed by Lose, Open and Apply, all from one goroutine, the owner of
// the stream, and by Fresh, which may be called from several.
package keycache
