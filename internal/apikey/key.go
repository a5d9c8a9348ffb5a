package apikey

import (
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/big"
	"strings"
)

const (
	// DefaultPrefix is the prefix of keytail's own keys when none is configured.
	DefaultPrefix = "kt"

	// MinTextLen and MaxTextLen bound a key's text in bytes. Under 8 bytes a
	// text can be guessed; 512 leaves room for keys of other makers and keeps
	// the work for garbage small.
	MinTextLen = 8
	MaxTextLen = 512

	// maxPrefixLen keeps a key under 70 characters.
	maxPrefixLen = 16

	// secretBytes of randomness are in each key that keytail makes.
	secretBytes = 32
	// secretDigits hold them: 62^43 > 2^256 > 62^42.
	secretDigits = 43
	// checksumDigits hold a CRC-32: 62^6 > 2^32 > 62^5.
	checksumDigits = 6

	// shownChars of a secret may be shown to tell keys apart: 48 of 256 bits.
	shownChars = 8
)

// Errors of Parse and ValidPrefix. Neither they nor what wraps them ever quotes
// a key's text.
var (
	// ErrMissing: there is no text at all.
	ErrMissing = errors.New("no key was sent")
	// ErrMalformed: the text cannot be a key.
	ErrMalformed = errors.New("this is not a key")
	// ErrPrefix: the configured prefix cannot start a key.
	ErrPrefix = errors.New("a key prefix has 1 to 16 characters of a-z and 0-9")
	// ErrHashAfter: no key could begin with what is configured to be left out of
	// the hash.
	ErrHashAfter = errors.New("what comes before the hashed part of a key has at most 504 printable ASCII characters, and no space")
)

// Made once, so that refusing garbage allocates nothing.
var (
	errTextLength   = fmt.Errorf("%w: a key has 8 to 512 bytes", ErrMalformed)
	errTextByte     = fmt.Errorf("%w: a key has printable ASCII characters only, and no space", ErrMalformed)
	errTextChecksum = fmt.Errorf("%w: its checksum does not hold, so it was cut or mistyped", ErrMalformed)
	errTextHead     = fmt.Errorf("%w: it does not begin like the keys of this collection", ErrMalformed)
	errTextRest     = fmt.Errorf("%w: a key has at least 8 bytes after its prefix", ErrMalformed)
)

// ValidPrefix returns ErrPrefix unless prefix may be used with Generate: 1 to 16
// characters of a-z and 0-9. There is no '_' in it, so that the first '_' of a
// key ends its prefix.
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
// with leading zeros and the digits of package math/big (0-9, a-z, A-Z). The
// layout is the one of GitHub's tokens, which scanners for leaked secrets know:
// a prefix to search for and a checksum to tell hits from noise offline.
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

// ValidHashAfter returns ErrHashAfter unless ParseAfter may be used with after,
// which leaves room for a secret.
func ValidHashAfter(after string) error {
	if len(after) > MaxTextLen-MinTextLen || !printableASCII(after) {
		return ErrHashAfter
	}
	return nil
}

// Parse checks a key's text and hashes it. prefix is the one that Generate is
// used with; with "" no text counts as our own.
//
// Any printable ASCII text without a space (0x21 to 0x7e) of 8 to 512 bytes is
// legal, since a collection may hold keys of other makers. Only a text with our
// prefix and exactly our length is held against its checksum. That its 43
// digits may stand for a number past 2^256 is not looked at: the whole text is
// hashed, never the number, so such a text is just a key that nobody has.
//
// The error is ErrMissing for "" and wraps ErrMalformed for everything else; it
// never quotes the text. Parse allocates nothing.
func Parse(prefix, text string) (Hash, error) { return ParseAfter(prefix, "", text) }

// ParseAfter is Parse for a collection that holds the hash of what follows after
// in a key's text. A text that does not begin with it is malformed, and so is one
// with less than MinTextLen bytes behind it, which could be guessed. The checksum
// is held against the whole text all the same.
func ParseAfter(prefix, after, text string) (Hash, error) {
	if text == "" {
		return Hash{}, ErrMissing
	}
	if err := checkText(prefix, text); err != nil {
		return Hash{}, err
	}
	hashed, found := strings.CutPrefix(text, after)
	switch {
	case !found:
		return Hash{}, errTextHead
	case len(hashed) < MinTextLen:
		return Hash{}, errTextRest
	}
	return HashOf(hashed), nil
}

func checkText(prefix, text string) error {
	switch {
	case len(text) < MinTextLen || len(text) > MaxTextLen:
		return errTextLength
	case !printableASCII(text):
		return errTextByte
	case ours(prefix, text) && !checksumHolds(text, len(prefix)+1):
		return errTextChecksum
	}
	return nil
}

// printableASCII reports whether text has none but 0x21 to 0x7e, so no space.
func printableASCII(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < 0x21 || c > 0x7e {
			return false
		}
	}
	return true
}

// DisplayPrefix is what may be shown of a key to tell it from others: the
// prefix up to the first '_', and of the rest 8 characters but never more than
// a quarter, so that a short key of another maker is not given away.
func DisplayPrefix(text string) string {
	start := 0
	if head, _, found := strings.Cut(text, "_"); found && ValidPrefix(head) == nil {
		start = len(head) + 1
	}
	return text[:start+min(shownChars, (len(text)-start)/4)]
}

// ours reports whether text has the prefix and the length of keys that Generate
// makes with prefix.
func ours(prefix, text string) bool {
	n := len(prefix)
	return n > 0 && len(text) == n+1+secretDigits+checksumDigits && text[n] == '_' && text[:n] == prefix
}

// checksumHolds reads a text of our length whose digits begin at start.
func checksumHolds(text string, start int) bool {
	var value uint64
	end := len(text) - checksumDigits
	for i := start; i < len(text); i++ {
		digit := base62Digits[text[i]]
		if digit == notDigit {
			return false
		}
		if i >= end {
			value = value*62 + uint64(digit)
		}
	}
	return value == uint64(checksum(text[:end]))
}

// checksum is the CRC-32 of text with the IEEE polynomial.
func checksum(text string) uint32 { return crc32.ChecksumIEEE(view(text)) }

// base62 writes n with at least width digits.
func base62(n *big.Int, width int) string {
	digits := n.Text(62)
	return strings.Repeat("0", max(0, width-len(digits))) + digits
}

// notDigit is what base62Digits has for a byte that is none.
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
