// Package revocation tells those who act for a key for longer than one answer, such as
// an open stream, when the key stops being valid. It knows no key, no HTTP and no
// database: a Watch is the id of a key, and a function that asks about it again.
//
// Promises. A Watch that was added with a mark from before its verdict misses no
// change that the Set is told of (DESIGN.md has the argument). Rechecks are made by
// a bounded number of goroutines, which Run owns. A recheck that does not know is
// made again until one does. An expiry is felt at its instant, with or without Run.
//
// Non-promises. Changes that follow each other quickly are one recheck: a key that
// is switched off and on again in between stays. Nothing is said about a key that
// changes while nobody watches it.
package revocation
