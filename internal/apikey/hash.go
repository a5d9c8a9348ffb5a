package apikey

import (
	"crypto/sha256"
	"encoding/hex"
	"unsafe"
)

// Hash is the hash of a key's text (of all of it, or of what follows a prefix) by a HashAlgorithm.
// It is the only form in which keytail stores, compares or looks up a key.
type Hash [sha256.Size]byte

// HashOf is the SHA-256 of a text. It allocates nothing. For the keys of a collection, use its
// Hasher.
func HashOf(text string) Hash { return sha256.Sum256(view(text)) }

// view returns text's bytes without a copy, for functions that only read them: a conversion of
// more than 32 bytes would copy them to the heap.
func view(text string) []byte { return unsafe.Slice(unsafe.StringData(text), len(text)) }

// Hex is the form in which the default schema stores a hash: 64 lower-case hex digits.
func (h Hash) Hex() string { return hex.EncodeToString(h[:]) }
