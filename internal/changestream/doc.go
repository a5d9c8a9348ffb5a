// Package changestream tails the change stream of the keys' database and tells
// the cache what has changed, in order, or that it can no longer know.
//
// One goroutine, the one that calls Tail.Run, owns the stream: it reads, applies,
// and reads again, with no queue between. When the stream ends it is resumed
// exactly after the last change that was applied, for as long as it takes; when
// that cannot be done, a loss is declared and a new stream is opened.
//
// A Heart writes a small document into the same database; its way back through
// the stream is what proves how fresh the cache is.
//
// DESIGN.md beside this file says what counts as a loss and why.
package changestream
