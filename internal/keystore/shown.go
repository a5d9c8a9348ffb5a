package keystore

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
)

// rotatedFromField holds the _id of the key whose place a rotation's new key
// takes. It is keytail's own, so no mapping names it.
const rotatedFromField = "rotated_from"

// Shown is a document as those see it who look after keys: what decides, and
// what is only kept. It has no hash.
type Shown struct {
	ID     apikey.DocID
	Record apikey.Record
	// KeyPrefix is the beginning of the key's text, for people. Empty: not kept.
	KeyPrefix string
	// CreatedAt and LastUsed are zero when they are not kept, or no dates.
	CreatedAt, LastUsed time.Time
	// UsageCount is negative when it is not kept, or no whole number.
	UsageCount int64
	// RotatedFrom is the id of the key that this one replaces. Empty: none.
	RotatedFrom string
	// Digest tells two contents of the document apart, of which last_used and
	// usage_count are no part: the entity tag of an HTTP answer.
	Digest string

	// raw is the document as it was read.
	raw bson.Raw
}

// Show reads a document like Decode, and the rest of it. What decides nothing and
// cannot be read is left out without a defect. Nothing of doc's memory is kept.
func (s Schema) Show(doc bson.Raw) Shown {
	decoded := s.Decode(doc)
	shown := Shown{ID: decoded.ID, Record: decoded.Record, UsageCount: -1, Digest: s.digest(doc), raw: slices.Clone(doc)}
	shown.KeyPrefix, _ = stringOf(s.lookup(doc, s.KeyPrefix))
	shown.CreatedAt = dateOf(s.lookup(doc, s.CreatedAt))
	shown.LastUsed = dateOf(s.lookup(doc, s.LastUsed))
	if n, problem := wholeNumber(s.lookup(doc, s.UsageCount)); problem == "" {
		shown.UsageCount = n
	}
	shown.RotatedFrom, _ = readID(doc.Lookup(rotatedFromField))
	return shown
}

// lookup is a field's value, of type 0 when there is none or the role has no
// name.
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

// digest is over the document's elements in their order, without those whose
// changes change no decision: else every use of a key would look like an edit.
func (s Schema) digest(doc bson.Raw) string {
	h := sha256.New()
	elements, err := elements(doc)
	if err != nil {
		elements = nil
		_, _ = h.Write(doc)
	}
	ignorable := s.Ignorable()
	for _, e := range elements {
		if !slices.Contains(ignorable, e.Key()) {
			_, _ = h.Write(e)
		}
	}
	const enough = 16 // bytes: 2^64 edits until two are likely to share one
	return hex.EncodeToString(h.Sum(nil)[:enough])
}
