package keystore

import (
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
)

// The functions below say what a value could be, for a reader who does not know
// the mapping of a collection yet. They accept what Decode accepts.

// InspectHash returns the encodings in which a value is the 32 bytes of a hash,
// or, if there is none, the shape of the value.
func InspectHash(v bson.RawValue) ([]HashEncoding, Shape) {
	content := inspectHash(v)
	return content.readable, content.shape
}

// Stored returns the value of the hash field in the document with this hash.
func (e HashEncoding) Stored(hash apikey.Hash) any { return e.stored(hash) }

// Reads reports whether a value can be read in this form.
func (f ScopesForm) Reads(v bson.RawValue) bool { return readsInto(f.read, v) }

// Reads reports whether a value can be read in this form.
func (f ExpiresForm) Reads(v bson.RawValue) bool { return reads(f.read, v) }

// ReadsName reports whether a value can be a key's name.
func ReadsName(v bson.RawValue) bool { return readsInto(readName, v) }

// ReadsNetworks reports whether a value can be a list of allowed addresses and
// networks.
func ReadsNetworks(v bson.RawValue) bool { return readsInto(readNetworks, v) }

// IDFormOf returns the form of a value that can be an id. False: it cannot.
func IDFormOf(v bson.RawValue) (IDForm, bool) {
	if !readsInto(readID, v) {
		return "", false
	}
	switch v.Type {
	case bson.TypeObjectID:
		return IDObjectID, true
	case bson.TypeBinary:
		return IDUUID, true
	case bson.TypeInt32, bson.TypeInt64:
		return IDInteger, true
	}
	return IDString, true
}

func reads[T any](read func(bson.RawValue) (T, string), v bson.RawValue) bool {
	_, problem := read(v)
	return problem == ""
}

// readsInto is reads for functions that need memory.
func readsInto[T any](read func(*memory, bson.RawValue) (T, string), v bson.RawValue) bool {
	return reads(func(v bson.RawValue) (T, string) { return read(&memory{}, v) }, v)
}
