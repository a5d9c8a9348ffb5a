// Package keystore reads the documents that hold API keys. They live in a
// collection of the user's own, so every name of a collection or field comes
// from a Schema, and every document goes through Schema.Decode, whether a find
// or a change event brought it.
//
// Reading has two promises. A read that is asked to be no older than a cluster
// time is not older, however it is routed (Store.FindByHash). And a document
// that cannot be read as a key is never an error and never a yes: it becomes a
// record with a Defect, which decides as DISABLED.
//
// Assumed of the collection, and checked by Store.Prepare: it is a plain
// collection with the simple collation, and a unique index on the hash makes
// "the document with this hash" a name of one document.
package keystore
