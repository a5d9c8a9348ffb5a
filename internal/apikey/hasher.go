package apikey

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
	"sync"
)

// HashAlgorithm is how the text of a key becomes its Hash.
type HashAlgorithm string

// The algorithms.
const (
	SHA256 HashAlgorithm = "sha256"
	// HMACSHA256 is HMAC with SHA-256 (RFC 2104): only who has the secret can compute a hash.
	HMACSHA256 HashAlgorithm = "hmac-sha256"
)

// HashAlgorithms returns all algorithms. The first is the default.
func HashAlgorithms() []HashAlgorithm { return []HashAlgorithm{SHA256, HMACSHA256} }

// MinSecretLen is the recommended minimum for the secret of HMACSHA256, in bytes. Whoever has a
// copy of the database and one key can test guesses of the secret; nobody can try 2^128 of them. A
// shorter one is accepted, because the hashes of a collection cannot be made anew without the keys.
const MinSecretLen = 16

// Errors of NewHasher.
var (
	// ErrSecretMissing: the algorithm needs a secret.
	ErrSecretMissing = errors.New("hmac-sha256 needs a secret")
	// ErrSecretUnused: the algorithm has no secret. A secret was configured for a reason, so the
	// algorithm is probably the mistake.
	ErrSecretUnused = errors.New("sha256 uses no secret")
)

// Hasher hashes the texts of a collection's keys. Everything that looks up or stores a key by its
// text uses the same one. It is safe for concurrent use, and printing it shows no secret. The zero
// value hashes the whole text with SHA-256.
type Hasher struct {
	// after is the beginning of every key's text, which is not part of what is hashed.
	after string
	// keyed is nil for SHA256.
	keyed *keyedHasher
}

// NewHasher returns the hasher of one algorithm ("": SHA256) and its secret, which it copies, for
// keys of which what follows after is hashed. The error is one of ErrSecretMissing,
// ErrSecretUnused and ErrHashAfter.
func NewHasher(algorithm HashAlgorithm, secret []byte, after string) (Hasher, error) {
	if err := ValidHashAfter(after); err != nil {
		return Hasher{}, err
	}
	switch algorithm {
	case "", SHA256:
		if len(secret) > 0 {
			return Hasher{}, ErrSecretUnused
		}
		return Hasher{after: after}, nil
	case HMACSHA256:
		if len(secret) == 0 {
			return Hasher{}, ErrSecretMissing
		}
		return Hasher{after: after, keyed: newKeyedHasher(secret)}, nil
	}
	return Hasher{}, fmt.Errorf("there is no hash algorithm %q", algorithm)
}

// Parse checks a key's text and hashes what follows the beginning that is not hashed. The checks
// are those of the function Parse; also, a text without this beginning is malformed, and so is one
// with less than MinTextLen bytes behind it, which could be guessed. The checksum is still that of
// the whole text. Parse allocates nothing.
func (h Hasher) Parse(prefix, text string) (Hash, error) {
	if text == "" {
		return Hash{}, ErrMissing
	}
	if err := checkText(prefix, text); err != nil {
		return Hash{}, err
	}
	hashed, found := strings.CutPrefix(text, h.after)
	switch {
	case !found:
		return Hash{}, errTextHead
	case len(hashed) < MinTextLen:
		return Hash{}, errTextRest
	}
	if h.keyed != nil {
		return h.keyed.hash(hashed), nil
	}
	return HashOf(hashed), nil
}

// Generate makes the text of a new key with the prefix, and its hash. Keys of a collection
// with another beginning get that, too. Nil random: crypto/rand.
func (h Hasher) Generate(prefix string, random io.Reader) (text string, hash Hash, err error) {
	if text, err = Generate(prefix, random); err != nil {
		return "", Hash{}, err
	}
	if hash, err = h.Parse(prefix, text); err == nil {
		return text, hash, nil
	}
	text = h.after + text
	hash, err = h.Parse(prefix, text)
	return text, hash, err
}

// After is the beginning of every key's text, which is not part of what is hashed.
func (h Hasher) After() string { return h.after }

// keyedHasher computes HMACs under one secret. Only the function in its pool holds the secret, so
// no way of printing shows it.
type keyedHasher struct {
	// states are idle *keyedState: one for each call in progress, so that calls share no lock, and
	// the two blocks that HMAC derives from the secret are computed once for each.
	states sync.Pool
}

// keyedState is what one HMAC needs. Its buffers are here because arguments of an interface's
// methods would be allocated in every call, and so would the text of a caller.
type keyedState struct {
	mac  hash.Hash
	text [MaxTextLen]byte
	sum  Hash
}

func newKeyedHasher(secret []byte) *keyedHasher {
	secret = slices.Clone(secret)
	k := &keyedHasher{}
	k.states.New = func() any {
		s := &keyedState{mac: hmac.New(sha256.New, secret)}
		s.mac.Reset() // saves what later calls restore; before it, Reset overwrites less
		return s
	}
	return k
}

// hash hashes a text of at most MaxTextLen bytes.
func (k *keyedHasher) hash(text string) Hash {
	s := k.states.Get().(*keyedState) //nolint:forcetypeassert // the pool has nothing else
	sum := s.hash(text)
	k.states.Put(s)
	return sum
}

// hash leaves nothing of a client's key behind: Reset overwrites the block that mac holds.
func (s *keyedState) hash(text string) Hash {
	n := copy(s.text[:], text)
	_, _ = s.mac.Write(s.text[:n]) // never fails
	s.mac.Sum(s.sum[:0])
	s.mac.Reset()
	clear(s.text[:n])
	return s.sum
}
