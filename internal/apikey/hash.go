package apikey

import (
	"crypto/sha256"
	"encoding/hex"
	"unsafe"
)

// Hash is the SHA-256 of a key's text (of all of it, or of what follows a prefix, see ParseAfter).
// It is the only form in which keytail stores, compares or looks up a key.
type Hash [sha256.Size]byte

// HashOf hashes a key's text. It allocates nothing.
func HashOf(text string) Hash { return sha256.Sum256(view(text)) }

// view returns text's bytes without a copy, for functions that only read them: a conversion of
// more than 32 bytes would copy them to the heap.
func view(text string) []byte { return unsafe.Slice(unsafe.StringData(text), len(text)) }

// Hex is the form in which the default schema stores a hash: 64 lower-case hex digits.
func (h Hash) Hex() string { return hex.EncodeToString(h[:]) }
