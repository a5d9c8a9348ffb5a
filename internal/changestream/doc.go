// Package changestream tails the change stream of the keys' database. It reports to the cache what
// has changed, in order, or that it can no longer know.
//
// One goroutine, the one that calls Tail.Run, owns the stream: it reads, applies, and reads again,
// with no queue in between. When the stream ends, the tail resumes it exactly after the last
// applied change, however long that takes. When that is impossible, it declares a loss and opens a
// new stream.
//
// A Heartbeater writes a small document into the same database. When the document arrives through
// the stream, it proves how fresh the cache is.
//
// DESIGN.md beside this file defines what counts as a loss and why.
package changestream
