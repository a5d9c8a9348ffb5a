// Package propose reads documents of a collection and proposes a mapping for it:
// which field has which role, in which form, and what that guess is based on. It
// writes nothing to the database.
//
// Of a document it keeps types and shapes, and no value. A Proposal contains
// names of fields, types, counts and ids of documents, and nothing else. With one
// known key (Config.Key) it looks for the document of that key, so that the hash is
// found and not guessed.
//
// # Files
//
//   - run.go: Run, from top to bottom; collections.go: which collection to read
//   - sample.go reads documents from both ends; observe.go: what a value shows;
//     names.go: what the name of a field says
//   - guess.go: how a field is chosen for a role; guess_hash.go, guess_switch.go and
//     guess_fields.go: the rules of each role; indexes.go: which fields have an index
//   - candidates.go: in which ways the hash of the known key can stand in a document;
//     known.go: the search for it, and the verdict
//   - proposal.go and yaml.go: the result, and the file for --config
package propose
