package keystore

import (
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
)

// Document is a decoded document of the collection.
type Document struct {
	// ID is the canonical form of its _id. Empty if the document has no _id.
	ID apikey.DocID
	// Hash is the key's hash, if HasHash. A document without a hash has a
	// Defect.
	Hash    apikey.Hash
	HasHash bool
	// OtherHashes are the hashes, other than Hash, for which a lookup may find
	// the document, too: in an array, for example.
	OtherHashes []apikey.Hash
	// MoreHashes means that the list of hashes is not complete: the document has
	// more than MaxHashes, or a lookup may find it for hashes that are not
	// listed here.
	MoreHashes bool
	// Record is the content of the document.
	Record apikey.Record
	// Ambiguous means that a read by hash found another document with the same
	// hash. The record then has a Defect.
	Ambiguous bool
}

// Unfindable reports whether no lookup can find the document.
func (d *Document) Unfindable() bool { return !d.HasHash && d.OtherHashes == nil && !d.MoreHashes }

// unknownID is the KeyID of a document without an _id. No server stores such a
// document.
const unknownID = "unknown"

// Decode reads a document. It never fails: Record.Defect is what cannot be
// read, in words that contain names of fields and types but no value, and a
// record with a defect is DISABLED. The record still contains everything that
// could be read.
//
// A field that occurs twice is a defect, because MongoDB's operators and the
// drivers do not agree on which of the two counts. Fields that do not affect a
// verdict may have any type and occur any number of times.
//
// Decode keeps no reference to the memory of doc. The texts of the result share
// one piece of memory. Its lists have no spare capacity, because requests share a
// record: who appends to a list gets a copy.
func (s Schema) Decode(doc bson.Raw) Document {
	d := decoder{schema: s, memory: memoryOf(doc)}
	d.decode(doc)
	return d.doc
}

// elements returns the elements up to the first one that is not well-formed. It
// validates the document first, because Elements alone does not check its
// length and its end.
func elements(doc bson.Raw) ([]bson.RawElement, error) {
	if err := doc.Validate(); err != nil {
		return nil, err
	}
	return doc.Elements()
}

// decoder decodes one document after another. There is no other code that reads
// a document as a key: finds, change events and scans all decode with it.
type decoder struct {
	schema Schema
	memory memory
	// doc is the result of the last decode, and the rest is about it.
	doc     Document
	defects []string
	// seen marks the fields found so far, to detect fields that occur twice or
	// never.
	seen [fieldKinds]bool
}

// fieldKind is what a root field of a document means for the record.
type fieldKind uint8

const (
	// fieldUnread does not affect a verdict.
	fieldUnread fieldKind = iota
	fieldID
	fieldHash
	fieldActive
	fieldUser
	fieldOrg
	fieldProject
	fieldName
	fieldScopes
	fieldNetworks
	fieldExpiry
	fieldMetadata
	fieldKinds
)

// firstOptional is the first of the optional fields, in which null means the same
// as an absent field. The fields before it have rules of their own.
const firstOptional = fieldOrg

// kindOf returns what the field with this name is.
func (s *Schema) kindOf(name string) fieldKind {
	switch name {
	case "":
		// A role without a name must not match a field with an empty name
		return fieldUnread
	case idField:
		return fieldID
	case s.Hash:
		return fieldHash
	case s.Active:
		return fieldActive
	case s.UserID:
		return fieldUser
	case s.OrgID:
		return fieldOrg
	case s.ProjectID:
		return fieldProject
	case s.Name:
		return fieldName
	case s.Scopes:
		return fieldScopes
	case s.AllowedIPs:
		return fieldNetworks
	case s.ExpiresAt:
		return fieldExpiry
	case s.Metadata:
		return fieldMetadata
	}
	return fieldUnread
}

// decode decodes one document into d.doc, as Schema.Decode documents it.
func (d *decoder) decode(doc bson.Raw) {
	d.reset()
	if !d.readElements(doc) {
		// What was read of it so far does not count.
		d.reset()
		d.addDefect(apikey.ReasonUnreadable, "the document is not valid BSON")
		d.doc.MoreHashes = true
	}
	d.checkRequired()
	d.doc.Record.Defect = strings.Join(d.defects, "; ")
	if d.doc.Unfindable() {
		// No request gets as far as the other defects.
		d.doc.Record.DefectReason = d.hashReason()
	}
}

// reset sets the values that apply if the document has no others.
func (d *decoder) reset() {
	d.defects, d.seen = d.defects[:0], [fieldKinds]bool{}
	d.doc = Document{Record: apikey.Record{Active: !d.schema.ActiveForm.required(), Scopes: slices.Clip(d.schema.DefaultScopes)}}
}

