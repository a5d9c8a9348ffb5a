package keystore

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
)

// rotatedFromField contains the _id of the key that a rotation's new key
// replaces. keytail defines this field, so no mapping names it.
const rotatedFromField = "rotated_from"

// Details is a document as the admin API shows it: the fields that affect a
// verdict, and the other mapped fields. It does not contain the hash.
type Details struct {
	ID     apikey.DocID
	Record apikey.Record
	// KeyPrefix is the beginning of the key's text, for people. Empty: not
	// stored.
	KeyPrefix string
	// CreatedAt and LastUsed are zero if they are not stored or are not dates.
	CreatedAt, LastUsed time.Time
	// UsageCount is negative if it is not stored or is not a whole number.
	UsageCount int64
	// RotatedFrom is the id of the key that this one replaces. Empty: none.
	RotatedFrom string
	// Digest identifies the content of the document without last_used and
	// usage_count: it is the entity tag of an HTTP response.
	Digest string

	// raw is the document as it was read.
	raw bson.Raw
}

// Details reads a document like Decode, and its other mapped fields, too. A
// field that does not affect a verdict and cannot be read is left out, without
// a defect. Details keeps no reference to the memory of doc.
func (s Schema) Details(doc bson.Raw) Details {
	decoded := s.Decode(doc)
	shown := Details{ID: decoded.ID, Record: decoded.Record, UsageCount: -1, Digest: s.digest(doc), raw: slices.Clone(doc)}
	shown.KeyPrefix, _ = stringOf(s.lookup(doc, s.KeyPrefix))
	shown.CreatedAt = dateOf(s.lookup(doc, s.CreatedAt))
	shown.LastUsed = dateOf(s.lookup(doc, s.LastUsed))
	if n, problem := wholeNumber(s.lookup(doc, s.UsageCount)); problem == "" {
		shown.UsageCount = n
	}
	shown.RotatedFrom, _ = readID(&memory{}, doc.Lookup(rotatedFromField))
	return shown
}

// LookupHash returns a hash for which a lookup finds the document: its own or, if
// that cannot be read, one that the server finds in the field. False: no lookup
// finds it, and Record.DefectReason says why.
func (s Schema) LookupHash(d Details) (apikey.Hash, bool) {
	decoded := s.Decode(d.raw)
	switch {
	case decoded.HasHash:
		return decoded.Hash, true
	case len(decoded.OtherHashes) > 0:
		return decoded.OtherHashes[0], true
	}
	return apikey.Hash{}, false
}

// lookup returns a field's value. Its type is 0 if there is none or the role
// has no name.
func (s Schema) lookup(doc bson.Raw, name string) bson.RawValue {
	if name == "" {
		return bson.RawValue{}
	}
	return doc.Lookup(name)
}

func dateOf(v bson.RawValue) time.Time {
	at, problem := readExpiry(v)
	if problem != "" {
		return time.Time{}
	}
	return at
}

// digest hashes the document's elements in their order, without the usage:
// otherwise every use of a key would look like an edit.
func (s Schema) digest(doc bson.Raw) string {
	h := sha256.New()
	elements, err := elements(doc)
	if err != nil {
		elements = nil
		_, _ = h.Write(doc)
	}
	usage := s.usageFields()
	for _, e := range elements {
		if !slices.Contains(usage, e.Key()) {
			_, _ = h.Write(e)
		}
	}
	const enough = 16 // bytes: after 2^64 edits, two are likely to have the same digest
	return hex.EncodeToString(h.Sum(nil)[:enough])
}
