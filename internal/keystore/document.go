package keystore

import (
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
)

// Document is a document of the collection as keytail sees it.
type Document struct {
	// ID is its identity. Empty when the document has no _id.
	ID apikey.DocID
	// Hash is the key's hash, if HasHash. Without one the record has a Defect.
	Hash    apikey.Hash
	HasHash bool
	// Others are the hashes, beside Hash, for which a look-up may find the document
	// all the same: in an array, say.
	Others []apikey.Hash
	// Opaque: there are more than MaxHashes, or a look-up may find the document for
	// hashes that are not listed here.
	Opaque bool
	// Record is what the document says.
	Record apikey.Record
	// Ambiguous: a read by hash found another document with the same hash. The
	// record has a Defect then.
	Ambiguous bool
}

// Unfindable reports whether no look-up can find the document.
func (d *Document) Unfindable() bool { return !d.HasHash && d.Others == nil && !d.Opaque }

// unknownID is the KeyID of a document without an _id, which no server stores.
const unknownID = "unknown"

// Decode reads a document. It never fails: what cannot be read is said in
// Record.Defect, in words that hold names of fields and types but no value, and
// such a record is DISABLED. What could be read besides is still there.
//
// A field that occurs twice is a defect, since MongoDB's operators and the
// drivers do not agree on which of the two counts. The fields that decide
// nothing may be of any type, and occur any number of times.
//
// Nothing of doc's memory is kept.
func (s Schema) Decode(doc bson.Raw) Document {
	d := decoder{schema: s}
	d.assume()
	elements, err := elements(doc)
	if err != nil {
		d.defect("the document is not valid BSON")
		d.doc.Opaque = true
	}
	for _, e := range elements {
		d.element(e.Key(), e.Value())
	}
	d.require()
	d.doc.Record.Defect = strings.Join(d.defects, "; ")
	return d.doc
}

// elements are those up to the first that is not well-formed. The document is
// validated before: Elements alone does not look at its length and end.
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
	// seen has the fields met so far, to find those that occur twice or never.
	seen seen
}

// seen has a place for each field that decides.
type seen struct{ id, hash, active, user, org, project, name, scopes, ips, expiry, metadata bool }

func (d *decoder) defect(words ...string) { d.defects = append(d.defects, strings.Join(words, " ")) }

// assume fills in what holds when the document does not say otherwise.
func (d *decoder) assume() {
	d.doc.Record.Active = !d.schema.ActiveForm.required()
	d.doc.Record.Scopes = d.schema.DefaultScopes
}

// element reads one field of the root.
func (d *decoder) element(name string, v bson.RawValue) {
	place, read := d.reader(name)
	if read == nil {
		return
	}
	if *place {
		d.defect(name, "occurs twice")
		if name == d.schema.Hash {
			d.others(v)
		}
		return
	}
	*place = true
	if problem := read(v); problem != "" {
		d.defect(name, problem)
	}
}

// reader finds what a field is for: where to note that it was seen, and how to
// read it. A nil function: it decides nothing.
func (d *decoder) reader(name string) (*bool, func(bson.RawValue) string) {
	s, r := &d.schema, &d.doc.Record
	switch name {
	case "":
		// A role without a name is not that of a field without one
		return nil, nil
	case idField:
		return &d.seen.id, d.identity
	case s.Hash:
		return &d.seen.hash, d.hash
	case s.Active:
		return &d.seen.active, d.active
	case s.UserID:
		return &d.seen.user, into(&r.UserID, readID)
	case s.OrgID:
		return &d.seen.org, into(&r.OrgID, nullable(readID))
	case s.ProjectID:
		return &d.seen.project, into(&r.ProjectID, nullable(readID))
	case s.Name:
		return &d.seen.name, into(&r.Name, nullable(readName))
	case s.Scopes:
		return &d.seen.scopes, d.scopes
	case s.AllowedIPs:
		return &d.seen.ips, into(&r.AllowedIPs, nullable(readNetworks))
	case s.ExpiresAt:
		return &d.seen.expiry, into(&r.ExpiresAt, nullable(s.ExpiresForm.read))
	case s.Metadata:
		return &d.seen.metadata, into(&r.Metadata, nullable(readMetadata))
	}
	return nil, nil
}

// identity reads _id. Of any type it identifies the document; only some types
// make the name of a key.
func (d *decoder) identity(v bson.RawValue) string {
	d.doc.ID = d.schema.ID(v)
	text, problem := readID(v)
	if problem != "" {
		text = idInWords(v)
	}
	d.doc.Record.KeyID = text
	return problem
}

func (d *decoder) hash(v bson.RawValue) string {
	d.doc.Hash, d.doc.HasHash = d.schema.HashValue(v)
	if !d.doc.HasHash {
		d.others(v)
		return "is no SHA-256 hash " + d.schema.HashEncoding.words()
	}
	return ""
}

// others notes for which hashes a look-up may find a value that is no hash.
func (d *decoder) others(v bson.RawValue) {
	hashes, all := d.schema.HashesIn(v)
	d.doc.Others = append(d.doc.Others, hashes...)
	if !all || len(d.doc.Others) > MaxHashes {
		d.doc.Opaque = true
	}
}

// active overrides what assume said, and so does a value that cannot be read.
func (d *decoder) active(v bson.RawValue) (problem string) {
	d.doc.Record.Active, problem = d.schema.ActiveForm.read(v)
	return problem
}

func (d *decoder) scopes(v bson.RawValue) (problem string) {
	if v.Type == bson.TypeNull {
		return ""
	}
	d.doc.Record.Scopes, problem = d.schema.ScopesForm.read(v)
	return problem
}

// require notes the required fields that are not there.
func (d *decoder) require() {
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
			d.defect(f.name, "is missing")
		}
	}
}