// readElements reads the fields of the root. False: the document is not valid.
func (d *decoder) readElements(doc bson.Raw) bool {
	w, ok := walkDocument(doc)
	for ok && w.more() {
		var name []byte
		var v bson.RawValue
		if name, v, ok = w.next(); ok {
			d.readElement(name, v)
		}
	}
	return ok && w.isClosed()
}

// readElement reads one field of the root.
func (d *decoder) readElement(name []byte, v bson.RawValue) {
	kind := d.schema.kindOf(string(name))
	switch {
	case kind == fieldUnread:
	case d.seen[kind]:
		d.addDefect(apikey.ReasonDuplicate+string(name), string(name), "occurs twice")
		if kind == fieldHash {
			d.addOtherHashes(v)
		}
	default:
		d.seen[kind] = true
		if problem := d.readField(kind, v); problem != "" {
			d.addDefect(apikey.ReasonType+string(name), string(name), problem)
		}
	}
}

// readField reads one field, or returns a problem: words, without the value, that
// follow the field's name. After a problem, nothing of the value is in the record.
func (d *decoder) readField(kind fieldKind, v bson.RawValue) (problem string) {
	if kind >= firstOptional && v.Type == bson.TypeNull {
		return "" // like a field that is absent
	}
	record, m := &d.doc.Record, &d.memory
	switch kind {
	case fieldID:
		problem = d.readIdentity(v)
	case fieldHash:
		problem = d.readHash(v)
	case fieldActive:
		record.Active, problem = d.schema.ActiveForm.read(v)
	case fieldUser:
		record.UserID, problem = readID(m, v)
	case fieldOrg:
		record.OrgID, problem = readID(m, v)
	case fieldProject:
		record.ProjectID, problem = readID(m, v)
	case fieldName:
		record.Name, problem = readName(m, v)
	case fieldScopes:
		record.Scopes, problem = d.schema.ScopesForm.read(m, v)
	case fieldNetworks:
		record.AllowedIPs, problem = readNetworks(m, v)
	case fieldExpiry:
		record.ExpiresAt, problem = d.schema.ExpiresForm.read(v)
	case fieldMetadata:
		record.Metadata, problem = readMetadata(m, v)
	case fieldUnread, fieldKinds:
	}
	return problem
}

// readIdentity reads _id. An _id of any type identifies the document, but only some
// types can be a key id.
func (d *decoder) readIdentity(v bson.RawValue) string {
	var buffer [idBuffer]byte
	d.doc.ID = apikey.DocID(d.memory.text(appendID(buffer[:0], v)))
	text, problem := readID(&d.memory, v)
	if problem != "" {
		text = idForLog(v)
	}
	d.doc.Record.KeyID = text
	return problem
}

func (d *decoder) readHash(v bson.RawValue) string {
	d.doc.Hash, d.doc.HasHash = d.schema.HashValue(v)
	if !d.doc.HasHash {
		d.addOtherHashes(v)
		return "is not " + d.schema.aHash() + " " + d.schema.HashEncoding.description()
	}
	return ""
}

// addOtherHashes records for which hashes a lookup may find a value that is not
// a hash.
func (d *decoder) addOtherHashes(v bson.RawValue) {
	hashes, all := d.schema.HashesIn(v)
	d.doc.OtherHashes = append(d.doc.OtherHashes, hashes...)
	if !all || len(d.doc.OtherHashes) > MaxHashes {
		d.doc.MoreHashes = true
	}
}

// checkRequired adds a defect for each required field that is absent.
func (d *decoder) checkRequired() {
	if d.doc.Record.KeyID == "" {
		d.doc.Record.KeyID = unknownID
	}
	s := &d.schema
	d.require(fieldID, idField)
	d.require(fieldHash, s.Hash)
	if s.ActiveForm.required() {
		d.require(fieldActive, s.Active)
	}
	d.require(fieldUser, s.UserID)
}

func (d *decoder) require(kind fieldKind, name string) {
	if !d.seen[kind] {
		d.addDefect(apikey.ReasonMissing+name, name, "is missing")
	}
}

// addDefect adds a sentence of these words. The first reason is that of the record.
func (d *decoder) addDefect(reason string, words ...string) {
	d.defects = append(d.defects, strings.Join(words, " "))
	if r := &d.doc.Record; r.DefectReason == "" {
		r.DefectReason = reason
	}
}

// hashReason is the reason of a document without a readable hash.
func (d *decoder) hashReason() string {
	if !d.seen[fieldHash] {
		return apikey.ReasonMissing + d.schema.Hash
	}
	return apikey.ReasonType + d.schema.Hash
}
