// Package revocation ends long-running requests, such as open streams, when their
// key stops being valid. It does not depend on package auth, HTTP or MongoDB: a
// Watch has the id of a key, and a function that validates the key again.
//
// Guarantees. A Watch that was added with a mark from before its verdict misses no
// change that is reported to Watches (DESIGN.md has the proof). Run makes all
// rechecks in a bounded number of goroutines. A recheck that fails is repeated until
// one succeeds. A watch ends at the instant at which its key expires, also while Run
// is not running.
//
// Not guaranteed. Changes in quick succession can result in one recheck: a key that
// is disabled and enabled again in between keeps its watch. A change of a key that
// has no watch is not recorded.
package revocation
