// Package events tells others what happened to this instance's truth: which key
// has changed, that history was lost, that the state is another one. It is for
// programs that act on a change without being asked, such as an API that cuts the
// open streams of a revoked key.
//
// An event is published after the cache has taken it in: whoever asks this
// instance about the key then is answered by the new truth.
//
// A subscriber gets every event from where it began, in order, or is told that it
// does not: by a Resync, a Loss, or the end of its subscription. After each of
// these three it must drop what it concluded from earlier answers and ask again,
// as at its start. Nothing is ever left out in silence.
//
// Publish does not wait, and allocates nothing. History is a ring of fixed size
// that all subscribers read from, each at a place of its own; a slow one has no
// buffer that could grow, and is cut when the ring has overtaken it.
package events
