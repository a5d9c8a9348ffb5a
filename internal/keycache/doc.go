// Package keycache answers from memory what the database contains about an API key, and never with
// an answer that is older than it reports. It is two byte stores (bigcache), the base that a scan
// fills and the overlay for what changes, plus the stamps that decide whether a stored answer is
// still valid.
//
// # Guarantees
//
//   - An answer of Get is a state that the key had at or after the answer's AsOf,
//     and at or after everything that the change stream had delivered when Get
//     was called.
//   - No interleaving of a database read with a change leaves an old value that
//     Get would return.
//   - If two documents have one hash, Get does not answer from one of them when
//     the other refused before the answer's AsOf, even without a unique index.
//   - Lose invalidates everything that was cached before it, in O(1).
//   - Within an epoch, an entry that a scan has covered stays valid until it is
//     changed or evicted, whether the cache is complete or not. Entries that no
//     change has touched since the scan are not evicted.
//   - A complete cache stays complete, however often keys change.
//   - Get takes no lock that all callers share, and does no I/O.
//
// # No guarantees
//
//   - There is no order between answers for different keys.
//   - An instance may skip intermediate states of a document.
//   - A write with w: 1 that is rolled back never happened.
//   - A machine restored from a memory snapshot may use its old clock until the
//     freshness moves again.
//   - On a sharded cluster AsOf is only as good as the lag between shards.
//
// The order of the atomic loads and stores in epoch.go, change.go, fill.go, get.go and scan.go is the
// algorithm. DESIGN.md beside this file proves it.
//
// front.go keeps the records of frequent keys decoded: a second place for the same entries.
//
// keycache imports neither a MongoDB driver nor the package that tails the change stream. One
// goroutine, the owner of the stream, feeds it with Lose, Open and Apply; several may call Fresh.
package keycache
