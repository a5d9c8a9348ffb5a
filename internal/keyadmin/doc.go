// Package keyadmin creates, changes and deletes keys in the user's own collection,
// for administrators, and writes an audit: of changes, of reads (reads.go), and of
// requests that were refused (refusals.go). A caller that is bound to an owner reaches
// no other key (managedkey.Caller).
//
// If the server has transactions, a write and its audit entry are in one, so that
// neither exists without the other. Otherwise the entry is written first: every
// write has an entry, and the entry of a write that certainly did not happen is
// removed again.
//
// After a write with an unknown outcome (managedkey.UnknownError), the entry shows
// the outcome: with transactions it exists exactly if the write happened, and
// without them it exists at least then.
package keyadmin
