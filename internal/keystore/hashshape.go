package keystore

import (
	"encoding/hex"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
)

// Shape is a kind of value in the hash field that no HashEncoding can read.
type Shape string

// The shapes. A salted hash differs each time that the same key is hashed, so
// no lookup can use it.
const (
	ShapeBcrypt Shape = "bcrypt"
	ShapeArgon2 Shape = "argon2"
	// ShapeSalted is another hash in the format of crypt(3), $method$….
	ShapeSalted Shape = "salted"
	// ShapePlain is a text that could be a key. It could also be the text of a
	// hash that is not a SHA-256.
	ShapePlain   Shape = "plaintext"
	ShapeMissing Shape = "missing"
	ShapeOther   Shape = "other"
)

// Advice says what such values are and what to do about them. hash is what keytail
// looks up: "SHA-256". Empty: nothing is known about them.
func (s Shape) Advice(hash string) string {
	rehash := "store the " + hash + " of each key in a separate field when the key is next used, or issue new keys " + seeAdopt
	switch s {
	case ShapeBcrypt, ShapeArgon2:
		return string(s) + " hashes, which are salted on purpose, so no key can be found by its hash: " + rehash
	case ShapeSalted:
		return "salted hashes, so no key can be found by its hash: " + rehash
	case ShapePlain:
		return "what looks like the keys themselves, or like another kind of hash: replace each key by its " + hash + ", in place " + seeAdopt + ", or name the field of the hash with --map-hash"
	case ShapeMissing, ShapeOther:
	}
	return ""
}

// hashContent is what one hash field contains: a value that some encodings can
// read, or a value with a shape.
type hashContent struct {
	readable []HashEncoding
	shape    Shape
}

// classify returns the first of the encodings that can read the value, or else
// the shape.
func (h hashContent) classify(order []HashEncoding) string {
	for _, e := range order {
		if slices.Contains(h.readable, e) {
			return string(e)
		}
	}
	return string(h.shape)
}

func inspectHash(v bson.RawValue) hashContent {
	var content hashContent
	for _, e := range HashEncodings() {
		if _, ok := e.read(v); ok {
			content.readable = append(content.readable, e)
		}
	}
	if content.readable == nil {
		content.shape = shapeOf(v)
	}
	return content
}

// missing reports whether a looked-up value is absent or null.
func missing(v bson.RawValue) bool { return v.Type == 0 || v.Type == bson.TypeNull }

func shapeOf(v bson.RawValue) Shape {
	if missing(v) {
		return ShapeMissing
	}
	text, ok := stringOf(v)
	if !ok {
		return ShapeOther
	}
	for prefix, shape := range map[string]Shape{
		"$2a$": ShapeBcrypt, "$2b$": ShapeBcrypt, "$2x$": ShapeBcrypt, "$2y$": ShapeBcrypt, "$argon2": ShapeArgon2,
	} {
		if strings.HasPrefix(text, prefix) {
			return shape
		}
	}
	if strings.HasPrefix(text, "$") && strings.Count(text, "$") > 1 {
		return ShapeSalted
	}
	_, mixedCase := hex.DecodeString(text)
	_, noKey := apikey.Parse("", text)
	if noKey != nil || mixedCase == nil && len(text) == hex.EncodedLen(len(apikey.Hash{})) {
		return ShapeOther
	}
	return ShapePlain
}
