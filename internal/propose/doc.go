// Package propose reads documents of a collection and proposes a mapping for it:
// which field has which role, in which form, and what that guess is based on. It
// writes nothing to the database.
//
// Of a document it keeps types and shapes, and no value. A Proposal contains
// names of fields, types, counts and ids of documents, and nothing else. With one
// known key (KnownKey) it looks for the document of that key, so that the hash is
// found and not guessed.
package propose
