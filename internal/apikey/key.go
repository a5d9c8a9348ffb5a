package apikey

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
)

const (
	// DefaultPrefix is the prefix of keytail's own keys when none is configured.
	DefaultPrefix = "kt"

	// MinTextLen and MaxTextLen are the limits for a key's text, in bytes. A text of less than 8
	// bytes can be guessed. 512 leaves space for keys from other systems, and keeps the work for
	// invalid requests small.
	MinTextLen = 8
	MaxTextLen = 512

	// maxPrefixLen keeps a key under 70 characters.
	maxPrefixLen = 16

	// secretBytes is the number of random bytes in each key that keytail makes.
	secretBytes = 32
	// secretDigits encode them: 62^43 > 2^256 > 62^42.
	secretDigits = 43
	// checksumDigits encode a CRC-32: 62^6 > 2^32 > 62^5.
	checksumDigits = 6

	// shownChars characters of a secret may be shown to distinguish keys: 48 of 256 bits.
	shownChars = 8
)

// Errors of Parse and ValidPrefix. Neither they nor errors that wrap them ever quote a key's text.
var (
	// ErrMissing: there is no text at all.
	ErrMissing = errors.New("no key was sent")
	// ErrMalformed: the text cannot be a key.
	ErrMalformed = errors.New("this is not a key")
	// ErrPrefix: the configured prefix cannot start a key.
	ErrPrefix = errors.New("a key prefix has 1 to 16 characters of a-z and 0-9")
	// ErrHashAfter: no key could begin with the text that is configured to be left out of the
	// hash.
	ErrHashAfter = errors.New("the text before the hashed part of a key must have at most 504 printable ASCII characters and no space")
)

// Made once, so that a malformed key allocates nothing.
var (
	errTextLength   = fmt.Errorf("%w: a key has 8 to 512 bytes", ErrMalformed)
	errTextByte     = fmt.Errorf("%w: a key has only printable ASCII characters and no space", ErrMalformed)
	errTextChecksum = fmt.Errorf("%w: its checksum is wrong, so it was cut or mistyped", ErrMalformed)
	errTextHead     = fmt.Errorf("%w: it does not begin with the prefix of this collection's keys", ErrMalformed)
	errTextRest     = fmt.Errorf("%w: a key has at least 8 bytes after its prefix", ErrMalformed)
)

// ValidPrefix returns ErrPrefix unless prefix may be used with Generate: 1 to 16 characters of a-z
// and 0-9. It contains no '_', so the first '_' of a key ends its prefix.
func ValidPrefix(prefix string) error {
	if len(prefix) == 0 || len(prefix) > maxPrefixLen {
		return ErrPrefix
	}
	for i := range len(prefix) {
		if c := prefix[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return ErrPrefix
		}
	}
	return nil
}

// Generate makes a new key from 32 bytes of random:
//
//	<prefix>_<43 base62 digits: the bytes as one big-endian number><6 base62 digits: CRC-32 (IEEE) of all before>
//
// with leading zeros and the digits of package math/big (0-9, a-z, A-Z). The layout is that of
// GitHub's tokens, which scanners for leaked secrets know: a prefix to search for, and a checksum
// to check hits offline.
//
// A nil random is crypto/rand. The error is ErrPrefix or random's own.
func Generate(prefix string, random io.Reader) (string, error) {
	if err := ValidPrefix(prefix); err != nil {
		return "", err
	}
	if random == nil {
		random = rand.Reader
	}
	var secret [secretBytes]byte
	if _, err := io.ReadFull(random, secret[:]); err != nil {
		return "", fmt.Errorf("cannot read randomness for a new key: %w", err)
	}
	text := prefix + "_" + base62(new(big.Int).SetBytes(secret[:]), secretDigits)
	return text + base62(big.NewInt(int64(checksum(text))), checksumDigits), nil
}

// GeneratedAdvice follows the name of a text that IsGenerated accepts, in an error.
const GeneratedAdvice = " is a key, which keytail must not keep: send something else there, and rotate or revoke this key if others may have seen it"

