// Package keystore reads the documents that hold API keys. They live in a
// collection of the user's own, so every name of a collection or field, and the
// form of what is in it, comes from a Schema, and every document goes through
// Schema.Decode, whether a find or a change event brought it. Forms are declared
// and never guessed: Survey says what a collection looks like, to people.
//
// Reading has two promises. A read that is asked to be no older than a cluster
// time is not older, however it is routed (Store.FindByHash). And a document
// that cannot be read as a key is never an error and never a yes: it becomes a
// record with a Defect, which decides as DISABLED.
//
// Absent and null: hash and user id are required, so their absence is a defect.
// The switch is required where it is a boolean that has to say yes. Where it
// marks what is off (negated, no-date) a document without the mark is on: such
// fields are written when a key is turned off, and asked for with {$ne: true}. The
// price is that a wrong name turns nothing off, so a start warns when no document
// has the field. All other roles are optional, in a document and in a Schema.
//
// Assumed of the collection, and checked by Store.Prepare: it is a plain
// collection with the simple collation, some of its documents can be looked up,
// and a unique index on the hash makes "the document with this hash" a name of
// one document.
//
// The index may be dropped later. Nothing tells of that, so every read by hash asks
// for two documents, and two are DISABLED whatever they say; an IndexWatch tells
// people. validator/DESIGN.md argues both.
package keystore
