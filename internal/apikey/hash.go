package apikey

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// Hash is the SHA-256 of a key's whole text: the only form in which keytail
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

// HashFromHex reads 64 lower-case hex digits. Upper case is refused: a database
// that holds it would never be found by Hex's form.
func HashFromHex(text string) (Hash, error) {
	var h Hash
	if len(text) != hex.EncodedLen(len(h)) {
		return Hash{}, fmt.Errorf("a SHA-256 hash has 64 hex digits, this one has %d characters", len(text))
	}
	for i := range len(text) {
		if c := text[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return Hash{}, fmt.Errorf("a SHA-256 hash has lower-case hex digits only, character %d is not one", i+1)
		}
	}
	_, err := hex.Decode(h[:], []byte(text))
	return h, err
}
