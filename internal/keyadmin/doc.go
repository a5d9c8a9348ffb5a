// Package keyadmin makes, changes and ends keys for people, in the user's own
// collection, and keeps an audit of it.
//
// Where the server has transactions a write and its line of the audit are in one,
// so that neither is there without the other. Elsewhere the line is written first:
// what happened has a line, always, and a line that says what did not happen is
// taken back when that is certain.
//
// After a write whose outcome nobody knows (managedkey.UnknownError), the line tells
// too: with transactions it is there exactly if the write has happened, and without
// them at least then.
package keyadmin
