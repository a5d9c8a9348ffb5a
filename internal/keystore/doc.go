// Package keystore reads and writes the documents that hold API keys. The
// documents are in a collection that belongs to the user. A Schema therefore
// names the collection and its fields and declares the form of their values,
// and every document goes through Schema.Decode, whether a find or a change
// event delivered it. keytail does not guess forms: they are declared, and a
// Survey describes the contents of a collection.
//
// # Guarantees
//
// A read that must not be older than a cluster time is not older, whichever
// server it goes to (Store.FindByHash). And a document that cannot be read as a
// key never causes an error and is never VALID: it becomes a record with a
// Defect, and such a record is DISABLED.
//
// # Absent fields and null
//
// Hash and user id are required, so their absence is a defect. The active
// switch is required in its boolean form, in which true means "on". In the
// forms that mark a key as off (negated, no-date), a document without the mark
// is on: programs write such a field when they turn a key off, and query it
// with {$ne: true}. The drawback is that a wrong field name turns no key off,
// so keytail warns at its start when no document has the field. All other roles
// are optional, in a document and in a Schema.
//
// # Requirements
//
// Store.Prepare checks the collection: it is a plain collection with the simple
// collation, a lookup can find some of its documents, some key can be used
// unless the operator gave the forms that decide that, and a unique index on the
// hash ensures that each hash has at most one document.
//
// The index may be dropped later. No change event reports that, so every read
// by hash requests two documents. If it finds two, the key is DISABLED,
// regardless of their contents. An IndexWatch reports the missing index to
// people. For the reasons see
// internal/validator/DESIGN.md#two-documents-with-one-hash.
//
// # Files
//
//   - schema.go: the Schema; schemacheck.go validates it; forms.go: the forms
//     of the switch, the scopes and the expiry; idform.go: those of ids
//   - decode.go: Schema.Decode, from BSON to a record; decodevalues.go reads
//     the single values, decodejson.go the metadata; decodewalk.go walks over
//     the bytes; decodememory.go: where the texts of records are; docid.go: the
//     canonical form of an _id
//   - hashencoding.go: how a hash is stored; hashlookup.go: for which hashes a
//     lookup finds a document; hashshape.go: what an unreadable hash field
//     holds; hasher.go: the algorithm and its secret
//   - inspect.go: what a value could be, for who does not know the mapping yet
//   - store.go: the Store; errors.go: its errors; deployment.go, collection.go
//     and index.go: checks of the server, the collection and the indexes;
//     prepare.go: all of these checks at the start
//   - find.go: reads of keys by hash and by _id; ambiguous.go: several
//     documents with the same hash; defectlog.go: log and metrics of defective
//     documents
//   - scan.go: the read of the whole collection; scanpipeline.go: its stages
//   - list.go and details.go: pages of keys, and what the admin API shows of a
//     key; listfilter.go: which keys a page has; listindex.go: the index for it
//   - encode.go and write.go: new documents, changes and deletions; writemany.go:
//     changes of several; fieldtype.go: which fields are not written, because the
//     documents have another type there; transaction.go: the sessions in which
//     writes are made
//   - survey.go: the Survey; surveyread.go reads its documents;
//     surveyresult.go, surveyusable.go and surveydates.go: its errors and
//     warnings
//   - activename.go: the check that the switch's name fits its form; offname.go:
//     which names mean "off"; fieldname.go: which names are no data
//   - indexwatch.go: the IndexWatch, which checks at intervals that the unique
//     index exists
package keystore
