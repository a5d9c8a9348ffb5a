package keystore

import (
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"github.com/keytail/keytail/internal/apikey"
)

// MaxHashes is the largest number of hashes that keytail tracks for one
// document. A key has one hash; an array with more hashes is a mistake, and if
// keytail kept all of them, one document could fill the cache. An event of such
// a document still lists all of them, so that the cache entries of all of them
// become invalid.
const MaxHashes = 1000

// A lookup is an equality match on the hash field (Store.byHash). MongoDB's
// equality never matches across BSON types, but it matches more than HashValue
// reads, in three ways (see "Query an Array" and "Comparison/Sort Order" in
// MongoDB's manual):
//
//   - an array matches if one of its elements matches; arrays within it do not
//   - a symbol equals the string with the same text
//   - if a field occurs twice, MongoDB does not define which value counts
//
// Such a document is defective, so a key that finds it is DISABLED and not
// NOT_FOUND. HashesIn and HashWithin list a superset of the hashes whose
// lookup finds a value, so that a cache does not treat one of them as an
// unknown key.

// HashesIn lists the hashes for which a lookup may find a document with this
// value in its hash field. all is false if the value is an array that cannot be
// read: then the list is not complete.
func (s Schema) HashesIn(v bson.RawValue) (hashes []apikey.Hash, all bool) {
	if v.Type != bson.TypeArray {
		if hash, ok := s.HashWithin(v); ok {
			return []apikey.Hash{hash}, true
		}
		return nil, true
	}
	array, ok := v.ArrayOK()
	if !ok {
		return nil, false
	}
	return s.hashesOfArray(array)
}

// hashesOfArray reads the array in place, because it may have a million
// elements.
func (s Schema) hashesOfArray(array bson.RawArray) (hashes []apikey.Hash, all bool) {
	_, rest, ok := bsoncore.ReadLength(array)
	for ok && len(rest) > 1 {
		var element bsoncore.Element
		if element, rest, ok = bsoncore.ReadElement(rest); !ok {
			break
		}
		value := element.Value()
		hash, is := s.HashWithin(bson.RawValue{Type: bson.Type(value.Type), Value: value.Data})
		if !is {
			continue
		}
		hashes = append(hashes, hash)
	}
	return hashes, ok
}

// HashWithin reads a single value, such as an element of an array in the hash
// field. False: no lookup matches it.
func (s Schema) HashWithin(v bson.RawValue) (apikey.Hash, bool) {
	if text, ok := v.SymbolOK(); ok && s.HashEncoding.orDefault() != HashBinary {
		return s.HashEncoding.parse([]byte(text))
	}
	return s.HashEncoding.read(v)
}