// IsGenerated reports whether a text is a key that Generate has made, with any prefix, or ends in
// one, as where the collection's keys have a beginning of their own (Hasher.Generate). It decides by
// the checksum. It is for texts that should be something else: for each place where a prefix may
// begin, at most 16, one in 2^32 of other texts of the same form passes.
func IsGenerated(text string) bool {
	cut := len(text) - secretDigits - checksumDigits - 1
	if cut < 0 || text[cut] != '_' {
		return false
	}
	for start := cut - 1; start >= 0 && ValidPrefix(text[start:cut]) == nil; start-- {
		if _, err := Parse(text[start:cut], text[start:]); err == nil {
			return true
		}
	}
	return false
}

// ValidHashAfter returns ErrHashAfter unless NewHasher may be used with after. There must be
// space for a secret behind it.
func ValidHashAfter(after string) error {
	if len(after) > MaxTextLen-MinTextLen || !isPrintableASCII(after) {
		return ErrHashAfter
	}
	return nil
}

// Parse checks a key's text and hashes all of it with SHA-256. prefix is the one that Generate is
// used with; with "" no text counts as keytail's own.
//
// Any printable ASCII text without a space (0x21 to 0x7e) of 8 to 512 bytes is legal, because a
// collection may contain keys from other systems. Only a text with this prefix and exactly the
// length of Generate's keys is checked against its checksum. Parse does not check whether the 43
// digits represent a number past 2^256: it hashes the whole text, never the number, so such a text
// is simply an unknown key.
//
// The error is ErrMissing for "" and wraps ErrMalformed for everything else; it never quotes the
// text. Parse allocates nothing.
func Parse(prefix, text string) (Hash, error) { return Hasher{}.Parse(prefix, text) }

func checkText(prefix, text string) error {
	own := hasOwnFormat(prefix, text)
	switch {
	case own && isChecksumValid(text, len(prefix)+1):
		// Such a text has the right length, and digits are printable.
		return nil
	case len(text) < MinTextLen || len(text) > MaxTextLen:
		return errTextLength
	case !isPrintableASCII(text):
		return errTextByte
	case own:
		return errTextChecksum
	}
	return nil
}

// isPrintableASCII reports whether all of text is in 0x21 to 0x7e, so without a space.
func isPrintableASCII(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < 0x21 || c > 0x7e {
			return false
		}
	}
	return true
}

// DisplayPrefix is the part of a key that may be shown to identify it: the prefix up to the first
// '_', and of the rest 8 characters but never more than a quarter, so that a short key from another
// system is not revealed. Of a key that Generate has made, it is all before the digits, and 8 of these:
// what stands before the prefix is the same in all keys of a collection.
func DisplayPrefix(text string) string {
	start := 0
	if IsGenerated(text) {
		start = len(text) - secretDigits - checksumDigits
	} else if head, _, found := strings.Cut(text, "_"); found && ValidPrefix(head) == nil {
		start = len(head) + 1
	}
	return text[:start+min(shownChars, (len(text)-start)/4)]
}

// hasOwnFormat reports whether text has the prefix and the length of the keys that Generate makes
// with prefix.
func hasOwnFormat(prefix, text string) bool {
	n := len(prefix)
	return n > 0 && len(text) == n+1+secretDigits+checksumDigits && text[n] == '_' && text[:n] == prefix
}

// base62 writes n with at least width digits.
func base62(n *big.Int, width int) string {
	digits := n.Text(62)
	return strings.Repeat("0", max(0, width-len(digits))) + digits
}

// notDigit is the value of a byte that is no digit.
const notDigit = -1

// base62Digits are the values of the digits as big.Int.Text writes them.
var base62Digits = func() (values [256]int8) {
	for i := range values {
		values[i] = notDigit
	}
	for value, digit := range []byte("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		values[digit] = int8(value)
	}
	return values
}()
