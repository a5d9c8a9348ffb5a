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
		return hasher, fmt.Errorf("--map-hash-secret-file is set, but --map-hash-algorithm %s uses no secret: leave the file out, or set --map-hash-algorithm %s", apikey.SHA256, apikey.HMACSHA256)
	}
	return hasher, nil
}
