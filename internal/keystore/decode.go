package keystore

import (
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
	// listedCollection here.
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
// Decode keeps no reference to the memory of doc.
func (s Schema) Decode(doc bson.Raw) Document {
	d := decoder{schema: s}
	d.setDefaults()
	elements, err := elements(doc)
	if err != nil {
		d.addDefect(apikey.ReasonUnreadable, "the document is not valid BSON")
		d.doc.MoreHashes = true
	}
	for _, e := range elements {
		d.readElement(e.Key(), e.Value())
	}
	d.checkRequired()
	d.doc.Record.Defect = strings.Join(d.defects, "; ")
	if d.doc.Unfindable() {
		// No request gets as far as the other defects.
		d.doc.Record.DefectReason = d.hashReason()
	}
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

// decoder is the state of one Decode.
type decoder struct {
	schema  Schema
	doc     Document
	defects []string
	// seen marks the fields found so far, to detect fields that occur twice or
	// never.
	seen seen
}

// seen has a mark for each field that affects a verdict.
type seen struct{ id, hash, active, user, org, project, name, scopes, ips, expiry, metadata bool }

// addDefect adds a sentence of these words. The first reason is that of the record.
func (d *decoder) addDefect(reason string, words ...string) {
	d.defects = append(d.defects, strings.Join(words, " "))
	if r := &d.doc.Record; r.DefectReason == "" {
		r.DefectReason = reason
	}
}

// hashReason is the reason of a document without a readable hash.
func (d *decoder) hashReason() string {
	if !d.seen.hash {
		return apikey.ReasonMissing + d.schema.Hash
	}
	return apikey.ReasonType + d.schema.Hash
}

// setDefaults sets the values that apply if the document has no others.
func (d *decoder) setDefaults() {
	d.doc.Record.Active = !d.schema.ActiveForm.required()
	d.doc.Record.Scopes = d.schema.DefaultScopes
}

// readElement reads one field of the root.
func (d *decoder) readElement(name string, v bson.RawValue) {
	place, read := d.fieldReader(name)
	if read == nil {
		return
	}
	if *place {
		d.addDefect(apikey.ReasonDuplicate+name, name, "occurs twice")
		if name == d.schema.Hash {
			d.addOtherHashes(v)
		}
		return
	}
	*place = true
	if problem := read(v); problem != "" {
		d.addDefect(apikey.ReasonType+name, name, problem)
	}
}

// fieldReader returns the mark and the read function of a field. A nil function
// means that the field does not affect a verdict.
func (d *decoder) fieldReader(name string) (*bool, func(bson.RawValue) string) {
	s, r := &d.schema, &d.doc.Record
	switch name {
	case "":
		// A role without a name must not match a field with an empty name
		return nil, nil
	case idField:
		return &d.seen.id, d.readIdentity
	case s.Hash:
		return &d.seen.hash, d.readHash
	case s.Active:
		return &d.seen.active, d.readActive
	case s.UserID:
		return &d.seen.user, into(&r.UserID, readID)
	case s.OrgID:
		return &d.seen.org, into(&r.OrgID, nullable(readID))
	case s.ProjectID:
		return &d.seen.project, into(&r.ProjectID, nullable(readID))
	case s.Name:
		return &d.seen.name, into(&r.Name, nullable(readName))
	case s.Scopes:
		return &d.seen.scopes, d.readScopes
	case s.AllowedIPs:
		return &d.seen.ips, into(&r.AllowedIPs, nullable(readNetworks))
	case s.ExpiresAt:
		return &d.seen.expiry, into(&r.ExpiresAt, nullable(s.ExpiresForm.read))
	case s.Metadata:
		return &d.seen.metadata, into(&r.Metadata, nullable(readMetadata))
	}
	return nil, nil
}

// readIdentity reads _id. An _id of any type identifies the document, but only some
// types can be a key id.
func (d *decoder) readIdentity(v bson.RawValue) string {
	d.doc.ID = d.schema.ID(v)
	text, problem := readID(v)
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

// readActive overrides the default that setDefaults has set, even with a value that
// cannot be read.
func (d *decoder) readActive(v bson.RawValue) (problem string) {
	d.doc.Record.Active, problem = d.schema.ActiveForm.read(v)
	return problem
}

func (d *decoder) readScopes(v bson.RawValue) (problem string) {
	if v.Type == bson.TypeNull {
		return ""
	}
	d.doc.Record.Scopes, problem = d.schema.ScopesForm.read(v)
	return problem
}

// checkRequired adds a defect for each required field that is absent.
func (d *decoder) checkRequired() {
	if d.doc.Record.KeyID == "" {
		d.doc.Record.KeyID = unknownID
	}
	for _, f := range []struct {
		name string
		seen bool
	}{
		{idField, d.seen.id},
		{d.schema.Hash, d.seen.hash},
		{d.schema.Active, d.seen.active || !d.schema.ActiveForm.required()},
		{d.schema.UserID, d.seen.user},
	} {
		if !f.seen {
			d.addDefect(apikey.ReasonMissing+f.name, f.name, "is missing")
		}
	}
}
