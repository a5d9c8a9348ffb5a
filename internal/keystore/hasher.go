package keystore

import (
	"errors"
	"fmt"

	"github.com/keytail/keytail/internal/apikey"
)

// Hasher returns the hasher of the collection's keys, for the secret of
// HashAlgorithm (nil: none). The error is a sentence that names the flag of what
// is wrong with the secret; Validate finds all other mistakes.
func (s Schema) Hasher(secret []byte) (apikey.Hasher, error) {
	hasher, err := apikey.NewHasher(s.HashAlgorithm, secret, s.HashAfter)
	switch {
	case errors.Is(err, apikey.ErrSecretMissing):
		return hasher, fmt.Errorf("--map-hash-algorithm %s needs the secret under which the hashes were made: set --map-hash-secret-file", apikey.HMACSHA256)
	case errors.Is(err, apikey.ErrSecretUnused):
		return hasher, fmt.Errorf("--map-hash-secret-file is set, but --map-hash-algorithm %s uses no secret: leave it out, or set --map-hash-algorithm %s", apikey.SHA256, apikey.HMACSHA256)
	}
	return hasher, nil
}

// shortSecret warns of a secret that can be found. It is no error: the hashes
// that exist cannot be made anew without the keys.
const shortSecret = "the secret in --map-hash-secret-file has fewer than %d bytes, so whoever has a copy of the database and one key may find it by trial: it protects little (docs/security.md)"

// SecretWarning returns what is wrong with the secret of the hashes although it
// can be used, in one sentence. Empty: nothing.
func (s *Store) SecretWarning() string {
	if !s.secretIsShort {
		return ""
	}
	return fmt.Sprintf(shortSecret, apikey.MinSecretLen)
}

// hashName returns the algorithm's name, for messages.
func (s Schema) hashName() string {
	if s.HashAlgorithm == apikey.HMACSHA256 {
		return "HMAC-SHA256"
	}
	return "SHA-256"
}

// aHash returns "a hash" with the algorithm's name, for messages.
func (s Schema) aHash() string {
	if s.HashAlgorithm == apikey.HMACSHA256 {
		return "an " + s.hashName() + " hash"
	}
	return "a " + s.hashName() + " hash"
}
