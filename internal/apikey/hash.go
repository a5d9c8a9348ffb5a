package apikey

import (
	"crypto/sha256"
	"encoding/hex"
)

// Hash is the SHA-256 of a key's text (of all of it, or of what follows a prefix,
// see ParseAfter): the only form in which keytail
// keeps, compares or looks up a key.
type Hash [sha256.Size]byte

// HashOf hashes a key's text. For a text that can be a key it allocates nothing.
func HashOf(text string) Hash {
	if len(text) > MaxTextLen {
		return sha256.Sum256([]byte(text))
	}
	// A conversion of more than 32 bytes would be a copy on the heap.
	var onStack [MaxTextLen]byte
	return sha256.Sum256(onStack[:copy(onStack[:], text)])
}

// Hex is the form in which the default schema stores a hash: 64 lower-case hex
// digits.
func (h Hash) Hex() string { return hex.EncodeToString(h[:]) }
