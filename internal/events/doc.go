// Package events reports to subscribers what happened on this instance: a key changed,
// history was lost, the state changed. It is for programs that act on a change, such
// as an API that closes the open streams of a revoked key.
//
// An event is published after the cache has applied the change: a request to this
// instance that follows the event is answered with the new data.
//
// A subscriber receives every event since its start, in order, or is informed that it does not: by
// a Resync, a Loss, or the end of its subscription. After each of these three it must discard what
// it concluded from earlier answers and validate again, as at its start. No event is ever dropped
// silently.
//
// Publishing does not wait, and allocates nothing. History is a ring of fixed size.
// All subscribers read from it, each at its own position; a slow one has no buffer
// that could grow, and is disconnected when the ring has overtaken it.
package events
